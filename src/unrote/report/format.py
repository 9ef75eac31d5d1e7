"""Numbers as people read them: percentages, intervals, bounds where nothing was seen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from unrote.contracts import Estimate

Number = float | int
"""What a place on an axis or a measured number may be."""

Value = str | bool | int | float | Estimate | None
"""What a cell, a fact or a key figure may hold."""

MISSING = "–"
_TINY = 1e-12
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONE = re.compile("[\ud800-\udfff\u202d\u202e\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def printable(text: str) -> str:
    r"""Text that every browser can show: undecodable bytes as \xNN, control characters as their pictures.

    A file name that is not UTF-8 reaches Python with lone surrogates, which no encoder accepts. The two
    characters that force a direction are spelled out too: they make "gnp.exe" read "exe.png".
    """

    def spell(match: re.Match[str]) -> str:
        code = ord(match.group())
        if 0xDC80 <= code <= 0xDCFF:  # the bytes that os.fsdecode could not read
            return f"\\x{code - 0xDC00:02x}"
        if code >= 0x202D:
            return f"\\u{code:04x}"
        return chr(0x2421 if code == 0x7F else 0x2400 + code)

    return _LONE.sub(spell, text)


def number(value: Number | None, significant: int = 3) -> str:
    """A number with a few significant digits: 1,234; 0.0123; 1.2 × 10⁻⁷.

    Whole numbers are written in full with thousands separators.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    exponent = math.floor(math.log10(abs(value)))
    if -5 < exponent < 6:
        text = f"{value:,.{max(0, significant - 1 - exponent)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace("-", "−")
    mantissa, power = f"{value:.{significant - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPT)}".replace("-", "−")


def percent(value: Number | None, decimals: int | None = None) -> str:
    """A fraction as a percentage: 31.2 %; at least one decimal, more below 0.1 % so that digits remain."""
    if value is None or not math.isfinite(value):
        return number(value)
    scaled = 100 * value
    if decimals is None:
        decimals = 1 if abs(scaled) >= 0.1 or scaled == 0 else _leading_decimals(abs(scaled)) + 1
    if value in (0, 1):  # exactly all or nothing; what only rounds to it keeps its decimals
        return f"{scaled:.0f} %"
    return f"{scaled:.{decimals}f} %".replace("-", "−")


def at_most(value: Number) -> str:
    """An upper bound on a fraction, rounded up so that it stays one: at most 0.8 %."""
    scaled = min(100.0, 100 * value)
    decimals = 1 if scaled >= 0.1 else _leading_decimals(scaled)
    # the small subtraction keeps 0.8 from becoming 0.9 by a last bit
    return f"at most {percent(math.ceil(scaled * 10**decimals - 1e-9) / 10**decimals / 100, decimals)}"


def at_least(value: Number) -> str:
    """A lower bound on a fraction, rounded down: at least 99.2 %."""
    return f"at least {percent(math.floor(1000 * max(0.0, value) + 1e-9) / 1000, 1)}"


def ratio(value: Value) -> str:
    """A fraction with its interval: '31.2 % [27.1, 35.6], n = 512', or 'at most 0.8 %, n = 497' at zero.

    Args:
        value: a fraction between 0 and 1, or an Estimate of one; an Estimate at 0 or without a value is
            given as the upper end of its interval, one at 1 as the lower end.
    """
    if not isinstance(value, Estimate):
        return plain(value) if isinstance(value, str | bool) else percent(value)
    if not value.value and value.high is not None and (value.low or 0.0) < _TINY:
        return at_most(value.high) + _count(value)
    if value.value == 1 and value.low is not None and value.low < 1:
        return at_least(value.low) + _count(value)
    if value.value is None:
        return MISSING + _count(value)
    if value.low is None or value.high is None:
        return percent(value.value) + _count(value)
    decimals = min(4, max(1, _interval_decimals(100 * value.low, 100 * value.high)))
    low, high = (percent(end, decimals).removesuffix(" %") for end in (value.low, value.high))
    return f"{percent(value.value, decimals)} [{low}, {high}]{_count(value)}"


def quantity(value: Value) -> str:
    """Any measured number with its interval: '12.3 [11.2, 13.4], n = 5'."""
    if not isinstance(value, Estimate):
        return plain(value)
    if value.value is None and value.high is not None:
        return f"at most {number(value.high)}{_count(value)}"
    if value.value is None or value.low is None or value.high is None:
        return number(value.value) + _count(value)
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]{_count(value)}"


def plain(value: Value) -> str:
    """Any value without a unit: text as it is, yes or no, numbers to three significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Estimate):
        return quantity(value)
    return number(value)


def fixed(decimals: int) -> Callable[[Value], str]:
    """A way to write a column of numbers with equally many decimals: fixed(2) writes 0.30 and 12.00."""

    def show(value: Value) -> str:
        if isinstance(value, str | bool | Estimate) or value is None or not math.isfinite(value):
            return plain(value)
        return f"{value:,.{decimals}f}".replace("-", "−")

    return show


def headline(value: Value, shown: str) -> tuple[str, str]:
    """Split a shown estimate into the number to print large and the rest to print small."""
    if not isinstance(value, Estimate):
        return shown, ""
    cut = min((at for at in (shown.find(" ["), shown.find(", n = ")) if at >= 0), default=len(shown))
    return shown[:cut], shown[cut:].lstrip(" ,")


def sort_key(value: Value) -> float | None:
    """The number by which a table orders a value; None for text and for what is missing."""
    if isinstance(value, Estimate):
        value = value.value if value.value is not None else value.high
    if value is None or isinstance(value, str) or math.isnan(value):
        return None
    return float(value)


def _count(value: Estimate) -> str:
    return f", n = {value.n:,}" if value.n > 0 else ""


def _leading_decimals(value: Number) -> int:
    """Decimals that show the first significant digit of a positive number below one."""
    return max(0, -math.floor(math.log10(value))) if value > 0 else 1


def _interval_decimals(low: Number, high: Number) -> int:
    """Decimals that give the width of an interval two significant digits."""
    return 1 - math.floor(math.log10(high - low)) if high - low > _TINY else 1
