"""Results on the test set against published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnist_tune.baselines import BASELINES, Baseline, find_baseline
from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.reports.configurations import RankedTrial, RunValues
from mnist_tune.reports.provenance import Provenance
from mnist_tune.statistics.means import Summary, summarise
from mnist_tune.statistics.published import Verdict, against_baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOnTest:
    """Test results of one configuration.

    Attributes:
        trial_number: of the configuration.
        confirmation: which opening of the test set, from 1 on; None for the search itself, whose
            validation images are the test images under protocol `notebook`.
        values: seed → value of the metric; accuracies are in 0–1.
        test_size: images that each was measured on.
        optimistic: whether the configuration was selected on these very images.
        psnr: of an autoencoder's images for each seed, dB; empty of a classifier.
        metric: of the values.
    """

    trial_number: int
    confirmation: int | None
    values: Mapping[int, float]
    test_size: int
    optimistic: bool
    psnr: Sequence[float] = ()
    metric: Metric = ACCURACY

    @property
    def how_selected(self) -> str:
        """On which images the configuration was selected, in a few words."""
        return "selected on it" if self.optimistic else f"confirmation {self.confirmation}"

    @property
    def summary(self) -> Summary:
        """Of the values."""
        return summarise(list(self.values.values()), self.metric.interval_scale)


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """Test accuracies against one published number."""

    result: ResultOnTest
    baseline: Baseline
    verdict: Verdict


def results_on_test(
    provenance: Provenance, confirmed: Mapping[int, RunValues], best: RankedTrial | None
) -> tuple[ResultOnTest, ...]:
    """Collect the test results: one for each finished confirmation, the first first.

    Under protocol `notebook` and without a confirmation, the search's own.

    Args:
        provenance: of the study.
        confirmed: confirmation → what its runs measured on the test set.
        best: of the search.
    """
    found = [
        _result(provenance, row.trial_number, row.confirmation, row.test_size, confirmed)
        for row in provenance.confirmations
        if row.state == "complete" and row.confirmation in confirmed
    ]
    if not found and provenance.selects_on_test and best is not None and best.values:
        searched = {0: RunValues(dict(best.values))}
        found = [_result(provenance, best.number, None, provenance.data.test_size, searched)]
    return tuple(found)


def against_published(
    provenance: Provenance, results: Sequence[ResultOnTest]
) -> tuple[BaselineComparison, ...]:
    """Compare each test result with each published number, the study's own baseline first.

    Nothing is compared where the data is not the full MNIST, or the metric is no accuracy.
    """
    if not provenance.data.full or provenance.metric is not ACCURACY:
        return ()
    first = find_baseline(provenance.baseline)
    baselines = [first, *(entry for entry in BASELINES.values() if entry != first)]
    return tuple(
        BaselineComparison(
            entry,
            baseline,
            against_baseline(list(entry.values.values()), entry.test_size, baseline),
        )
        for entry in results
        for baseline in baselines
    )


def _result(
    provenance: Provenance,
    trial_number: int,
    confirmation: int | None,
    test_size: int,
    measured: Mapping[int, RunValues],
) -> ResultOnTest:
    runs = measured[confirmation or 0]
    return ResultOnTest(
        trial_number=trial_number,
        confirmation=confirmation,
        values=runs.by_seed,
        test_size=test_size,
        optimistic=provenance.selects_on_test,
        psnr=runs.psnr,
        metric=provenance.metric,
    )
