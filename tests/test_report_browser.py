"""The page in a real browser: what a reader sees, clicks, types and cannot see."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from browser import broken_images, chromium, console_errors, faint_texts, open_page, overflow
from report_pages import HOSTILE, full_page

from unrote.report import write

__all__ = ["chromium"]

pytestmark = pytest.mark.browser

COLUMN = """
const table = [...document.querySelectorAll('table')].find(t => t.caption.textContent === 'Copies by class');
return [...table.tBodies[0].rows].map(row => row.cells[arguments[0]].textContent)
"""
HEAD = """
const table = [...document.querySelectorAll('table')].find(t => t.caption.textContent === 'Copies by class');
return table.tHead.rows[0].cells[arguments[0]]
"""
OPEN_ALL = """
document.querySelectorAll('details').forEach(d => { d.open = true; });
document.querySelectorAll('.grow button:last-child').forEach(b => b.click());
"""
RATIOS = ["at most 0.8 %, n = 497", "9.5 % [5.0, 16.0], n = 100", "20.0 % [15.0, 26.0], n = 200"]
RATIOS += ["31.0 % [27.0, 35.0], n = 512", "at least 90.0 %, n = 40"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write(full_page(), path)
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1400])
def test_page_fits_loads_and_reads_well(chromium, page, width, dark):
    open_page(chromium, page, width=width, dark=dark)
    assert overflow(chromium) == 0
    chromium.execute_script(OPEN_ALL)
    assert overflow(chromium) == 0
    assert broken_images(chromium) == []
    assert faint_texts(chromium) == []
    assert console_errors(chromium) == []


def test_dark_mode_changes_the_paper(chromium, page):
    colours = []
    for dark in (False, True):
        open_page(chromium, page, dark=dark)
        colours.append(chromium.execute_script("return getComputedStyle(document.body).backgroundColor"))
    light, night = ([int(part) for part in colour[4:-1].split(",")] for colour in colours)
    assert min(light) > 240
    assert max(night) < 40


def test_faint_text_is_noticed(chromium, page):
    open_page(chromium, page)
    chromium.execute_script("document.querySelector('h1').style.color = '#bbb'")
    assert len(faint_texts(chromium)) == 1


def test_hostile_names_are_text_and_no_script_runs(chromium, page):
    open_page(chromium, page)
    assert chromium.execute_script("return window.hacked === undefined && document.scripts.length === 1")
    names = chromium.execute_script(
        "return [...document.querySelectorAll('.row .exhibit-head > bdi')].map(b => b.textContent)"
    )
    shown = [
        name.replace("\u202e", r"\u202e").replace("\udce9", r"\xe9").replace("\x07", "␇") for name in HOSTILE
    ]
    assert names[: len(HOSTILE)] == shown
    assert shown[1] in chromium.title
    labels = chromium.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => t.textContent)"
    )
    assert any(label.startswith("<script>alert(1)</script>.png (n = 300)") for label in labels)
    assert "</title></style></svg>--><b>.png" in labels


def test_nothing_is_fetched(chromium, page):
    open_page(chromium, page)
    script = (
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    )
    assert chromium.execute_script(script) == []


def test_tables_sort_by_click_with_missing_values_last(chromium, page):
    open_page(chromium, page)
    button = chromium.execute_script(HEAD, 2).find_element("tag name", "button")
    button.click()
    assert chromium.execute_script(COLUMN, 2)[:5] == RATIOS
    assert chromium.execute_script(HEAD, 2).get_attribute("aria-sort") == "ascending"
    button.click()
    assert chromium.execute_script(COLUMN, 2)[:5] == RATIOS[::-1]
    assert chromium.execute_script(HEAD, 2).get_attribute("aria-sort") == "descending"
    assert "descending" in chromium.execute_script("return document.getElementById('status').textContent")


def test_tables_sort_by_keyboard(chromium, page):
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    samples, classes = (chromium.execute_script(HEAD, i).find_element("tag name", "button") for i in (1, 0))
    samples.send_keys(Keys.ENTER)
    assert chromium.execute_script(COLUMN, 1) == ["3", "9", "20", "100", "1,000", "10,000", "–"]
    classes.send_keys(Keys.SPACE)
    assert chromium.execute_script(COLUMN, 0) == [f"class {i}" for i in range(4, 11)]
    assert chromium.execute_script(HEAD, 1).get_attribute("aria-sort") == "none"


def test_negative_numbers_sort_as_numbers(chromium, page):
    open_page(chromium, page)
    chromium.execute_script(HEAD, 3).find_element("tag name", "button").click()
    assert chromium.execute_script(COLUMN, 3) == ["−3", "−2.5", "−2", "−1.5", "−1", "−0.5", "0"]


def test_tab_order_starts_with_the_skip_link_and_reaches_every_sort_button(chromium, page):
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    reached = []
    for _ in range(120):
        chromium.switch_to.active_element.send_keys(Keys.TAB)
        focused = chromium.switch_to.active_element
        reached.append((focused.tag_name, focused.text, focused.get_attribute("class")))
    assert reached[0][:2] == ("a", "Skip to the report")
    sorts = [text for _, text, kind in reached if kind == "sort"]
    assert sorts[:8] == ["class", "samples", "copy ratio", "shift", "sample", "nearest", "ratio", "copy"]


def test_focus_is_visible(chromium, page):
    from selenium.webdriver.common.keys import Keys

    open_page(chromium, page)
    chromium.execute_script(HEAD, 0).find_element("tag name", "button").send_keys(Keys.TAB)
    style = chromium.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"


def test_long_lists_grow_on_request(chromium, page):
    open_page(chromium, page)
    visible = "return [...document.querySelectorAll('.row')].filter(r => r.checkVisibility()).length"
    buttons = chromium.find_elements("css selector", ".exhibits .grow button")
    assert chromium.execute_script(visible) == 24
    assert [button.text for button in buttons[:2]] == ["Show 24 more", "Show all 130"]
    buttons[0].click()
    assert chromium.execute_script(visible) == 48
    buttons[1].click()
    assert chromium.execute_script(visible) == 130
    assert chromium.execute_script("return document.activeElement.textContent") == "all 130 shown"


def test_a_folded_table_shows_its_first_rows_after_sorting(chromium, page):
    open_page(chromium, page)
    table = chromium.find_element("css selector", "table[data-shown='100']:has(tr.more)")
    rows = "return [...arguments[0].tBodies[0].rows].filter(r => r.checkVisibility()).map(r => r.cells[1].textContent)"
    assert len(chromium.execute_script(rows, table)) == 100
    table.find_elements("css selector", ".sort")[1].click()
    shown = [int(text) for text in chromium.execute_script(rows, table)]
    assert len(shown) == 100
    assert shown == sorted(7 * i % 50 for i in range(130))[:100]


def test_without_scripts_everything_is_there(chromium, page):
    open_page(chromium, page, scripts=False)
    try:
        assert overflow(chromium) == 0
        hidden = """return [...document.querySelectorAll('.row, tbody tr')]
            .filter(r => !r.checkVisibility() && !r.closest('details')).length"""
        assert chromium.execute_script(hidden) == 0
        assert chromium.find_elements("css selector", ".sort, .grow button") == []
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_phone_gets_drawings_of_its_own(chromium, page):
    wide = (
        "return [...document.querySelectorAll('section > .figure .wide svg')].map(s => s.checkVisibility())"
    )
    narrow = wide.replace(".wide", ".narrow")
    open_page(chromium, page, width=1400)
    assert set(chromium.execute_script(wide)) == {True}
    assert set(chromium.execute_script(narrow)) == {False}
    open_page(chromium, page, width=360)
    assert set(chromium.execute_script(wide)) == {False}
    assert set(chromium.execute_script(narrow)) == {True}


def test_letters_in_drawings_stay_readable(chromium, page):
    sizes = """return [...document.querySelectorAll('svg text')].filter(t => t.checkVisibility())
        .map(t => t.getBoundingClientRect().height)"""
    for width in (360, 700, 1400):
        open_page(chromium, page, width=width)
        assert min(chromium.execute_script(sizes)) > 9.5


def test_page_structure_serves_a_screen_reader(chromium, page):
    open_page(chromium, page)
    levels = chromium.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    problems = """return [
      ...[...document.images].filter(i => !i.alt).map(i => 'no alt'),
      ...[...document.querySelectorAll('th')].filter(t => !t.scope).map(t => 'no scope'),
      ...[...document.querySelectorAll('table')].filter(t => !t.caption).map(t => 'no caption'),
      ...[...document.querySelectorAll('.drawing')].filter(d => !d.ariaLabel).map(t => 'unnamed drawing'),
      ...[...document.querySelectorAll('[aria-labelledby]')]
          .filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).map(t => 'label missing'),
      ...['header', 'nav', 'main', 'footer'].filter(t => document.querySelectorAll(`body > ${t}`).length !== 1),
    ]"""
    assert chromium.execute_script(problems) == []
    assert chromium.execute_script("return document.documentElement.lang") == "en"


def test_contents_follow_the_reader(chromium, page):
    open_page(chromium, page)
    place = "return [...document.querySelectorAll('nav [aria-current]')].map(a => a.textContent)"
    assert chromium.execute_script(place) == ["Verdict"]
    chromium.execute_script("document.querySelector('[id$=duplicates]').scrollIntoView()")
    chromium.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert chromium.execute_script(place) == ["Duplicates"]
