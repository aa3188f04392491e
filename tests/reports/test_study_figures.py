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
from sqlalchemy import select

from mnist_tune.data.sources import load_dataset
from mnist_tune.metrics import ACCURACY
from mnist_tune.networks import Autoencoder, Block, Cnn, ConvAutoencoder, Mlp
from mnist_tune.reports import confusions, network_diagram, parameter_plane
from mnist_tune.reports.configurations import pareto_front
from mnist_tune.reports.documents import caption
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.learning_curves import best_curves
from mnist_tune.reports.results import read_results
from mnist_tune.reports.search_plot import cost_plot, search_plot
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
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
        "accuracy_over_width_1_and_width_2",
        "learning_curves",
        "network_trial_2",
        "network_trial_1",
    ]
    assert names(stored, samples.cnns())[:2] == [
        "accuracy_against_parameters",
        "accuracy_against_multiply_adds",
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
    figure = search_plot(read(samples.widths()))
    assert figure is not None
    means = [mean for _, mean in figure.front]
    assert means == sorted(means)
    assert len(means) == 4


def test_multiply_adds_stand_beside_the_parameters_of_convolutional_networks(read: Read) -> None:
    results = read(samples.cnns())
    figure = cost_plot(results)
    assert figure is not None
    assert figure.axis.title == "Multiply-adds per image"
    wanted = {entry.network.multiply_adds for entry in results.trials}
    assert {point.x for point in figure.points} == wanted
    titles = [c.heading for s in study_report(results).sections if s.table for c in s.table.columns]
    assert "multiply-adds" in titles
    assert cost_plot(read(samples.widths())) is None


def test_a_plane_needs_two_numbers(read: Read) -> None:
    one_parameter_alone = samples.l2_search()
    assert parameter_plane.parameter_plane(read(one_parameter_alone)) is None
    found = parameter_plane.parameter_plane(read(two_layers()))
    assert found is not None
    assert found.names == ("width_1", "width_2")
    assert found.points[0] == pytest.approx((1024.0, 512.0, 0.98267), abs=1e-5)
    places = {point[:2] for point in found.points}
    assert places == {(300.0, 100.0), (1024.0, 512.0), (64.0, 32.0)}
    assert (
        parameter_plane.parameter_plane(read(samples.autoencoders())) is None
    )  # the width is always 128


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


def test_long_names_in_the_figure_give_way_to_the_trial(read: Read) -> None:
    figure = search_plot(read(samples.cnns()))
    assert figure is not None
    assert {point.tag for point in figure.points if point.labelled} <= {
        f"trial {number}" for number in range(3)
    }
    widths = search_plot(read(samples.widths()))
    assert widths is not None
    assert "1024-512" in {point.tag for point in widths.points}


def test_deeper_networks_join_the_plane_where_two_layers_are_too_few(read: Read) -> None:
    results = read(samples.widths())
    found = parameter_plane.parameter_plane(results)
    assert found is not None
    depths = {e.trial.params["depth"] for e in results.trials if e.complete}
    assert depths == {1, 2, 3}
    having = [e for e in results.trials if e.complete and e.trial.params["depth"] > 1]
    assert len(found.points) == len(having)
    assert "of networks with two or more hidden layers" in caption("plane", plane=found)
    two = parameter_plane.parameter_plane(read(two_layers()))
    assert two is not None
    assert "of networks with two hidden layers" in caption("plane", plane=two)


def test_networks_of_one_cost_are_not_drawn_against_it(read: Read) -> None:
    sample = Sample(samples.study(name="cnn_dropout"))
    for number, rate in enumerate((0.2, 0.4)):
        network = Cnn(blocks=(Block(filters=8, dropout=rate),))
        sample = sample.plus(samples.trial(number, network, {"dropout": rate}, (9900, 9902)))
    assert cost_plot(read(sample)) is None


def test_what_judges_the_search_is_called_by_its_name(stored: Stored) -> None:
    connection = stored(two_layers().changed(protocol="notebook"))
    results = read_results(connection, "layer_widths")
    assert {curve.images for curve in best_curves(connection, results)} == {"training", "test"}
    found = parameter_plane.parameter_plane(results)
    assert found is not None
    assert caption("plane", plane=found).startswith(
        "Mean test accuracy of networks with two hidden"
    )


def test_a_plane_of_all_pairs_is_drawn_as_cells(read: Read) -> None:
    entry = IntDistribution(1, 100)
    pairs = [(8, 1), (8, 2), (16, 1), (16, 2)]
    plan = {"sampler": "grid", "points": [{"width": w, "twist": t} for w, t in pairs]}
    text = samples.definition({"width": entry, "twist": entry}, plan)
    sample = Sample(samples.study(definition=text))
    for number, (width, twist) in enumerate(pairs):
        values = (9000 + 10 * number, 9004 + 10 * number)
        params = {"width": width, "twist": twist}
        sample = sample.plus(samples.trial(number, Mlp(hidden=(width,)), params, values))
    full = parameter_plane.parameter_plane(read(sample))
    assert full is not None
    assert full.full
    assert "each cell" in caption("plane", plane=full)
    pruned = replace(sample.trials[0], state="pruned")
    without = parameter_plane.parameter_plane(
        read(replace(sample, trials=(pruned, *sample.trials[1:])))
    )
    assert without is not None
    assert not without.full


def test_the_captions_speak_of_the_front_only_where_there_is_one(read: Read) -> None:
    with_front, without = (
        search_plot(read(samples.widths())),
        search_plot(read(samples.l2_search())),
    )
    assert with_front is not None
    assert without is not None
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
