"""Pages stand alone, escape what they show, and say what the terminal says."""

from __future__ import annotations

import base64
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from mnist_tune.errors import Incomplete
from mnist_tune.reports.all_studies import all_studies
from mnist_tune.reports.documents import Document, Section, html_page
from mnist_tune.reports.figures import stored_figure
from mnist_tune.reports.results import read_results
from mnist_tune.reports.study_figures import study_figures
from mnist_tune.reports.study_report import study_report
from mnist_tune.storage.records import AnalysisRow, PictureRow
from mnist_tune.storage.store import add_rows
from tests.reports import report_samples as samples
from tests.reports.report_samples import Read, Stored, opened

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What is on a page, and whether its tags are well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [
            attrs[attribute] or ""
            for name, attrs in self.tags
            if name == tag and attribute in attrs
        ]


def test_a_page_says_what_the_report_says_and_shows_its_pictures(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed())
    results = read_results(connection, "l2_factor")
    drawn = [f for f in study_figures(connection, results) if f.at_hand]
    made = study_report(results, drawn)
    found = Page(html_page("l2_factor", [made]))
    words = " ".join(found.text.split())
    for section in made.sections:
        assert section.title in words
        for line in section.text if section.key != "figures" else ():  # the pictures themselves
            assert " ".join(line.replace("`", "").split()) in words
        for row in section.table.text().rows if section.table else ():
            assert all(cell in found.text for cell in row)
    pictures = [base64.b64decode(uri.partition(",")[2]) for uri in found.values("img", "src")]
    assert pictures == [picture.png() for picture in drawn]
    assert found.values("img", "alt") == [picture.caption for picture in drawn]


def test_a_page_fetches_and_runs_nothing(stored: Stored) -> None:
    connection = stored(samples.widths())
    results = read_results(connection, "layer_widths")
    figures = [f for f in study_figures(connection, results) if f.at_hand]
    text = html_page("x", [study_report(results, figures)])
    found = Page(text)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in found.tags)
    assert all(uri.startswith("data:image/png;base64,") for uri in found.values("img", "src"))
    assert all(target.startswith("#") for target in found.values("a", "href"))
    assert set(found.values("a", "href")) <= {f"#{name}" for name in found.values("section", "id")}
    assert "url(" not in text
    assert not re.search(r"https?://", text)


def test_tables_scroll_in_a_box_of_their_own(read: Read) -> None:
    found = Page(html_page("x", [study_report(read(samples.widths()))]))
    tags = [(tag, attrs.get("class")) for tag, attrs in found.tags]
    places = [i for i, (tag, _) in enumerate(tags) if tag == "table"]
    assert places
    assert all(tags[i - 1] == ("div", "table") for i in places)
    assert found.values("meta", "content")[0] == "width=device-width, initial-scale=1"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; scripts/browser installs one")
def test_a_page_on_a_phone_and_on_paper(stored: Stored, tmp_path: Path) -> None:
    connection = stored(samples.l2_confirmed())
    results = read_results(connection, "l2_factor")
    figures = [figure for figure in study_figures(connection, results) if figure.at_hand]
    file = tmp_path / "page.html"
    file.write_text(html_page("l2_factor", [study_report(results, figures)]), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(file.as_uri())
        boxes = "[...document.querySelectorAll('{}')].map(box => box.{})"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert max(page.evaluate(boxes.format(".table", "scrollWidth"))) > 390  # it scrolls
        assert max(page.evaluate(boxes.format("tr", "offsetHeight"))) <= 48  # two lines
        widths = page.evaluate(boxes.format("figure img", "offsetWidth"))
        natural = page.evaluate(boxes.format("figure img", "naturalWidth"))
        # Drawn with letters of 7 points at 200 dots an inch: 9 pixels of the phone, or more.
        assert all(width >= dots / 2.01 for width, dots in zip(widths, natural, strict=True))
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 650, "height": 980})  # A4 within its margins
        assert max(page.evaluate(boxes.format("table", "offsetWidth"))) <= 650
        assert not page.is_visible("nav")
        browser.close()


def test_what_users_write_is_escaped() -> None:
    evil = "<script>alert(1)</script> & `a<b`"
    section = Section(key="verdict", title=evil, text=(evil,))
    picture = stored_figure("x", f'"{evil}"', b"png")
    figures = Section(key="figures", title="Figures")
    found = Page(html_page(evil, [Document(evil, (evil,), (section, figures), (picture,))]))
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.text.count("<script>alert(1)</script>") >= 4
    assert found.values("img", "alt") == [f'"{evil}"']


def test_the_story_tells_of_each_study_once_and_says_what_is_missing(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed(source="l2_factor"))
    told = all_studies(connection, with_figures=False)
    assert [document.title for document in told] == ["All studies", "l2_factor"]
    sections = {section.key: section for section in told[0].sections}
    assert any(line.startswith("l2_factor: Not distinguishable") for line in sections["l2"].text)
    assert sections["cnn"].text[-1] == "Not made yet: `mnist-tune run cnn_design`."
    assert "55,050" in sections["baseline"].text[0]
    assert "mnist-tune denoise" in sections["denoise"].text[0]
    overview = sections["overview"].table
    assert overview is not None
    (row,) = overview.text().rows
    assert row[0] == "l2_factor"
    assert "98.31 ± 0.06 %" in row


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({"rehearsal": True}, "rehearsal"),
        ({"protocol": "notebook"}, "notebook protocol, optimistic"),
        ({"data": samples.EMBEDDED}, "embedded digits"),
    ],
)
def test_what_is_no_result_is_labelled_in_the_story(
    stored: Stored, changes: dict[str, Any], label: str
) -> None:
    connection = stored(samples.l2_search(source="l2_factor", **changes))
    sections = {s.key: s for s in all_studies(connection, with_figures=False)[0].sections}
    assert any(f"({label})" in line for line in sections["l2"].text)


def test_where_nothing_honest_is_there_the_story_says_how_to_make_it(stored: Stored) -> None:
    rehearsed = samples.l2_search(source="l2_factor", rehearsal=True)
    for sample, missing in ((rehearsed, True), (samples.l2_search(source="l2_factor"), False)):
        sections = {s.key: s for s in all_studies(stored(sample), with_figures=False)[0].sections}
        said = any(line.startswith("No result yet") for line in sections["l2"].text)
        assert said is missing


def test_labelled_studies_come_last_in_the_storys_tables(tmp_path: Path) -> None:
    first = samples.l2_search(source="l2_factor", name="a", rehearsal=True)
    moved = {"study_uid": "fedcba9876543210" * 2}
    second = replace(
        samples.l2_search(source="l2_factor"),
        study=samples.study(uid=moved["study_uid"], name="b", source="l2_factor"),
        **{
            field: tuple(replace(row, **moved) for row in getattr(samples.l2_search(), field))
            for field in ("trials", "runs", "epochs", "timings")
        },
    )
    with opened(tmp_path / "both.db", first, second) as connection:
        overview = all_studies(connection, with_figures=False)[0]
    for section in overview.sections:
        if section.key in {"overview", "l2"}:
            assert section.table is not None
            assert [(row[0], row[-1]) for row in section.table.text().rows] == [
                ("b", ""),
                ("a", "rehearsal"),
            ]


def test_the_list_of_contents_names_the_sections_of_the_story(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed(source="l2_factor"))
    found = Page(html_page("x", all_studies(connection, with_figures=False)))
    links = found.values("a", "href")
    assert "#all-studies-loss" in links
    assert links[-1] == "#l2-factor"
    assert set(links) <= {f"#{name}" for name in found.values("section", "id")}


def test_analyses_are_told_with_their_tables_and_pictures(stored: Stored) -> None:
    connection = stored(samples.l2_confirmed())
    row = AnalysisRow(
        name="denoise", title="Denoising", inputs={}, tables={"rates": [{"level": 0.4, "rate": None}]},
        text=("It helps from 0.2 on.",),
    )  # fmt: skip
    picture = PictureRow(analysis="denoise", name="grid", position=0, caption="A grid.", png=b"png")
    add_rows(connection, [row, picture])
    told = all_studies(connection, with_figures=False)
    assert [document.title for document in told] == ["All studies", "Denoising", "l2_factor"]
    text = html_page("x", told)
    assert "It helps from 0.2 on." in Page(text).text
    assert base64.b64encode(b"png").decode() in text


def test_nothing_to_tell(stored: Stored) -> None:
    with pytest.raises(Incomplete, match="mnist-tune run l2_factor"):
        all_studies(stored(samples.Sample(samples.study())), with_figures=False)
