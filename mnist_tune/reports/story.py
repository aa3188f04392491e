"""One document over all studies: the story from the first network to made-up digits, then each report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from mnist_tune.baselines import find_baseline
from mnist_tune.errors import Incomplete
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import Block, Cnn, Mlp
from mnist_tune.reports import numbers
from mnist_tune.reports.confusions import found_errors
from mnist_tune.reports.document import Document, Section, document
from mnist_tune.reports.html import Chapter
from mnist_tune.reports.illustrations import Illustration, illustrations
from mnist_tune.reports.results import Results, read_results
from mnist_tune.reports.views import (
    DETAIL,
    KEEP,
    SPARE,
    USEFUL,
    Column,
    View,
    described,
    layers_view,
)
from mnist_tune.storage import statements, tables
from mnist_tune.storage.records import AnalysisRow, PictureRow

TITLE = "mnist_tune: all studies"
_SMALL = Mlp(hidden=(64, 64))
_NOTEBOOK_CNN = Cnn(
    blocks=(Block(filters=32, pool=1), Block(filters=64, pool=3, dropout=0.4)), dense=(64,)
)


@dataclass(frozen=True, slots=True)
class _Story:
    """What the storage holds, by the built-in study that made it."""

    results: tuple[Results, ...]
    analyses: tuple[AnalysisRow, ...]

    def of(self, *sources: str) -> list[Results]:
        """Results of studies, honest ones first."""
        found = [entry for entry in self.results if entry.provenance.source in sources]
        return _honest_first(found)

    def analysis(self, name: str) -> AnalysisRow | None:
        """An analysis by its name."""
        return next((row for row in self.analyses if row.name == name), None)


def chapters(connection: Connection, *, pictured: bool) -> tuple[Chapter, ...]:
    """Tell the story, then append the report of each study that has a trial.

    Args:
        connection: to the storage.
        pictured: whether figures are drawn, which takes a second or two for each study.

    Raises:
        Incomplete: no study has a finished trial.
    """
    told = _read(connection)
    if not told.results:
        raise Incomplete("no trial of any study has ended yet: type `mnist-tune run l2_factor`")
    story = Document(title="The story", alerts=(), sections=tuple(_sections(told)))
    return (
        Chapter(story, outlined=True),
        *(_analysis_chapter(connection, row) for row in told.analyses),
        *(_study_chapter(connection, results, pictured=pictured) for results in told.results),
    )


def _read(connection: Connection) -> _Story:
    table = tables.studies.c
    names = connection.execute(select(table.name).order_by(table.created_at, table.name)).scalars()
    found = []
    for name in list(names):
        try:
            found.append(read_results(connection, name))
        except Incomplete:  # nothing to tell of it yet
            continue
    analyses = statements.find(connection, AnalysisRow, tables.analyses)
    return _Story(tuple(found), analyses)


def _study_chapter(connection: Connection, results: Results, *, pictured: bool) -> Chapter:
    drawn = illustrations(connection, results) if pictured else ()
    return Chapter(document(results, errors=found_errors(connection, results)), drawn)


def _analysis_chapter(connection: Connection, row: AnalysisRow) -> Chapter:
    own = tables.pictures.c.analysis == row.name
    stored = statements.find(connection, PictureRow, tables.pictures, own, order=("position",))
    sections = [Section(key="summary", title="Summary", text=row.text)]
    sections += [
        Section(key=f"table_{name}", title=name.replace("_", " ").capitalize(), view=_view(records))
        for name, records in row.tables.items()
    ]
    sections.append(Section(key="figures", title="Figures"))
    pictures = tuple(Illustration(p.name, p.caption, p.png, b"") for p in stored)
    return Chapter(Document(title=row.title, alerts=(), sections=tuple(sections)), pictures)


def _sections(told: _Story) -> Iterator[Section]:
    yield _overview(told)
    yield _data(told)
    yield _baseline_network(told)
    yield _loss()
    yield _l2(told)
    yield _widths(told)
    yield _cnn(told)
    yield _autoencoder(told)
    yield _analysis(told, "denoise", "Denoising", "run denoiser")
    yield _analysis(told, "generate", "Made-up digits", "run autoencoder_latent")


def _overview(told: _Story) -> Section:
    text = (
        "Every number below comes from the storage. Studies were selected on validation images and "
        "confirmed on the test set with fresh seeds, unless they are labelled otherwise; labelled ones "
        "are never mixed with the others."
    )
    return Section(key="overview", title="Results", text=(text,), view=_table(told.results))


def _data(told: _Story) -> Section:
    data = told.results[0].provenance.data
    images = "MNIST" if data.full else "5,000 embedded digits of MNIST"
    return Section(
        key="data",
        title="Data and preprocessing",
        text=(
            (
                f"{images}: {data.train_size:,} training and {data.test_size:,} test images of "
                "handwritten digits, 28 × 28 grey pixels of 0 (background) to 255, with labels 0 to 9."
            ),
            (
                "Pixels are divided by 255, so that inputs lie between 0 and 1; a dense network sees an "
                "image as a row of 784 numbers. Nothing else is done to the images: no centring, no "
                "distortion."
            ),
            (
                "The last sixth of the training images validates, which is all that selection sees; the "
                "test set is opened once, for the selected configuration, retrained on all training images."
            ),
        ),
    )


def _baseline_network(told: _Story) -> Section:
    own = told.of("notebook_mlp")
    return Section(
        key="baseline",
        title="The baseline network",
        text=(
            (
                "Two hidden layers of 64 units with ReLU, and ten outputs with softmax. Its parameters: "
                "784·64 + 64 = 50,240 in the first layer, 64·64 + 64 = 4,160 in the second, "
                f"64·10 + 10 = 650 in the last, {_SMALL.parameters:,} in all."
            ),
            (
                "ReLU, max(0, x), costs next to nothing and does not flatten out for large inputs as the "
                "sigmoid does, so that gradients reach the first layer. Softmax makes ten positive numbers "
                "that sum to 1, which can be read as probabilities."
            ),
            *_told(own, "run notebook_mlp"),
        ),
        view=layers_view(_SMALL),
    )


def _loss() -> Section:
    return Section(
        key="loss",
        title="The loss",
        text=(
            (
                "Categorical cross-entropy: for an image with true digit k and predicted probabilities "
                "p₀ … p₉ the loss is −ln p_k, in nats. It is 0 where the network is sure and right, "
                "ln 10 ≈ 2.30 for a blind guess, and grows without bound where it is sure and wrong."
            ),
            "Training makes the mean over a batch small, by steps against its gradient.",
            (
                "L2 regularisation adds λ·Σw² over the kernels of the hidden layers, which pulls weights "
                "towards 0. Keras counts it without a factor ½, so that what the literature calls weight "
                "decay is 2λ. The losses and curves shown here are without this penalty: with it they could "
                "not be compared across λ."
            ),
        ),
    )


def _l2(told: _Story) -> Section:
    baseline = find_baseline("hinton-500-300")
    own = told.of("l2_factor")
    return Section(
        key="l2",
        title="L2 and the published 98.47 %",
        text=(
            f"The published number: {baseline.source}. {'; '.join(baseline.caveats)}.",
            (
                "Both were measured on 10,000 test images, which leaves ±0.24 points open for each, "
                "however many seeds there are; a single run differs from 98.47 % at 5 % only from 98.80 % "
                "on, or up to 98.11 %."
            ),
            *_told(own, "run l2_factor"),
        ),
        view=_table(own),
    )


def _widths(told: _Story) -> Section:
    own = told.of("layer_widths", "dense_dropout")
    return Section(
        key="widths",
        title="Depth and widths of dense networks",
        text=_told(own, "run layer_widths"),
        view=_table(own),
    )


def _cnn(told: _Story) -> Section:
    own = told.of("cnn_design", "notebook_cnn", "cnn_dropout")
    dense = told.of("notebook_mlp", "l2_factor", "layer_widths", "dense_dropout")
    weights = _NOTEBOOK_CNN
    return Section(
        key="cnn",
        title="Convolutional against dense networks",
        text=(
            (
                "A convolution looks at a small neighbourhood with the same weights everywhere, so that a "
                "stroke is recognised wherever it is. The network of the notebook (32 and 64 filters of "
                f"3 × 3, pooling 3 × 3, dropout 0.4, 64 dense units) has {weights.parameters:,} parameters "
                f"and needs {weights.multiply_adds:,} multiply-adds for an image; the small dense network "
                f"{_SMALL.parameters:,} and {_SMALL.multiply_adds:,}."
            ),
            *_told(own, "run cnn_design"),
        ),
        view=_table([*own, *dense]),
    )


def _autoencoder(told: _Story) -> Section:
    own = told.of("autoencoder_latent", "denoiser", "notebook_autoencoder")
    return Section(
        key="autoencoder",
        title="The autoencoder and the size of its code",
        text=(
            (
                "An encoder makes a short code of a noisy image, a decoder makes an image of the code, and "
                "both are trained so that it resembles the clean image. What does not fit into the code is "
                "lost, noise first; too short a code loses the digit too."
            ),
            (
                "Salt-and-pepper noise of level p sets each pixel with probability p to black or white, "
                "each half of the time. The error is the binary cross-entropy above its floor, since the "
                "clean pixels are grey; 0 is a perfect image."
            ),
            *_told(own, "run autoencoder_latent"),
        ),
        view=_table(own),
    )


def _analysis(told: _Story, name: str, title: str, needs: str) -> Section:
    row = told.analysis(name)
    command = f"Not made yet: `mnist-tune {needs}`, then `mnist-tune {name} --out DIR`."
    return Section(key=name, title=title, text=row.text if row else (command,))


def _told(own: Sequence[Results], command: str) -> tuple[str, ...]:
    """The verdicts of studies, or the command that would make one."""
    if not own:
        return (f"Not made yet: `mnist-tune {command}`.",)
    lines = []
    if all(map(_label, own)):
        lines.append(f"No result yet, only what is labelled below: `mnist-tune {command}`.")
    for results in own:
        first = document(results).sections[0].text[0]
        label = _label(results)
        lines.append(f"{results.provenance.name}{f' ({label})' if label else ''}: {first}")
    return tuple(lines)


def _table(own: Sequence[Results]) -> View:
    """One row for each study: its best configuration, on test images where these were opened."""
    rows = [row for row in map(_row, _honest_first(own)) if row]
    heads = ("study", "configuration", "parameters", "images", "result", "seeds", "note")
    left = {"study", "configuration", "images", "note"}
    # The note stays however narrow the terminal is: without it labelled numbers would look like results.
    ranks = {"parameters": SPARE, "configuration": DETAIL, "seeds": DETAIL, "images": USEFUL}
    return View(
        tuple(
            Column(
                head,
                tuple(row[i] for row in rows),
                "left" if head in left else "right",
                ranks.get(head, KEEP),
            )
            for i, head in enumerate(heads)
        )
    )


def _row(results: Results) -> tuple[str, ...] | None:
    best, latest, metric = results.best, results.latest, results.metric
    if best is None or best.summary is None:
        return None
    entry = results.configuration(latest.trial_number) if latest else best
    summary = latest.summary if latest else best.summary
    return (
        results.provenance.name,
        described(results, entry),
        numbers.count(entry.trial.parameters),
        "test" if latest else results.provenance.validation_name,
        f"{numbers.plus_minus(summary, metric)} {metric.unit}",
        str(summary.n),
        _label(results) or ("lower is better" if metric is not ACCURACY else ""),
    )


def _honest_first(results: Sequence[Results]) -> list[Results]:
    return sorted(results, key=lambda entry: bool(_label(entry)))


def _label(results: Results) -> str:
    """What keeps a study's numbers from being compared with the others'."""
    provenance = results.provenance
    reasons = {
        "rehearsal": provenance.rehearsal,
        "embedded digits": not provenance.data.full,
        "notebook protocol, optimistic": provenance.selects_on_test,
    }
    return ", ".join(reason for reason, true in reasons.items() if true)


def _view(records: Sequence[Mapping[str, Any]]) -> View:
    """Records of an analysis as a table, in the order of their keys."""
    heads = list(dict.fromkeys(key for record in records for key in record))
    return View(
        tuple(
            Column(
                head.replace("_", " "),
                tuple(_cell(record.get(head)) for record in records),
                "left" if any(isinstance(r.get(head), str) for r in records) else "right",
            )
            for head in heads
        )
    )


def _cell(value: object) -> str:
    if value is None:
        return numbers.UNKNOWN
    return f"{value:.4g}" if isinstance(value, float) else str(value)
