"""The page of the demonstration: the whole idea, from losses that part to the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrote.jobs.audit_page import NO_GUARANTEE, evidence, histogram, settings_blocks
from unrote.jobs.probing import level_copies, level_errors
from unrote.jobs.training import copy_figure, loss_figure
from unrote.noise.levels import edm_levels
from unrote.report import blocks
from unrote.report.format import ratio

if TYPE_CHECKING:
    from unrote.jobs.demonstration import Half


def demo_page(small: Half, large: Half, verdict: str, shown: bool, content: dict[str, Any]) -> blocks.Page:
    """The whole page."""
    names = {f"{half.count:,} images": half for half in (small, large)}
    figures = tuple(
        blocks.KeyFigure(
            f"copies, trained on {name}",
            half.audited.copy_ratio,
            note=f"fresh digits: {ratio(half.audited.findings.main.calibration)}",
        )
        for name, half in names.items()
    )
    histories = {name: half.history for name, half in names.items()}
    sections = [
        blocks.Section("What happened", (_story(small, large),)),
        blocks.Section("Copies appear during training", (copy_figure(histories),)),
        blocks.Section("Losses part", (loss_figure(histories),)),
        blocks.Section("Noise level by noise level", _levels(small, large)),
        *(blocks.Section(f"Audit: trained on {name}", _audit(half)) for name, half in names.items()),
        blocks.Section("Definitions side by side", tuple(_definitions(n, h) for n, h in names.items())),
        blocks.Section("Settings and versions", settings_blocks(content)),
    ]
    return blocks.Page(
        title="Memorization in three minutes",
        lead="The same small network, trained for the same number of steps on few and on many handwritten digits",
        verdict=blocks.Verdict(verdict, blocks.Tone.NEUTRAL if shown else blocks.Tone.CAUTION, (), figures),
        sections=tuple(sections),
        footer=(NO_GUARANTEE, f"unrote {content['versions']['unrote']}"),
    )


def _story(small: Half, large: Half) -> blocks.Text:
    return blocks.Text(
        (
            "A diffusion model learns to remove noise. The optimum of its training loss can only give back the "
            "training images; a network generalizes because it does not reach that optimum. With few images it "
            "comes close.",
            f"Two residual MLPs (3 blocks of width 512, EDM's preconditioning) were trained on {small.count:,} and on "
            f"{large.count:,} of scikit-learn's 8x8 digits. A sample is called a copy if it is three times nearer to "
            "its nearest training image than to the next one. Digits that neither model saw say how often that "
            "happens by chance.",
        )
    )


def _levels(small: Half, large: Half) -> tuple[blocks.Block, ...]:
    curves = {
        f"trained on {small.count:,}": small.model,
        f"optimum of {small.count:,}": small.empirical,
        f"trained on {large.count:,}": large.model,
        f"optimum of {large.count:,}": large.empirical,
    }
    levels = edm_levels(18)
    copies = level_copies(levels, curves)
    errors = level_errors(levels, {name: c for name, c in curves.items() if name.startswith("trained")})
    words = (
        "Fresh digits were noised and denoised once. At low noise nothing can be copied by a network, since the "
        "digit is still visible; at high noise the answer is an average. The optimum of the training set copies at "
        "every low level: it knows nothing but its images."
    )
    return (copies, blocks.Text((words,)), errors)


def _audit(half: Half) -> tuple[blocks.Block, ...]:
    made = half.audited
    return (blocks.Text((made.findings.sentence,)), histogram(made, 3.0), evidence(made, 12))


def _definitions(name: str, half: Half) -> blocks.Block:
    columns = (
        blocks.Column("definition"),
        blocks.Column("a sample is a copy if"),
        blocks.Column("samples", ratio),
        blocks.Column("fresh digits", ratio),
    )
    rows = tuple((d.title, d.rule, d.ratio, d.calibration) for d in half.audited.findings.definitions)
    return blocks.Table(columns, rows, f"Trained on {name}", sortable=False)
