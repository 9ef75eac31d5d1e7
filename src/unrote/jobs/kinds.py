"""Whether a command was given text or images, and options that are for the other kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from unrote.contracts import InputError
from unrote.data.spelling import printable
from unrote.data.text import is_text


def all_text(data: Sequence[tuple[str, str | None]]) -> bool:
    """Whether DATA arguments are text, and not images.

    Args:
        data: flags with what was given, if anything.

    Raises:
        InputError: where some of the data are text and others are not.
    """
    kinds = [(f"{flag} {printable(spec)}", is_text(spec)) for flag, spec in data if spec is not None]
    text = any(one for _, one in kinds)
    other = next((said for said, one in kinds if not one), None)
    if text and other is not None:
        said = next(said for said, one in kinds if one)
        raise InputError(
            f"{said} is text, and {other} is not; text is compared with text. Spell a file of text that does not end "
            "in .txt as text:FILE."
        )
    return text


def refuse_given(options: Any, names: Sequence[str], text: bool) -> None:
    """Refuse options that mean something for the other kind of data only.

    Args:
        options: of a command.
        names: the options.
        text: whether the data are text.

    Raises:
        InputError: naming the first one that is not at its default.
    """
    defaults = {field.name: field.default for field in fields(options)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            kind, other = ("text", "images") if text else ("images", "text")
            flag = {"from_model": "from"}.get(name, name.replace("_", "-"))
            raise InputError(f"--{flag} is for {other}, and these data are {kind}; leave it out.")
