"""A headless Chromium for tests of pages: ``from browser import chromium, open_page, console_errors``.

A test file that imports the fixture ``chromium`` gets one browser for all its tests. Without Chromium the
tests are skipped; where the environment says CI=true they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def _missing() -> str:
    """Why no browser can be driven here, or nothing."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None or shutil.which("chromedriver") is None:
        return "chromium and chromedriver are not installed"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    return ""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """A fresh browser with a profile of its own."""
    if missing := _missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}: the tests of pages must run here")
        pytest.skip(missing)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = (
        shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
    )
    for flag in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


def open_page(
    driver: WebDriver,
    path: Path,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    scripts: bool = True,
) -> None:
    """Open a file at a width, in a colour scheme, with or without scripts."""
    console_errors(driver)  # what an earlier page said is not about this one
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    # smooth scrolling moves what a test is about to click
    calm = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, calm]})
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(path.resolve().as_uri())


def console_errors(driver: WebDriver) -> list[dict[str, Any]]:
    """What the page complained about since it was opened."""
    return [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def overflow(driver: WebDriver) -> int:
    """How many pixels the page is wider than its window; 0 if nobody has to scroll sideways."""
    width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(driver.execute_script(width))


def broken_images(driver: WebDriver) -> list[str]:
    """The words of all images that did not load."""
    script = "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)"
    return list(driver.execute_script(script))


# Contrast as in WCAG 2: relative luminance of the text's colour against the nearest painted background.
_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = (colour) => {
  const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const [r, g, b] = colour.slice(0, 3).map(c => linear(c / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const backdrop = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return rgba('Canvas');
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const drawn = element.closest('svg') !== null;
  const [a, b] = [light(rgba(drawn ? style.fill : style.color)), light(backdrop(element))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 60)}`);
}
return found;
"""


def faint_texts(driver: WebDriver) -> list[str]:
    """Every visible text whose contrast is below what WCAG AA asks, with its ratio."""
    return list(driver.execute_script(_CONTRAST))
