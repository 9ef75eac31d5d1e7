"""Made-up text for tests: words of random letters, which repeat as words of a language do."""

from __future__ import annotations

import random
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(seed: int, characters: int) -> str:
    """Text of a made-up language with 300 words; other seeds say other things in the same language."""
    spelled = random.Random(0)
    known = ["".join(spelled.choices(LETTERS, k=spelled.randint(2, 9))) for _ in range(300)]
    said = random.Random(seed)
    return " ".join(said.choices(known, k=characters // 3))[:characters]


def damaged(text: str, share: float, seed: int) -> str:
    """Text of which a share of the characters is another one."""
    drawn = random.Random(seed)
    return "".join(drawn.choice(LETTERS.replace(c, "")) if drawn.random() < share else c for c in text)


def put(path: Path, *lines: str) -> str:
    """A file of lines; its name."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)
