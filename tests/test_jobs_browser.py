"""The page of a real audit in a real browser: hostile file names and labels are text, and all of it works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from browser import broken_images, chromium, console_errors, faint_texts, open_page, overflow
from scenes import faces, save_array, save_folder

from unrote.jobs import AuditOptions, audit

__all__ = ["chromium"]

pytestmark = pytest.mark.browser

SCRIPT = "<img src=x onerror=alert(1)>.png"
LABEL = '"><script>document.title = 1<\u2215script>'


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    train, fresh = faces(120, seed=1), faces(90, seed=2)
    twins = (train[:6].int() + 2).clamp(0, 255).to(torch.uint8)
    save_folder(train[:60], folder / "train" / LABEL)
    save_folder(torch.cat([train[60:], twins]), folder / "train" / "bbb")
    names = [SCRIPT, "caf\udce9.png", "a" * 180 + ".png", *(f"{i}.png" for i in range(57))]
    samples = save_folder(torch.cat([train[:30], fresh[:30]]), folder / "samples", names)
    made = audit(
        AuditOptions(
            train=str(folder / "train"),
            samples=samples,
            test=save_array(fresh[30:], folder / "test.npy"),
            out=folder / "out",
        )
    )
    return made.out / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1400, True)])
def test_an_audit_fits_loads_and_reads_well(chromium, page, width, dark) -> None:
    open_page(chromium, page, width=width, dark=dark)
    chromium.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert overflow(chromium) == 0
    assert broken_images(chromium) == []
    assert faint_texts(chromium) == []
    assert console_errors(chromium) == []


def test_file_names_and_labels_are_text(chromium, page) -> None:
    open_page(chromium, page)
    assert chromium.title != "1"
    text = chromium.execute_script("return document.body.textContent")
    for name in (SCRIPT, LABEL, "caf\\xe9.png"):
        assert name in text
    assert (
        chromium.execute_script("return document.querySelectorAll('img[onerror], main script').length") == 0
    )


def test_the_table_of_samples_sorts_by_ratio(chromium, page) -> None:
    open_page(chromium, page)
    script = """
    const table = [...document.querySelectorAll('table')].find(t => t.caption.textContent.startsWith('Samples by'));
    const button = [...table.tHead.rows[0].cells].find(c => c.textContent.includes('ratio')).querySelector('button');
    const read = () => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[2].textContent));
    button.click(); const up = read(); button.click(); return [up, read()];
    """
    once, twice = chromium.execute_script(script)
    assert len(once) == 60
    assert sorted(once) in (once, once[::-1])
    assert sorted(twice) in (twice, twice[::-1])
    assert once != twice
