"""The programs in the document on ambient training run and do what its words say."""

from __future__ import annotations

import re
from pathlib import Path

from unrote.measure.neighbors import neighbors

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "ambient.md").read_text(encoding="utf-8")


def program(word: str) -> dict:
    """Run the one program that has a word in it; what it defined."""
    (found,) = (p for p in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if word in p)
    names: dict = {}
    exec(compile(found, "ambient.md", "exec"), names)
    return names


def test_the_exact_optimum_lands_on_copies_and_then_on_images() -> None:
    made = program("AmbientOptimum")
    assert float(neighbors(made["at_copies"], made["noisy"], 1).distance.median()) < 0.01
    assert float(neighbors(made["samples"], made["clean"], 1).distance.median()) < 0.01


def test_augmentation_and_noise_compose_and_masking_trains_and_samples() -> None:
    assert callable(program("augmented")["cure"])
    made = program("UnderMask")
    assert made["samples"].shape == (4, 1, 8, 8)
    assert bool(made["samples"].isfinite().all())
