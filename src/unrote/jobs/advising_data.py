"""What advice means for the user's data: how far it is from what was measured, and commands with its own levels."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unrote.contracts import InputError
from unrote.geometry.advice import Recommendation, recommended_ambient_level, recommended_gap
from unrote.jobs.advising_fronts import Front, Point, Setting, Treatment, spelled
from unrote.jobs.comparing import origin
from unrote.jobs.cure_checks import check_cures
from unrote.jobs.cures import recipes_of
from unrote.jobs.geometry_verdict import LAW, SMALL, regimes_of, trained_gap
from unrote.jobs.ground import read_ground
from unrote.jobs.options import AdviseOptions, GeometryOptions, TrainOptions
from unrote.jobs.surveying import choose_levels, measure
from unrote.report.format import number

NEAR, FAR = 2.0, 4.0
"""Factors in the number of images, or of numbers in one, up to which settings are near and from which they are far."""
ENDLESS = 1000.0
"""A level that EDM's law exceeds once in 10^11 updates: a gap that ends there has no upper end."""
COMPONENTS, ENOUGH = "pca:16", 64
"""Features for the quality of samples, and held-out images from which on they are worth it."""
LARGER: Mapping[str, Any] = {"network": "unet", "width": 64, "depth": 3}
"""The network for images that are too large for a small one, as `unrote geometry` prints it."""


@dataclass(frozen=True)
class Yours:
    """The user's data and what its geometry recommends.

    Args:
        options: DATA and how it is read.
        images: N.
        shape: (C,H,W) of one.
        fresh: held-out images, 0 where none were given.
        provenance: of the training set, as result.json holds it.
        gap: levels to leave out, three digits; None where there are none.
        ambient: noise of noisy copies, three digits; or None.
        why: the reason where one of them is None.
    """

    options: AdviseOptions
    images: int
    shape: tuple[int, int, int]
    fresh: int
    provenance: dict[str, Any]
    gap: tuple[float, float] | None
    ambient: float | None
    why: str

    def sentence(self) -> str:
        """What the geometry recommends, in words."""
        c, h, w = self.shape
        said = [f"Your data: {self.images:,} images of {c}x{h}x{w}."]
        if self.gap is not None:
            said.append(f"Its recommended gap is {spelled(*self.gap)}.")
        if self.ambient is not None:
            said.append(f"Its recommended ambient level is {spelled(self.ambient)}.")
        return " ".join([*said, self.why]).strip()


def survey(options: AdviseOptions) -> Yours:
    """Read the data and compute its geometry, as `unrote geometry` does.

    Raises:
        InputError: if it cannot be used.
    """
    assert options.train is not None
    asked = GeometryOptions(
        train=options.train,
        test=options.test,
        resize=options.resize,
        train_range=options.train_range,
        seed=0,
    )
    ground = read_ground(asked)
    curves = measure(ground, choose_levels(ground, asked), asked, lambda n: None)
    found = regimes_of(curves, ground, 0)
    gap, noisy = recommended_gap(found), recommended_ambient_level(found)
    images = ground.reference.images
    ends = trained_gap(gap)
    return Yours(
        options,
        len(images),
        images.shape,
        0 if ground.fresh is None else len(ground.fresh),
        vars(origin(images)),
        ends,
        _three(noisy.low.value),
        _missing(gap, ends, noisy),
    )


def _missing(gap: Recommendation, ends: tuple[float, float] | None, noisy: Recommendation) -> str:
    said = [] if ends is not None else [f"It has no recommended gap: {gap.why}"]
    return " ".join([*said, *([] if noisy.low.value is not None else [noisy.why])])


def _three(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def same_data(setting: Setting, yours: Yours) -> bool:
    """Whether a front was measured on the very images."""
    return setting.sha256 is not None and setting.sha256 == yours.provenance["sha256"]


def factors(setting: Setting, yours: Yours) -> tuple[float, float]:
    """Images of the user / measured ones, and the same of the numbers in one image."""
    return yours.images / setting.images, math.prod(yours.shape) / setting.dimension


def distance(front: Front, yours: Yours) -> float:
    """How far a setting is: |log| of both factors, and log 2 where one has colours and the other has none."""
    if same_data(front.setting, yours):
        return 0.0
    colours = 0.0 if front.setting.shape[0] == yours.shape[0] else math.log(2)
    return sum(abs(math.log(f)) for f in factors(front.setting, yours)) + colours


def how_far(front: Front, yours: Yours) -> str:
    """The same in words, with what follows."""
    setting = front.setting
    if same_data(setting, yours):
        return "These runs were made on your training images."
    (many, large), said = factors(setting, yours), []
    said.append(_times(many, "as many images"))
    said.append(_times(large, "the numbers in each"))
    if setting.shape[0] != yours.shape[0]:
        said.append(
            "colour images" if yours.shape[0] == 3 else f"{yours.shape[0]} channels, not {setting.shape[0]}"
        )
    far = max(max(f, 1 / f) for f in (many, large))
    verdict = "That is near in size; what the images show differs."
    if far > NEAR:
        verdict = "Take it as a hint, and measure."
    if far > FAR:
        verdict = "That is far: that it helps may carry over, its numbers and steps will not. Measure your own front."
    if max(yours.shape[1:]) > SMALL:
        verdict += f" The command takes a larger U-Net; measured was a {setting.network}."
    return f"It was measured on {setting.data}; your data has {', '.join(said)}. {verdict}"


def _times(factor: float, what: str) -> str:
    if 0.95 < factor < 1.05:
        return (
            f"about {what}"
            if what.startswith("as")
            else f"about {what.replace('the numbers', 'as many numbers')}"
        )
    return f"{number(float(f'{factor:.2g}'))} times {what}"


def placed(level: float, there: tuple[float, float], here: tuple[float, float]) -> float:
    """The level that lies between the ends of one gap as another does between those of another, in log sigma.

    here_low (here_high / here_low)^u with u = log(level / there_low) / log(there_high / there_low); levels of 0 and
    without end stay.
    """
    if level <= 0 or level >= ENDLESS:
        return level
    place = math.log(level / there[0]) / math.log(there[1] / there[0])
    return float(here[0] * (here[1] / here[0]) ** place)


def fitted(treatment: Treatment, setting: Setting, yours: Yours | None) -> Treatment:
    """A remedy with the levels that it has on the user's data.

    Levels keep their places relative to the recommended gap: the measured data's there, the user's here. Levels of
    the user's own runs stay, as do all where no data is given.

    Raises:
        InputError: if the user's data has no recommended gap to place them by.
    """
    gap, noisy = treatment.gap, treatment.ambient
    if yours is not None and setting.gap is not None and (gap is not None or noisy is not None):
        if yours.gap is None:
            raise InputError(yours.why)
        there, here = setting.gap, yours.gap
        gap = None if gap is None else (placed(gap[0], there, here), placed(gap[1], there, here))
        noisy = None if noisy is None else placed(noisy, there, here)
    rounded = None if gap is None else (_three(gap[0]) or 0.0, _three(gap[1]) or 0.0)
    return replace(treatment, gap=rounded, ambient=_three(noisy))


def training_options(front: Front, point: Point, yours: Yours | None) -> TrainOptions:
    """Options of `unrote train` that do what a point did, with the user's data where it is given.

    Raises:
        InputError: if no flag spells it, or it leaves nothing to train on this data.
    """
    setting = front.setting
    if point.treatment.only_python:
        raise InputError(f"There is no command for it: {point.treatment.only_python}.")
    done = fitted(point.treatment, setting, yours)
    asked: dict[str, Any] = {"train": "DATA"} | dict(setting.options) | dict(done.more)
    if yours is not None:
        given = yours.options
        asked |= {
            "train": given.train,
            "test": given.test,
            "resize": given.resize,
            "train_range": given.train_range,
        }
        if max(yours.shape[1:]) > SMALL:
            asked |= LARGER
    asked |= {"steps": point.step, "recipe": done.recipe, "gap": done.gap, "ambient": done.ambient}
    made = TrainOptions(**asked)
    for cures in recipes_of(made).values():
        check_cures(cures, LAW)
    return made


def comparison_options(yours: Yours) -> TrainOptions | None:
    """Options of `unrote train` that measure a front on the user's data; None without levels to try."""
    if yours.gap is None:
        return None
    given = yours.options
    network = LARGER if max(yours.shape[1:]) > SMALL else {}
    noisy = "" if yours.ambient is None else ",ambient,gap+ambient"
    return TrainOptions(
        train=given.train or "DATA",
        test=given.test,
        resize=given.resize,
        train_range=given.train_range,
        recipe=f"baseline,gap{noisy}",
        gap=yours.gap,
        ambient=yours.ambient,
        features=COMPONENTS if yours.fresh >= ENOUGH else None,
        out=Path("compared"),
        **network,
    )


def command(options: TrainOptions) -> str:
    """Options as a command line that reads back to the same options: every flag that is not at its default."""
    words, plain = ["unrote", "train"], TrainOptions(train="DATA")
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name != "train" and value == getattr(plain, field.name):
            continue
        flag = {"from_model": "from"}.get(field.name, field.name.replace("_", "-"))
        values = value if isinstance(value, tuple) else () if value is True else (value,)
        words += [f"--{flag}", *(_word(v) for v in values)]
    return " ".join(words)


def _word(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else shlex.quote(str(value))
