"""The report in a real browser: plots appear, in light and dark, on a phone, without a network or an error."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modyn.reports import write_html
from tests.reports.journals import long_run

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-first-run",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--no-pings",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    made = [
        long_run(runs, "never", seed=2, every=12),
        long_run(runs, "last-month", seed=1, drift=True),
        long_run(runs, "all-data", seed=4),
    ]
    return write_html(made, runs / "report.html")


@pytest.fixture(scope="module")
def small_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return write_html(long_run(runs, "monthly", seed=1), runs / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine; install it with: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


class Opened:
    """A page with what it complained of and asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.wait(1)

    def wait(self, turn: int) -> None:
        """Wait until every plot is drawn for the ``turn``-th time."""
        self.page.wait_for_selector(f'html[data-drawn="{turn}"]', state="attached", timeout=60_000)

    def all(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1200, "light"),
        pytest.param(390, "dark", marks=pytest.mark.slow),
        pytest.param(1200, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
def test_every_plot_is_drawn_and_fits_without_errors(browser: Any, report: Path, scheme: str, width: int) -> None:
    opened = Opened(
        browser,
        report,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        is_mobile=width < 500,
        has_touch=width < 500,
    )
    assert opened.complaints == []
    assert opened.requests == [report.as_uri()]
    plots = opened.all("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('svg.main-svg').length)")
    assert len(plots) >= 3 + 5 * 3 + 1
    assert min(plots) >= 1
    assert opened.all("document.documentElement.scrollWidth <= window.innerWidth")
    edges = "[...document.querySelectorAll('.plot svg.main-svg')].map(s => s.getBoundingClientRect().right)"
    assert max(opened.all(edges)) <= width
    opened.context.close()


@pytest.mark.slow
def test_plots_are_readable_and_follow_the_theme_while_the_page_is_open(browser: Any, small_report: Path) -> None:
    opened = Opened(browser, small_report, color_scheme="light")
    seen = set()
    for turn, scheme in enumerate(("light", "dark"), start=1):
        opened.page.emulate_media(color_scheme=scheme)
        opened.wait(turn)
        page = opened.all("getComputedStyle(document.body).backgroundColor")
        text = opened.all("getComputedStyle(document.querySelector('.plot .xtitle')).fill")
        line = opened.all("getComputedStyle(document.querySelector('.plot .scatterlayer path.js-line')).stroke")
        assert contrast(page, text) >= 7
        assert contrast(page, line) >= 3
        seen.add((page, text, line))
    assert len(seen) == 2
    opened.context.close()


@pytest.mark.slow
def test_another_metric_is_chosen_by_keyboard_alone(browser: Any, small_report: Path) -> None:
    opened = Opened(browser, small_report)
    opened.page.focus("#metric")
    opened.page.keyboard.press("ArrowDown")
    opened.wait(2)
    assert opened.all("document.getElementById('metric').value") == "accuracy"
    assert "accuracy" in opened.page.text_content("[data-chart=score-over-time] .ytitle")
    assert opened.page.is_visible('.summary[data-metric="accuracy"]')
    assert not opened.page.is_visible('.summary[data-metric="roc-auc"]')
    assert opened.complaints == []
    opened.context.close()


def test_a_chart_can_be_read_as_a_table(browser: Any, small_report: Path) -> None:
    opened = Opened(browser, small_report)
    opened.page.focus('[data-values="score-over-time"] summary')
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector('[data-values="score-over-time"] td')
    text = opened.page.inner_text('[data-values="score-over-time"]')
    assert "[2013-01-31, 2013-03-02)" in text
    assert "undefined" in text
    opened.context.close()


@pytest.mark.slow
def test_names_from_users_are_shown_as_text_in_the_plots(browser: Any, tmp_path: Path) -> None:
    evil = '<img src=x onerror="document.title=1"><b>bold</b>'
    run = long_run(tmp_path, "plain", metrics=[(evil, True)])
    opened = Opened(browser, write_html(run, tmp_path / "report.html"))
    assert opened.complaints == []
    assert opened.all("document.querySelectorAll('img').length") == 0
    assert "<b>bold</b>" in opened.page.text_content("[data-chart=score-over-time] .ytitle")
    opened.context.close()


def contrast(one: str, other: str) -> float:
    """The WCAG contrast of two CSS rgb() colours, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [float(p) / 255 for p in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
