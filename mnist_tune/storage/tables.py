"""Our own tables beside Optuna's, for what Optuna cannot hold.

Rows are keyed by a study uid of our own and the trial number, never by Optuna's ids, which
SQLite reuses after a deletion. No foreign key points at Optuna's tables, so that Optuna's own
commands go on working. JSON is stored as text; times are ISO-8601 UTC; durations are seconds.

Everything but `timings` is a function of definition, data and seeds alone.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

from mnist_tune.storage.identity import SCHEMA_TABLE

metadata = MetaData()


def _denoising(*images: str) -> list[Column[float]]:
    """What only autoencoders have; their losses are denoising errors, accuracies are NULL."""
    return [
        column
        for name in images
        for column in (
            Column(f"{name}_mse", Float),  # mean squared error per pixel, pixels 0–1
            Column(f"{name}_psnr", Float),  # mean over images of −10·log10(mse), dB
        )
    ]


schema = Table(
    SCHEMA_TABLE,
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

studies = Table(
    "mnist_tune_studies",
    metadata,
    Column("uid", String(32), primary_key=True),
    Column("name", String(512), nullable=False, unique=True),  # also the name of the Optuna study
    Column("source", Text, nullable=False),  # built-in name or absolute path of the study file
    Column("question", Text, nullable=False),  # first line of the study file's docstring
    Column("overrides", Text, nullable=False),  # JSON: what the command line changed
    Column("definition", Text, nullable=False),  # JSON: what the fingerprint covers
    Column("fingerprint", String(64), nullable=False),  # sha256 of `definition`
    Column("protocol", String(16), nullable=False),  # holdout | notebook
    Column("rehearsal", Boolean, nullable=False),  # made by --quick
    Column("baseline", String(64), nullable=False),  # key in mnist_tune.baselines
    Column("planned_trials", Integer, nullable=False),  # total, not per call
    Column("seeds", Integer, nullable=False),  # per trial; they are 0 … seeds-1
    Column("data", Text, nullable=False),  # JSON of mnist_tune.data Source
    Column("versions", Text, nullable=False),  # JSON: package → version
    Column("created_at", String(32), nullable=False),
)

# One row for each trial that ended: complete, pruned or failed.
trials = Table(
    "mnist_tune_trials",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("trial_number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # complete | pruned | failed
    Column("reason", String(64)),  # of a failure: diverged, error, worker_lost, out_of_memory, hung
    Column("params", Text, nullable=False),  # JSON: parameter → value
    Column("network", Text, nullable=False),  # JSON of mnist_tune.networks
    Column("recipe", Text, nullable=False),  # JSON of mnist_tune.recipes
    Column("label", Text, nullable=False),  # such as 500-300
    Column("parameters", Integer, nullable=False),  # number of trainable numbers
    Column("objective", Float),  # mean over seeds after the last epoch; NULL if failed
)

# One row for each (trial, seed). confirmation 0 is the search; k ≥ 1 the k-th confirmation, whose
# runs train on all training images and are scored on the test set alone.
runs = Table(
    "mnist_tune_runs",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("confirmation", Integer, primary_key=True, autoincrement=False),
    Column("trial_number", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # complete | pruned | failed
    Column("epochs", Integer, nullable=False),  # epochs trained
    Column("train_loss", Float),  # mean cross-entropy over the last epoch's steps, nats, no penalty
    Column("train_accuracy", Float),  # 0–1, of the same steps
    Column("val_loss", Float),  # NULL in a confirmation
    Column("val_accuracy", Float),  # under protocol notebook the test set is the validation set
    Column("test_loss", Float),  # NULL in the search
    Column("test_accuracy", Float),
    *_denoising("val", "test"),
)

epochs = Table(
    "mnist_tune_epochs",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("confirmation", Integer, primary_key=True, autoincrement=False),
    Column("trial_number", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # 1 … epochs
    Column("train_loss", Float),
    Column("train_accuracy", Float),
    Column("val_loss", Float),  # NULL in a confirmation: the test set is opened once, at the end
    Column("val_accuracy", Float),
    *_denoising("val"),
)

# One row for each time that the test set was opened.
confirmations = Table(
    "mnist_tune_confirmations",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("confirmation", Integer, primary_key=True, autoincrement=False),  # 1, 2, …
    Column("trial_number", Integer, nullable=False),  # the configuration that was selected
    Column("state", String(16), nullable=False),  # running | complete
    Column("seeds", Text, nullable=False),  # JSON list, disjoint from the search's seeds
    Column("train_size", Integer, nullable=False),
    Column("test_size", Integer, nullable=False),
)

# The class that each confirmed run predicts for each test image, in the order of the test set.
predictions = Table(
    "mnist_tune_predictions",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("confirmation", Integer, primary_key=True, autoincrement=False),
    Column("trial_number", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("classes", LargeBinary, nullable=False),  # uint8, one byte an image
)

# What a denoiser must beat: errors of the noisy images themselves and of simple remedies.
references = Table(
    "mnist_tune_references",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("images", String(16), primary_key=True),  # validation | test
    Column("name", String(32), primary_key=True),  # noisy | median filter | mean image
    Column("loss", Float, nullable=False),  # denoising error, nats per pixel
    Column("mse", Float, nullable=False),
    Column("psnr", Float, nullable=False),  # dB
)

# What `denoise`, `generate` and the like found out about trained networks of one or more studies;
# a new one of the same name replaces it.
analyses = Table(
    "mnist_tune_analyses",
    metadata,
    Column("name", String(64), primary_key=True),  # such as denoise or generate
    Column("title", Text, nullable=False),
    Column("inputs", Text, nullable=False),  # JSON: studies, trials, seeds, data, options
    Column("tables", Text, nullable=False),  # JSON: table name → list of records
    Column("text", Text, nullable=False),  # JSON list of sentences
)

pictures = Table(
    "mnist_tune_pictures",
    metadata,
    Column("analysis", String(64), primary_key=True),  # name in mnist_tune_analyses
    Column("name", String(64), primary_key=True),  # of the file without suffix
    Column("position", Integer, nullable=False),  # order within the analysis
    Column("caption", Text, nullable=False),
    Column("png", LargeBinary, nullable=False),
)

# All that the clock and the machine decide. One row for each finished piece of training.
timings = Table(
    "mnist_tune_timings",
    metadata,
    Column("study_uid", String(32), primary_key=True),
    Column("confirmation", Integer, primary_key=True, autoincrement=False),
    Column("trial_number", Integer, primary_key=True, autoincrement=False),
    Column("first_seed", Integer, primary_key=True, autoincrement=False),
    Column("seeds", Integer, nullable=False),  # how many were trained together
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32), nullable=False),
    Column("elapsed_seconds", Float, nullable=False),  # monotonic, of its last coordinator
    Column("train_seconds", Float, nullable=False),  # in the training program, compilation included
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),  # CPU | GPU:0 name
    Column("threads", Integer, nullable=False),
)
