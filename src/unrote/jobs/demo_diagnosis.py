"""The first act of the demonstration: the geometry of its few digits, before anyone trains on them."""

from __future__ import annotations

from pathlib import Path

from unrote.data.sources import Images
from unrote.jobs.comparing import Reference
from unrote.jobs.geometry_verdict import conclude, notes_on, results_of, sentence, trained_gap
from unrote.jobs.ground import ground_of
from unrote.jobs.options import GeometryOptions
from unrote.jobs.output import progress
from unrote.jobs.surveying import Survey, choose_levels, measure
from unrote.report.format import number, percent


def diagnose(reference: Reference, fresh: Images, threshold: float, seed: int, out: Path) -> Survey:
    """Survey a training set that is already read, as `unrote geometry` does.

    Args:
        reference: training images with their groups of near-duplicates.
        fresh: held-out images, for the coverage.
        threshold: root-mean-square pixel distance of near-duplicates.
        out: the folder of the whole demonstration.

    Raises:
        InputError: if there are too few images for a geometry.
    """
    options = GeometryOptions(
        train="digits", test="digits", seed=seed, duplicate_threshold=threshold, out=out
    )
    with progress("geometry", 4) as advance:
        ground = ground_of(reference, fresh, options.memory * 2**20)
        levels = choose_levels(ground, options)
        advance(1)
        curves = measure(ground, levels, options, advance)
    findings = conclude(curves, ground, options)
    known = {*reference.images.notes, *fresh.notes}
    notes = tuple(note for note in notes_on(ground, curves, findings, options) if note not in known)
    # Its commands name sets as DATA, and these images are a random part of one.
    left_out = {"commands", "recommendation"}
    content = {
        key: value
        for key, value in results_of(ground, curves, findings, notes).items()
        if key not in left_out
    }
    return Survey(ground, curves, findings, notes, content, out)


def gap_of(survey: Survey) -> tuple[float, float] | None:
    """The levels that the cure leaves out: the recommended gap with three digits, or None if there is none."""
    return trained_gap(survey.findings.gap)


def prediction(survey: Survey) -> str:
    """Where copying is to be expected and what is to be left out, for a terminal and the page."""
    ends, share = gap_of(survey), survey.findings.gap_share
    told = sentence(survey.ground, survey.findings)
    if ends is None or share is None:
        return f"{told} No gap is recommended, so the cure is not tried."
    return (
        f"{told} The recommended gap is wider, {number(ends[0])} to {number(ends[1])}: {percent(share)} of EDM's "
        "training levels."
    )
