"""The report as terminal text, Markdown and JSON."""

from __future__ import annotations

import json

import pytest

from mnist_tune.networks import Mlp, network_to_json
from mnist_tune.reports.columns import TextColumn, TextTable, fit
from mnist_tune.reports.documents import (
    MOST_ROWS,
    Document,
    json_document,
    markdown_document,
    terminal_text,
)
from mnist_tune.reports.figures import stored_figure
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.study_report import short_report, study_report
from mnist_tune.reports.table_formats import latex_table
from mnist_tune.reports.tables import comparison_table, configurations_table, runs_table
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read

NETWORK = network_to_json(Mlp(hidden=(500, 300)))
KEYS = [
    "verdict",
    "provenance",
    "configurations",
    "seeds",
    "baselines",
    "network_1",
    "figures",
    "warnings",
    "methods",
]


def shown(results: StudyResults | Document, width: int = 80) -> str:
    report = results if isinstance(results, Document) else study_report(results)
    return terminal_text(report, width)


def line(text: str, *words: str) -> str:
    """The first line that holds all the words, its gaps made single."""
    found = (" ".join(row.split()) for row in text.splitlines())
    return next(row for row in found if all(word in row for word in words))


def test_sections_in_order(read: Read) -> None:
    assert [section.key for section in study_report(read(samples.l2_confirmed())).sections] == KEYS


@pytest.mark.parametrize(
    "sample", [samples.l2_confirmed(), samples.widths(), samples.l2_with_losses()]
)
def test_nothing_is_wider_than_80_columns(read: Read, sample: samples.Sample) -> None:
    assert max(len(row) for row in shown(read(sample)).splitlines()) <= 80


@pytest.mark.parametrize(
    "sample",
    [
        samples.l2_confirmed(),
        samples.widths(),
        samples.autoencoders(),
        samples.l2_search((0, 1), rehearsal=True, data=samples.EMBEDDED),
    ],
)
def test_the_short_report_fits_a_small_terminal(read: Read, sample: samples.Sample) -> None:
    results = read(sample)
    lines = shown(short_report(results)).splitlines()
    assert len(lines) <= 22  # below the command, above the prompt
    assert lines[0].startswith(results.provenance.name)
    assert sum("best" in line.split() for line in lines) >= 1
    assert any("mnist-tune report" in line for line in lines)


@pytest.mark.parametrize(
    ("sample", "first"),
    [
        (samples.l2_confirmed(), "report"),
        (samples.l2_search(), "confirm"),
        (samples.l2_search((0, 1)), "resume"),
    ],
)
def test_the_short_report_says_what_to_type_next(
    read: Read, sample: samples.Sample, first: str
) -> None:
    (*_, commands) = short_report(read(sample)).sections
    assert commands.text[0].endswith(f": `mnist-tune {first} l2_factor`")


def test_the_short_report_labels_what_is_no_result(read: Read) -> None:
    assert short_report(read(samples.l2_search(rehearsal=True))).title == "l2_factor (rehearsal)"


def test_terminal_rows(read: Read) -> None:
    text = shown(read(samples.l2_confirmed()))
    assert "1 2.5075e-4 98.27 ± 0.10 3 98.14–98.39 0.00 – best" in " ".join(text.split())
    assert "0 1e-6 98.24 ± 0.04 3 98.13–98.34 −0.03" in " ".join(text.split())
    assert line(text, "hinton-500-300", "−0.16") == (
        "hinton-500-300 98.47 −0.16 −0.53 to +0.21 not distinguishable"
    )
    assert "test, confirmation 1" in text
    assert "98.23 98.39 98.31 98.22 98.40" in text


def test_each_seed_is_shown(read: Read) -> None:
    text = " ".join(shown(read(samples.l2_search())).split())
    for values in samples.VALIDATION:
        assert " ".join(f"{value / 100:.2f}" for value in values) in text


def test_alerts_stand_above_everything(read: Read) -> None:
    results = read(samples.l2_confirmed(rehearsal=True))
    text = shown(results)
    assert text.index("Rehearsal (--quick)") < text.index("Verdict")
    assert (
        markdown_document(study_report(results))
        .splitlines()[2]
        .startswith("> **Rehearsal (--quick)")
    )


def test_plain_studies_have_no_alert(read: Read) -> None:
    assert study_report(read(samples.l2_confirmed())).alerts == ()


def test_embedded_digits_show_no_published_number(read: Read) -> None:
    sample = samples.l2_search(data=samples.EMBEDDED).plus(samples.confirmation(test_size=1_000))
    results = read(sample)
    for text in (
        shown(results),
        markdown_document(study_report(results)),
        json_document(study_report(results)),
    ):
        assert "Hinton" not in text
        assert "98.47" not in text
        assert "0.9847" not in text


def test_protocol_notebook_names_its_images(read: Read) -> None:
    text = shown(read(samples.l2_search(protocol="notebook")))
    assert "Accuracy on test images" in text
    assert "test set: used in the search" in text
    assert "share of the test images" in text


def test_provenance_lines(read: Read) -> None:
    lines = study_report(read(samples.l2_confirmed(overrides={"epochs": 3}))).sections[1].text
    assert lines == (
        "question: How much L2 does a dense 500-300 network want?",
        "trials: 5 of 5 planned have ended (5 complete, 0 pruned, 0 failed), 3 seeds each",
        "test set: opened once; confirmation 1 of trial 1 complete, 10 of 10 seeds (1000–1009)",
        "protocol: holdout, judged by training images held back; the test set is for confirmation",
        "data: MNIST (folder), 60,000 training and 10,000 test images, sha256 abababababab…",
        "training: 3 epochs, batches of 128, Sgd (learning_rate 0.1), constant learning rate",
        "search: grid, pruner none, l2 at 1e-6, 2.5075e-4, 5.005e-4, 7.5025e-4, 1e-3",
        "definition: l2_factor.py, fingerprint ffffffffffff…",
        "command line: epochs=3",
        "versions: keras 3.15.1, tensorflow 2.21.0",
    )


def searched_recipe(*changes: dict[str, float]) -> samples.Sample:
    """A study whose trials change the recipe so."""
    definition = json.loads(samples.definition())
    definition["examples"] = [[{}, {"network": NETWORK, **change}] for change in changes]
    return samples.l2_search(definition=json.dumps(definition))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            ({"learning_rate": 0.1, "batch_size": 32}, {"learning_rate": 0.5, "batch_size": 256}),
            "3 epochs, batch size searched, Sgd (learning_rate searched), constant",
        ),
        (
            ({"learning_rate": 0.5}, {"learning_rate": 0.5}),
            "3 epochs, batches of 128, Sgd (learning_rate 0.5), constant",
        ),
        (({}, {"batch_size": 64}), "3 epochs, batch size searched, Sgd (learning_rate 0.1)"),
    ],
)
def test_what_is_searched_of_the_recipe_has_no_value(
    read: Read, changes: tuple[dict[str, float], ...], words: str
) -> None:
    lines = study_report(read(searched_recipe(*changes))).sections[1].text
    assert lines[5].startswith(f"training: {words}")


def test_more_trials_than_were_planned_at_last(read: Read) -> None:
    lines = study_report(read(samples.l2_search(planned_trials=2))).sections[1].text
    assert lines[1].startswith(
        "trials: 5 have ended, though only 2 were planned at last (5 complete"
    )


def test_space_of_a_sampler(read: Read) -> None:
    lines = study_report(read(samples.widths())).sections[1].text
    assert "search: tpe, pruner none, depth 1 to 3; width_1 32 to 1024 (log); " in lines[6]


def test_no_place_of_the_machine_is_told(read: Read) -> None:
    report = study_report(read(samples.l2_confirmed()))
    for text in (shown(report), markdown_document(report), json_document(report)):
        assert "/somewhere" not in text
        assert "/home" not in text
        assert samples.UID not in text


def test_json_holds_full_precision_and_nulls(read: Read) -> None:
    report = json.loads(json_document(study_report(read(samples.l2_with_losses()))))
    assert report["study"] == "l2_factor"
    numbers = ["verdict", "provenance", "configurations", "seeds", "network_1", "warnings"]
    assert set(report) <= {"study", "prose", *numbers}
    best, *_, failed = report["configurations"]
    assert best["mean"] == pytest.approx(0.9827, abs=1e-15)
    assert (best["l2"], best["approx_best"]) == (0.00025075, True)
    assert (failed["mean"], failed["state"], failed["reason"]) == (None, "failed", "diverged")
    assert [entry["key"] for entry in report["warnings"]] == [
        "failed",
        "pruned",
        "noise",
    ]


def test_json_has_its_sentences_in_one_field(read: Read) -> None:
    made = study_report(read(samples.l2_confirmed()))
    report = json.loads(json_document(made))
    prose = report.pop("prose")
    assert prose["verdict"] == list(made.sections[0].text)
    sentences = [line for section in made.sections for line in section.text]
    question = made.sections[1].text[0].removeprefix("question: ")  # the study's own record
    numbers = json.dumps(report, ensure_ascii=False)
    assert [line for line in sentences if line in numbers] == []
    assert question in numbers


def test_json_of_a_confirmed_study_holds_the_verdict(read: Read) -> None:
    report = json.loads(json_document(study_report(read(samples.l2_confirmed()))))
    (verdict,) = report["verdict"]
    assert (verdict["outcome"], verdict["against"]) == ("not distinguishable", "hinton-500-300")
    assert len(report["seeds"]) == 25
    (provenance,) = report["provenance"]
    assert provenance["data"]["sha256"] == "ab" * 32


def test_markdown_tables(read: Read) -> None:
    text = markdown_document(study_report(read(samples.l2_confirmed())))
    assert text.startswith("# l2_factor\n\n## Verdict\n\nNot distinguishable from Hinton's 98.47 %")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()]
    assert ["1", "2.5075e-4", "98.27 ± 0.10", "3", "98.14–98.39", "0.00", "–", "best"] in rows
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_markdown_shows_pictures(read: Read) -> None:
    picture = stored_figure("accuracy", "Accuracy against λ.", b"")
    text = markdown_document(study_report(read(samples.l2_search()), [picture]))
    assert "## Figures\n\n![Accuracy against λ.](accuracy.png)" in text
    assert "mnist-tune export" not in text
    assert "mnist-tune export l2_factor" in markdown_document(
        study_report(read(samples.l2_search()))
    )


def test_runs_and_comparison_for_papers(read: Read) -> None:
    results = read(samples.l2_confirmed())
    assert runs_table(results).text().rows[0] == ("0", "1e-6", "validation", "0", "98.20")
    assert runs_table(results).text().rows[-1] == ("1", "2.5075e-4", "test (1)", "1009", "98.31")
    first, *_, last = comparison_table(results).text().rows
    assert first[:5] == (
        "trial 1, test (confirmation 1)",
        "98.31 ± 0.06",
        "hinton-500-300",
        "−0.16",
        "−0.53 to +0.21",
    )
    assert last[:4] == ("trial 4, validation", "98.00 ± 0.11", "trial 1", "−0.27")
    assert last[6] == "worse"


def test_marks_of_lost_trials(read: Read) -> None:
    column = configurations_table(read(samples.l2_with_losses())).text().columns[-1]
    assert column.cells == ("best", "≈ best", "≈ best", "pruned at epoch 2", "failed: diverged")


def test_columns_that_say_the_same_in_each_row_are_left_out(read: Read) -> None:
    titles = [
        column.heading for column in configurations_table(read(samples.l2_search())).text().columns
    ]
    assert "network" not in titles
    assert "parameters" not in titles


def view(*columns: tuple[str, int]) -> TextTable:
    return TextTable(tuple(TextColumn(title, ("x" * 8,), drop=rank) for title, rank in columns))


def test_columns_go_by_rank_until_the_table_fits() -> None:
    wide = view(("a", 0), ("b", 2), ("c", 1), ("d", 2), ("e", 0))  # 5 · 8 + 4 · 2 = 48 wide
    room_of = lambda column: len(column.cells[0]) + 2  # noqa: E731
    assert fit(wide, 50, room_of) == (wide, ())
    narrower, dropped = fit(wide, 49, room_of)
    assert dropped == ("d",)
    assert [column.heading for column in narrower.columns] == ["a", "b", "c", "e"]
    assert fit(wide, 32, room_of)[1] == ("b", "d")
    assert fit(wide, 1, room_of)[1] == ("c", "b", "d")


def test_what_is_left_out_is_named(read: Read) -> None:
    text = shown(read(samples.widths()))
    assert "Not shown: the columns n, size, depth, width_1, width_2, width_3, p (Holm)." in text
    assert "Not shown" not in shown(read(samples.widths()), width=200)


def test_long_tables_are_cut(read: Read) -> None:
    sample = samples.l2_search()
    for number in range(5, MOST_ROWS + 3):
        params = {"l2": 1e-5 * number}
        sample = sample.plus(
            samples.trial(number, Mlp(hidden=(500, 300)), params, (9700, 9710, 9720))
        )
    text = shown(read(sample))
    assert text.count("Not shown: 3 more rows (--format markdown has all).") == 2


def many_parameters() -> samples.Sample:
    """Ten parameters with long names and long values."""
    names = [f"a_rather_long_name_{i}" for i in range(10)]
    sample = samples.Sample(samples.study())
    for number, values in enumerate(samples.VALIDATION):
        params = dict.fromkeys(names, (number + 1) * 1.2345e-07)
        network = Mlp(hidden=(1000 + number, 500, 250, 250, 250))
        sample = sample.plus(samples.trial(number, network, params, values))
    return sample


@pytest.mark.parametrize(
    "sample",
    [
        samples.l2_confirmed(),
        samples.l2_with_losses(),
        samples.widths(),
        samples.autoencoders(),
        samples.cnns(),
        many_parameters(),
    ],
)
def test_latex_tables_fit_the_text_of_an_article(read: Read, sample: samples.Sample) -> None:
    results = read(sample)
    for made in (configurations_table, runs_table, comparison_table):
        columns, points = samples.latex_columns(latex_table(made(results).text()))
        assert columns >= 4
        assert points <= 345


def test_latex_table(read: Read) -> None:
    text = latex_table(configurations_table(read(samples.l2_search())).text())
    lines = text.splitlines()
    assert lines[1] == "% left out, to fit the page: p (Holm)"
    assert lines[2].startswith(r"\begin{tabular}{@{}S[table-format=1]S[table-format=1.4e-1]r")
    assert lines[6] == r"1 & 2.5075e-4 & 98.27 $\pm$ 0.10 & 3 & 98.14--98.39 & 0.00 & best \\"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert text.isascii()
