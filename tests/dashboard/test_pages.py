"""The dashboard's pages in a real browser: what a person sees of a finished study and of a running one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.dashboard.dashboard_process import RUN, Dashboard, dashboard
from tests.processes import PATIENT, Place

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ON_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None) or (
    _ON_MACOS if _ON_MACOS.exists() else None
)
SECONDS = 30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; scripts/browser installs one"),
]


@dataclass
class Tab:
    """A page of a browser that remembers what went wrong in it."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(1000 * SECONDS)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(request.url))
        self.page.on(
            "response",
            lambda answer: (
                self.wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
            ),
        )
        self.page.on(
            "console",
            lambda said: self.wrong.append(said.text) if said.type == "error" else None,
        )

    def open(self, url: str) -> Page:
        self.page.goto(url)
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without a sandbox, since root may not use one; the only pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        expect.set_options(timeout=1000 * SECONDS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    yield Tab(page)
    page.close()


def plots(page: Page) -> Locator:
    return page.locator(".js-plotly-plot .main-svg").first


def drawn_pictures(page: Page, number: int) -> None:
    """Wait for pictures whose pixels have arrived."""
    page.wait_for_function(
        "number => [...document.querySelectorAll('img')]"
        ".filter(i => i.src.includes('/artifacts/') && i.naturalWidth > 100).length >= number",
        arg=number,
    )


def test_the_list_shows_the_study(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(f"{shown.base}/dashboard")
    expect(page.get_by_text("tiny")).to_be_visible()
    assert tab.wrong == []


def test_the_history_is_drawn_with_the_name_of_the_metric(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(shown.study)
    expect(plots(page)).to_be_visible()
    expect(page.get_by_text("validation accuracy").first).to_be_visible()
    for title in ("History", "Hyperparameter Importance", "Timeline"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    assert tab.wrong == []


def test_the_analytics_are_drawn(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(f"{shown.study}/analytics")
    for title in ("Slice", "Contour", "Rank"):
        expect(page.get_by_text(title, exact=True).first).to_be_visible()
    expect(plots(page)).to_be_visible()
    assert tab.wrong == []


def test_a_trial_shows_its_numbers_and_pictures(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(f"{shown.study}/trials?numbers=0")
    expect(page.get_by_role("heading", name=re.compile("Trial 0"))).to_be_visible()
    for text in ("learning_curves.png", "network.png"):
        expect(page.get_by_text(text)).to_be_visible()
    expect(page.get_by_text("parameters 50890")).to_be_visible()
    drawn_pictures(page, 2)
    assert tab.wrong == []


def test_the_confirmed_trial_shows_what_it_got_wrong(tab: Tab, shown: Dashboard) -> None:
    trials = shown.json("/api/studies/1")["trials"]
    (number,) = (trial["number"] for trial in trials if trial["note"]["body"])
    page = tab.open(f"{shown.study}/trials?numbers={number}")
    expect(page.get_by_text("confusion_matrix.png")).to_be_visible()
    expect(page.get_by_role("columnheader", name="test accuracy %")).to_be_visible()
    drawn_pictures(page, 4)
    assert tab.wrong == []


def test_the_table_has_columns_that_can_be_sorted(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(f"{shown.study}/smartSelection")
    for column in ("val_accuracy_mean", "val_accuracy_std", "n_seeds", "parameters"):
        head = page.locator("th", has_text=f"UserAttribute {column}")
        expect(head.get_by_role("button")).to_be_attached()
    expect(page.get_by_role("heading", name="Parallel Coordinate")).to_be_visible()
    assert tab.wrong == []


def test_the_note_is_a_page_with_tables_and_commands(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(shown.url)
    expect(page.get_by_role("heading", name="tiny", exact=True)).to_be_visible()
    expect(page.get_by_text("Embedded digits: only 5,000 of the 70,000").first).to_be_visible()
    expect(page.get_by_role("columnheader", name="accuracy %").first).to_be_visible()
    expect(page.get_by_text("mnist-tune report tiny")).to_be_visible()
    drawn_pictures(page, 2)
    assert tab.wrong == []


def test_a_study_of_the_list_opens_on_its_note(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(f"{shown.base}/dashboard")
    page.get_by_text("tiny").click()
    page.wait_for_url("**/dashboard/studies/1/note")
    expect(page.get_by_role("heading", name="tiny", exact=True)).to_be_visible()
    page.wait_for_function("() => [...document.images].every(image => image.complete)")
    page.goto(f"{shown.study}/analytics")
    page.locator("a[href$='/dashboard/studies/1']").first.click()  # of the menu
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    assert tab.wrong == []


@pytest.mark.parametrize("place", ["note", "trials?numbers=0"])
def test_a_picture_opens_in_full_on_a_click(tab: Tab, shown: Dashboard, place: str) -> None:
    page = tab.open(f"{shown.study}/{place}")
    drawn_pictures(page, 1)
    picture = page.locator("img[src*='/artifacts/']").first
    assert picture.bounding_box()["width"] > 400  # type: ignore[index]
    with page.expect_popup() as opened:
        picture.click()
    full = opened.value
    full.wait_for_url("**/artifacts/**")
    assert full.evaluate("document.images[0].naturalWidth") > 600
    full.close()
    assert f"/studies/1/{place}" in page.url
    assert tab.wrong == []


def test_a_note_fits_a_phone(tab: Tab, shown: Dashboard) -> None:
    tab.page.set_viewport_size({"width": 390, "height": 844})
    page = tab.open(shown.url)
    drawn_pictures(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("Math.max(...[...document.images].map(i => i.clientWidth))") > 200
    assert tab.wrong == []


def test_the_study_shows_its_figures_and_tables(tab: Tab, shown: Dashboard) -> None:
    page = tab.open(shown.study)
    for name in ("accuracy_against_l2.png", "configurations.csv", "misclassified.png"):
        expect(page.get_by_text(name)).to_be_attached()
    drawn_pictures(page, 5)
    assert tab.wrong == []


@pytest.mark.parametrize("options", [(), ("--read-only",)])
def test_a_deletion_is_refused_and_the_page_stays_usable(
    tab: Tab, finished: Place, options: tuple[str, ...]
) -> None:
    before = finished.rows("SELECT * FROM trials")
    with dashboard(finished, *options) as shown:
        page = tab.open(f"{shown.base}/dashboard")
        page.get_by_label("delete study").first.click()
        page.get_by_role("button", name="Yes").click()
        expect(page.get_by_text("Failed to delete study (id=1)")).to_be_visible()
        reason = "read-only" if options else "`mnist-tune delete tiny` deletes it"
        expect(page.get_by_role("alert").filter(has_text=reason)).to_be_visible()
        assert f"403 {shown.base}/api/studies/1" in tab.wrong
        tab.wrong.clear()
        tab.open(f"{shown.base}/dashboard/studies/1")
        expect(plots(page)).to_be_visible()
        assert tab.wrong == []
    assert finished.rows("SELECT * FROM trials") == before


def test_no_study_is_made_there(tab: Tab, shown: Dashboard, finished: Place) -> None:
    page = tab.open(f"{shown.base}/dashboard")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_label("Study name").fill("of my own")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    reason = page.get_by_role("alert").filter(has_text="studies are not made here")
    expect(reason).to_be_visible()
    reason.click()
    expect(reason).to_have_count(0)
    assert len(finished.rows("SELECT * FROM studies")) == 1


@pytest.mark.thorough
def test_a_running_study_moves_before_ones_eyes(tab: Tab, tmp_path: Path) -> None:
    place = Place(tmp_path)
    # The page asks every ten seconds, so that trials must take longer than elsewhere, and more of
    # them: the dashboard ends with the search.
    place.study("mishaps", PATIENT.replace("(1e-6, 1e-3)", "tuple(i * 5e-5 for i in range(1, 21))"))
    options = ("--no-confirm", "--dashboard", "--epochs", 200)
    with place.start("run", "mishaps.py", *RUN, *options) as running:
        running.until(lambda: "dashboard: http" in running.stderr, "the dashboard was there")
        url = running.stderr.partition("dashboard: ")[2].split()[0]
        running.until(lambda: place.epochs_seen(0) > 1, "the first trial was under way")
        page = tab.open(f"{url.removesuffix('/note')}/trials?numbers=0")
        expect(page.get_by_text("Running").first).to_be_visible()
        values = page.get_by_text(re.compile(r"^\d+ 0\.\d+$"))
        expect(values.first).to_be_visible()
        seen = values.count()
        running.until(lambda: values.count() > seen, "another epoch was shown")
        running.until(lambda: place.states()[0] == "COMPLETE", "the first trial had ended")
        tab.open(url)
        expect(page.get_by_text(re.compile(r"[1-9]\d* of 20 planned have ended"))).to_be_visible()
        assert tab.wrong == []
