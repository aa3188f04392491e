"""Learning curves, confusions, planes, network_diagram and sizes: their numbers, and that they are drawn."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from optuna.distributions import IntDistribution
from scipy.stats import kruskal
from sqlalchemy import select

from mnist_tune.data.sources import load_dataset
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import Autoencoder, Block, Cnn, ConvAutoencoder, Mlp
from mnist_tune.reports import confusions, network_diagram, parameter_figures
from mnist_tune.reports.columns import TextColumn, fit
from mnist_tune.reports.configurations import pareto_front
from mnist_tune.reports.documents import caption
from mnist_tune.reports.export import export_study
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.learning_curves import best_curves
from mnist_tune.reports.results import read_results
from mnist_tune.reports.search_plot import search_plots
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.tables import configurations_table
from mnist_tune.storage.records import PredictionRow
from mnist_tune.storage.schema import TABLES
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Sample, Stored


def two_layers() -> Sample:
    """The widths with one more network of two layers, which makes a plane of three points."""
    params = {"depth": 2, "width_1": 64, "width_2": 32}
    return samples.widths().plus(samples.trial(6, Mlp(hidden=(64, 32)), params, (9701, 9702, 9706)))


def names(stored: Stored, sample: Sample) -> list[str]:
    connection = stored(sample)
    results = read_results(connection, sample.study.name)
    return [figure.name for figure in study_figures(connection, results) if figure.at_hand]


def test_every_study_has_its_pictures_in_reading_order(stored: Stored) -> None:
    assert names(stored, samples.l2_confirmed()) == [
        "accuracy_against_l2",
        "learning_curves",
        "network_trial_1",
    ]
    assert names(stored, two_layers()) == [
        "accuracy_against_parameters",
        "accuracy_against_seconds",
        "parameter_importance",
        "accuracy_slices",
        "accuracy_contour",
        "accuracy_parallel_coordinates",
        "learning_curves",
        "network_trial_2",
        "network_trial_1",
    ]
    assert names(stored, samples.cnns())[:3] == [
        "accuracy_against_parameters",
        "accuracy_against_multiply_adds",
        "accuracy_against_seconds",
    ]


def test_pictures_have_bytes_that_are_pictures(stored: Stored) -> None:
    connection = stored(two_layers())
    drawn = study_figures(connection, read_results(connection, "layer_widths"))
    again = study_figures(connection, read_results(connection, "layer_widths"))
    for picture, second in zip(drawn, again, strict=True):
        pixels = imread(BytesIO(picture.png()))
        assert min(pixels.shape[:2]) > 200
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10
        assert picture.caption.endswith(".")
        assert dict(picture.files()) == dict(second.files())


def test_curves_are_those_of_the_epochs_table(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed())
    found = best_curves(connection, read_results(connection, "l2_factor"))
    validated = [c for c in found if c.images == "validation" and c.metric is ACCURACY]
    assert [curve.epochs for curve in validated] == [(1, 2, 3)] * 4  # the best four of five
    best = validated[0]
    last = [values[-1] for values in best.values]
    assert last == [value / 10_000 for value in samples.VALIDATION[1]]
    confirmed = [curve for curve in found if curve.name.endswith("confirmed")]
    assert {curve.images for curve in confirmed} == {"training"}
    assert len(confirmed[0].values) == len(samples.TEST)


def test_no_smaller_network_matches_one_of_the_front(read: Read) -> None:
    found = pareto_front(read(samples.widths()).trials)
    assert [entry.trial.trial_number for entry in found] == [0, 4, 1, 2]
    figure = samples.plotted(read(samples.widths()))
    means = [mean for _, mean in figure.front]
    assert means == sorted(means)
    assert len(means) == 4


def test_multiply_adds_stand_beside_the_parameters_of_convolutional_networks(read: Read) -> None:
    results = read(samples.cnns())
    figure = search_plots(results)["accuracy_against_multiply_adds"]()
    assert figure.axis.title == "Multiply-adds per image"
    wanted = {entry.network.multiply_adds for entry in results.trials}
    assert {point.x for point in figure.points} == wanted
    titles = [c.heading for s in study_report(results).sections if s.table for c in s.table.columns]
    assert "multiply-adds" in titles
    dense = search_plots(read(samples.widths()))
    assert list(dense) == ["accuracy_against_parameters", "accuracy_against_seconds"]


def test_the_contour_shows_the_two_most_important_parameters_that_vary_together(read: Read) -> None:
    results = read(samples.several(4, 40))
    order = [importance.name for importance in results.importances]
    assert order[:2] == ["learning_rate", "dropout"]
    points = parameter_figures.parameter_points(results)
    plane = points.plane()
    assert plane is not None
    assert [axis.title for axis in plane.axes] == ["Learning rate", "Dropout"]
    best = results.complete[0].trial.params
    assert tuple(plane.places[0]) == (best["learning_rate"], best["dropout"])
    assert plane.means[0] == results.complete[0].summary.mean  # type: ignore[union-attr]
    assert len(plane.means) == 40
    conditional = parameter_figures.parameter_points(read(samples.several(8, 20)))
    assert np.isnan(conditional.places).any(axis=0).sum() == 1  # not all have a second width
    one_alone = (read(samples.l2_search()), read(samples.autoencoders()))
    assert all(not results.importances for results in one_alone)  # the other width is always 128


def test_importance_is_what_kruskal_and_wallis_say(read: Read) -> None:
    results = read(samples.several(4, 30))
    found = {importance.name: importance for importance in results.importances}
    by_choice: dict[str, list[float]] = {}
    for entry in results.complete:
        by_choice.setdefault(entry.trial.params["activation"], []).append(entry.values[0])
    statistic, groups = kruskal(*by_choice.values()).statistic, len(by_choice)
    wanted = max(0.0, (statistic - groups + 1) / (30 - groups))
    assert found["activation"].low <= wanted + 1e-12
    assert found["activation"].high >= wanted - 1e-12
    assert found["learning_rate"].share > 0.5 > 0.1 > found["activation"].share
    assert all(0 <= i.low <= i.share <= i.high <= 1 for i in found.values())


def test_the_importances_are_a_table_of_the_report_and_of_the_export(
    stored: Stored, tmp_path: Path
) -> None:
    connection = stored(samples.several(5, 20))
    results = read_results(connection, "several")
    section = next(s for s in study_report(results).sections if s.key == "parameters")
    assert section.table is not None
    rows = list(section.table.records())
    assert [row["parameter"] for row in rows] == [i.name for i in results.importances]
    names = {path.name for path in export_study(connection, "several", tmp_path)}
    assert {"importances.csv", "importances.tex", "accuracy_slices.pdf"} <= names
    assert not [
        s
        for s in study_report(read_results(stored(samples.l2_search()), "l2_factor")).sections
        if s.key == "parameters"
    ]


def test_the_most_important_parameter_stays_in_a_narrow_terminal(read: Read) -> None:
    results = read(samples.several(8, 20))

    def wide(column: TextColumn) -> float:
        return max(map(len, (column.heading, *column.cells))) + 2

    shown, dropped = fit(configurations_table(results).text(), 80, wide)
    assert results.importances[0].name in {column.heading for column in shown.columns}
    assert dropped


@pytest.fixture(scope="module")
def errors() -> confusions.PredictionErrors:
    """Four images and three seeds; the first is missed by all, the second by one."""
    labels = np.array([3, 5, 7, 9], np.uint8)
    predicted = np.array([[8, 5, 7, 9], [8, 3, 7, 9], [2, 5, 7, 9]], np.uint8)
    return confusions.PredictionErrors(labels, np.zeros((4, 28, 28), np.uint8), predicted)


def test_confusions_are_means_over_seeds(errors: confusions.PredictionErrors) -> None:
    matrix = errors.matrix
    assert matrix[3, 8] == pytest.approx(2 / 3)
    assert (matrix[3, 2], matrix[5, 3], matrix[7, 7]) == pytest.approx((1 / 3, 1 / 3, 1))
    assert matrix.sum() == pytest.approx(4)


def test_the_hardest_images_come_first(errors: confusions.PredictionErrors) -> None:
    assert errors.hardest() == [
        confusions.MissedImage(0, 3, 8, 3),
        confusions.MissedImage(1, 5, 3, 1),
    ]
    first, second = confusions.error_sentences(errors)
    assert first.startswith("A run gets 1.3 of 4 test images wrong; 1 image defeats all 3 seeds, 2")
    assert "3 taken for 8 (0.7 images)" in second


def test_a_confirmed_study_on_images_at_hand_shows_its_errors(stored: Stored) -> None:
    dataset = load_dataset(Path("embedded"))
    labels = dataset.test.labels
    wrong = labels.copy()
    wrong[:3] = (wrong[:3] + 1) % 10
    sample = samples.l2_confirmed(data=dataset.source.to_json())
    rows = tuple(replace(row, classes=wrong.tobytes()) for row in sample.predictions)
    sample = replace(sample, predictions=rows)
    connection = stored(sample)
    results = read_results(connection, "l2_factor")
    found = confusions.found_errors(connection, results)
    assert isinstance(found, confusions.PredictionErrors)
    assert found.misses.tolist()[:4] == [10, 10, 10, 0]
    drawn = [figure.name for figure in study_figures(connection, results) if figure.at_hand]
    assert drawn[-3:] == ["confusion_matrix", "misclassified", "network_trial_1"]
    assert "errors" in [part.key for part in study_report(results, errors=found).sections]


def test_images_that_are_gone_are_missed_in_words(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed())
    found = confusions.found_errors(connection, read_results(connection, "l2_factor"))
    assert isinstance(found, str)
    assert found.startswith("The test images are not at hand")
    assert "set MNIST_TUNE_DATA" in found
    assert "/somewhere" not in found  # where they lay is the machine's business


def test_images_that_moved_are_found_by_their_content(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(Path("embedded"))
    moved = {**dataset.source.to_json(), "kind": "folder", "path": "/somewhere/else"}
    sample = samples.l2_confirmed(data=moved)
    labels = dataset.test.labels.tobytes()
    rows = tuple(replace(row, classes=labels) for row in sample.predictions)
    connection = stored(replace(sample, predictions=rows))
    monkeypatch.setenv("MNIST_TUNE_DATA", "embedded")
    found = confusions.found_errors(connection, read_results(connection, "l2_factor"))
    assert isinstance(found, confusions.PredictionErrors)
    assert not found.misses.any()


def test_without_stored_predictions_no_image_is_missed(stored: Stored) -> None:
    sample = replace(samples.l2_confirmed(), predictions=())
    connection = stored(sample)
    assert confusions.found_errors(connection, read_results(connection, "l2_factor")) is None


def test_predictions_of_other_images_are_not_counted(stored: Stored) -> None:
    """A hundred predictions are stored, for a thousand test images."""
    source = load_dataset(Path("embedded")).source.to_json()
    connection = stored(samples.l2_confirmed(data=source))
    assert connection.execute(select(TABLES[PredictionRow])).first() is not None
    assert confusions.found_errors(connection, read_results(connection, "l2_factor")) is None


@pytest.mark.parametrize(
    "network",
    [
        Mlp(hidden=(500, 300), dropout=0.5),
        Cnn(blocks=({"filters": 32, "convolutions": 2},), dense=(64,)),  # type: ignore[arg-type]
        Autoencoder(latent=16),
    ],
)
def test_diagrams_name_every_layer_and_count_its_parameters(
    network: Mlp | Cnn | Autoencoder,
) -> None:
    (axes,) = network_diagram.draw_network(network).axes
    texts = [text.get_text() for text in axes.texts]
    for layer in network.layers:
        assert layer.name.replace("_", " ") in texts
        assert layer.kind in texts
        assert not layer.parameters or f"{layer.parameters:,}" in texts
    assert f"{network.parameters:,} parameters" in texts[-1]


@pytest.mark.parametrize(
    "network", [ConvAutoencoder(latent=64), Cnn(blocks=(Block(filters=128, kernel=5),) * 2)]
)
def test_no_text_of_a_diagram_runs_into_another(network: Cnn | ConvAutoencoder) -> None:
    figure = network_diagram.draw_network(network)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    touching = [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert not touching
    assert min(box.x0 for box in boxes) > 0
    assert max(box.x1 for box in boxes) < figure.bbox.x1


def test_the_caption_says_which_networks_the_named_trials_are(read: Read) -> None:
    figure = samples.plotted(read(samples.widths()))
    assert "Labels: trial 1: 300-100; trial 2: 1024-512." in figure.caption


def test_networks_of_one_cost_are_not_drawn_against_it(read: Read) -> None:
    sample = Sample(samples.study(name="cnn_dropout"))
    for number, rate in enumerate((0.2, 0.4)):
        network = Cnn(blocks=(Block(filters=8, dropout=rate),))
        sample = sample.plus(samples.trial(number, network, {"dropout": rate}, (9900, 9902)))
    assert len(search_plots(read(sample))) == 1


def test_what_judges_the_search_is_called_by_its_name(stored: Stored) -> None:
    connection = stored(two_layers().changed(protocol="notebook"))
    results = read_results(connection, "layer_widths")
    assert {curve.images for curve in best_curves(connection, results)} == {"training", "test"}
    found = parameter_figures.parameter_points(results)
    assert caption("slices", points=found).startswith("Mean test accuracy over each parameter")


def test_a_plane_of_all_pairs_is_drawn_as_cells(read: Read) -> None:
    entry = IntDistribution(1, 100)
    pairs = [(8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 2)]
    plan = {"sampler": "grid", "points": [{"width": w, "twist": t} for w, t in pairs]}
    text = samples.definition({"width": entry, "twist": entry}, plan)
    sample = Sample(samples.study(definition=text))
    for number, (width, twist) in enumerate(pairs):
        values = (9000 + 10 * number, 9004 + 10 * number)
        params = {"width": width, "twist": twist}
        sample = sample.plus(samples.trial(number, Mlp(hidden=(width,)), params, values))
    full = parameter_figures.parameter_points(read(sample)).plane()
    assert full is not None
    assert full.full
    assert "each cell" in caption("contour", points=full)
    pruned = replace(sample.trials[0], state="pruned")
    results = read(replace(sample, trials=(pruned, *sample.trials[1:])))
    without = parameter_figures.parameter_points(results).plane()
    assert without is not None
    assert not without.full


def test_the_captions_speak_of_the_front_only_where_there_is_one(read: Read) -> None:
    with_front, without = (
        samples.plotted(read(samples.widths())),
        samples.plotted(read(samples.l2_search())),
    )
    assert "Step line" in with_front.caption
    assert "Step line" not in without.caption


def test_pictures_of_errors_say_what_is_no_result(errors: confusions.PredictionErrors) -> None:
    for draw in (confusions.draw_confusions, confusions.draw_misclassified):
        bare = Figure("errors", lambda draw=draw: ("", lambda: draw(errors)))  # type: ignore[misc]
        assert replace(bare, warning="rehearsal, not a result").png() != bare.png()


def test_confusions_as_tables_for_people(errors: confusions.PredictionErrors) -> None:
    rows = confusions.confusion_table(errors).text().rows
    assert rows[3] == ("3", "0.0", "0.0", "0.3", "0.0", "0.0", "0.0", "0.0", "0.0", "0.7", "0.0")
    assert confusions.misclassified_table(errors).text().rows == (
        ("0", "3", "8", "3 of 3"),
        ("1", "5", "3", "1 of 3"),
    )


CANVASES = {
    **{f"{k} of {n} trials": samples.several(k, n) for k, n in ((1, 60), (3, 2), (8, 2), (8, 60))},
    "confirmed": samples.l2_confirmed(),
    "denoiser": samples.autoencoders(),
}


@pytest.mark.parametrize("kind", CANVASES)
def test_nothing_is_cut_off_in_any_figure(stored: Stored, kind: str) -> None:
    """Texts, legends and marks lie within the canvas, however many there are."""
    sample = CANVASES[kind].changed(rehearsal=True)
    connection = stored(sample)
    found = study_figures(connection, read_results(connection, sample.study.name))
    assert len(found) >= (8 if kind == "8 of 60 trials" else 3)
    for figure in (figure for figure in found if figure.at_hand):
        with figure.drawing() as drawing:
            drawing.draw_without_rendering()  # lays it out
            box, canvas = drawing.get_tightbbox(), drawing.get_size_inches()
        assert min(box.x0, box.y0) >= -1e-6, figure.name
        assert box.x1 <= canvas[0] + 1e-6, figure.name
        assert box.y1 <= canvas[1] + 1e-6, figure.name
