"""`unrote advise` over the recorded runs: the fronts of the ledger, and those of the user's folders."""

from __future__ import annotations

from unrote.jobs import advising
from unrote.jobs.options import AdviseOptions
from unrote.lab.ambient.measured import measured


def advise(options: AdviseOptions) -> advising.Advice:
    """Pick a remedy for a constraint on copying, or on quality, by what was measured.

    Raises:
        InputError: if a setting or a folder cannot be used.
    """
    return advising.advise(options, measured())
