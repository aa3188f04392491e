"""What the test set said of the selected configuration, against published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.configurations import Accuracies, Configuration
from mnist_tune.reports.provenance import Provenance
from mnist_tune.statistics.means import Summary, summarise
from mnist_tune.statistics.published import Verdict, against_baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Test results of one configuration.

    Attributes:
        trial_number: of the configuration.
        confirmation: which opening of the test set, from 1 on; None for the search itself, whose
            validation images are the test images under protocol `notebook`.
        accuracies: value of the metric for each seed; accuracies are in 0–1.
        test_size: images that each was measured on.
        optimistic: whether the configuration was selected on these very images.
        psnr: of an autoencoder's images for each seed, dB; empty of a classifier.
        metric: of the values.
    """

    trial_number: int
    confirmation: int | None
    accuracies: Accuracies
    test_size: int
    optimistic: bool
    psnr: Sequence[float] = ()
    metric: Metric = ACCURACY

    @property
    def summary(self) -> Summary:
        """Of the values."""
        return summarise(list(self.accuracies.values()), self.metric.interval_scale)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Test accuracies against one published number."""

    scores: Scores
    baseline: Baseline
    verdict: Verdict


def scores_on_test(
    provenance: Provenance,
    confirmed: Mapping[int, Accuracies],
    best: Configuration | None,
    psnr: Mapping[int, Sequence[float]] | None = None,
) -> tuple[Scores, ...]:
    """Collect the test results: one for each finished confirmation, the first first.

    Under protocol `notebook` and without a confirmation, the search's own.

    Args:
        provenance: of the study.
        confirmed: confirmation → value of the metric for each seed.
        best: of the search.
        psnr: confirmation → PSNRs of an autoencoder's images.
    """
    found = [
        Scores(
            trial_number=row.trial_number,
            confirmation=row.confirmation,
            accuracies=confirmed[row.confirmation],
            test_size=row.test_size,
            optimistic=provenance.selects_on_test,
            psnr=(psnr or {}).get(row.confirmation, ()),
            metric=provenance.metric,
        )
        for row in provenance.confirmations
        if row.state == "complete" and confirmed.get(row.confirmation)
    ]
    if not found and provenance.selects_on_test and best is not None and best.accuracies:
        found = [_selected_on_test(provenance, best)]
    return tuple(found)


def compare(provenance: Provenance, scores: Sequence[Scores]) -> tuple[Comparison, ...]:
    """Compare each test result with each published number, the study's own baseline first.

    Nothing is compared where the data is not the full MNIST, or the metric is no accuracy.
    """
    if not provenance.data.full or provenance.metric is not ACCURACY:
        return ()
    first = find_baseline(provenance.baseline)
    baselines = [first, *(entry for entry in BASELINES.values() if entry != first)]
    return tuple(
        Comparison(entry, baseline, _verdict(entry, baseline))
        for entry in scores
        for baseline in baselines
    )


def _verdict(scores: Scores, baseline: Baseline) -> Verdict:
    return against_baseline(list(scores.accuracies.values()), scores.test_size, baseline)


def _selected_on_test(provenance: Provenance, best: Configuration) -> Scores:
    return Scores(
        trial_number=best.trial.trial_number,
        confirmation=None,
        accuracies=best.accuracies,
        test_size=provenance.data.test_size,
        optimistic=True,
        metric=provenance.metric,
    )
