"""`unrote train --stop-gap`: the run ends where its losses have surely parted, and goes back to the last clean step."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from unrote.contracts import Denoiser, Estimate, InputError
from unrote.jobs.measuring import TrainingSet
from unrote.jobs.monitoring import clean
from unrote.jobs.paired_losses import Pairs, in_pairs, pairs_of, row_losses
from unrote.measure.gaps import relative_gap
from unrote.measure.online import expected_onset, expected_words
from unrote.report.format import percent
from unrote.sweeps import write_atomic
from unrote.train.checkpoints import checkpoint_path, load_denoiser_weights, save
from unrote.train.loop import Diverged, Options, Tick
from unrote.train.probe import PAIRS
from unrote.train.state import TrainState
from unrote.train.stopping import EarlyStopping, affordable

EVERY = 10
"""Steps between moments at which losses may be checked; less where a run has few steps."""
ROWS = 64
"""Losses of each kind at a check, at least: few images get several levels each."""


class NeverClean(Diverged):
    """Losses had parted at the first check, so that there is nothing to keep; it would be so again."""


@dataclass(frozen=True)
class Stopping:
    """What online early stopping did in a run.

    Args:
        share: by what share the held-out loss may be above the training loss.
        steps: of the checks.
        gap: what they found.
        ended: the step at which training ended for it, or None if it went to its end.
        kept: the last clean step, or None if there was none.
        because: why, in a sentence with numbers.
        passes: images that went through the network for it.
        expected: the step at which 5 % of the samples would be copies, by the losses alone; None where it is not known
            how losses and copies go together.
    """

    share: float
    steps: tuple[int, ...]
    gap: tuple[Estimate, ...]
    ended: int | None
    kept: int | None
    because: str
    passes: int
    expected: Estimate | None = None


def check_stop(share: float | None, early: bool, things: str = "images") -> None:
    """Refuse a gap that is none, and two rules at once.

    Raises:
        InputError: naming the flags.
    """
    if share is None:
        return
    if not 0 < share < float("inf"):
        raise InputError(
            f"--stop-gap {share:g} cannot be used: it is by what share the loss on held-out {things} may be above "
            f"the one on training {things}, and lies above 0; 1 ends the run where it is surely more than twice as "
            "high."
        )
    if early:
        raise InputError(
            f"--stop-early keeps the measured step with the lowest loss on held-out {things}, --stop-gap the last one "
            "at which the losses had not parted; give one of them."
        )


def grid_of(every: int) -> int:
    """Steps between measured steps, brought to a grid on which losses are checked."""
    return every if every < EVERY else every - every % EVERY


def ticking(options: Options) -> Options:
    """The same training with a tick wherever losses may be checked; no weight depends on it."""
    return replace(options, tick_every=min(options.tick_every, EVERY))


RowLosses = Callable[[Any], tuple[Tensor, Tensor]]
"""Averaged weights -> training and held-out losses of the rows of some pairs, float64 on the CPU."""


@final
class GapStop:
    """Early stopping in a run of this program: averaged weights, pairs of its own, one state for each checkpoint.

    Args:
        share: by what share the held-out loss may be above the training loss.
        pairs: what losses are taken on.
        losses: of the rows of these pairs.
        batch_size: examples an update.
        folder: of the run.
        stays: steps whose checkpoints are not taken away.
        plain: whether it is known of such runs what losses say of copies to come: images, and nothing is done against
            copying.
        things: what is held out.
    """

    def __init__(
        self,
        share: float,
        pairs: Pairs,
        losses: RowLosses,
        batch_size: int,
        folder: Path,
        stays: Collection[int],
        plain: bool,
        things: str = "images",
    ) -> None:
        self._pairs, self._losses, self._things = pairs, losses, things
        self._folder, self._stays = folder, stays
        self._state: TrainState | None = None
        self.rule = EarlyStopping(
            relative_gap,
            share,
            when=affordable(self._pairs.probe.rows, batch_size),
            keep=self._keep,
            forget=self._forget,
            watched="the averaged weights",
            expected=expected_words if plain else None,
        )
        self._plain = plain

    @property
    def stopped(self) -> bool:
        """Whether training is to end."""
        return self.rule.stopped is not None

    def check(self, tick: Tick) -> bool:
        """Check the losses if it is time, keep a clean step, and say whether training ends.

        Raises:
            Diverged: if a loss is not finite.
            NeverClean: if training ends and there is nothing to keep.
        """
        if not self.rule.due(tick.step):
            return self.stopped
        losses = [in_pairs(self._pairs, rows) for rows in self._losses(tick.state.ema)]
        losses = [_of_first(part, tick.state) for part in losses]
        if not all(bool(part.isfinite().all()) for part in losses):
            raise Diverged(
                f"Training diverged: at step {tick.step:,} losses of the averaged weights are not finite. Lower "
                "--learning-rate."
            )
        self._state = tick.state
        found = self.rule.update(tick.step, losses[0], losses[1])
        if found.stop and found.kept is None:
            raise NeverClean(
                f"--stop-gap {self.rule.threshold:g} leaves nothing to keep: at step {tick.step:,}, "
                f"{_which(len(self.rule.history))}, the loss on held-out {self._things} was surely more than "
                f"{percent(self.rule.threshold)} above the one on training {self._things} "
                f"({_interval(found.gap)}), and it was never within that before. Give a larger gap, lower "
                "--learning-rate, or raise --batch-size, with which checks begin earlier; or leave --stop-gap out."
            )
        return found.stop

    def write(self, step: int) -> None:
        """Write the state that belongs to a checkpoint, before it."""
        write_atomic(state_path(self._folder, step), json.dumps(self.rule.state_dict(), indent=1))

    def resume(self, step: int) -> None:
        """Go on from the state of a checkpoint.

        Raises:
            InputError: if it is not there or is not one.
        """
        path = state_path(self._folder, step)
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"The run in {self._folder} cannot go on from step {step:,}: {path.name}, which says what --stop-gap "
                f"had seen until then, cannot be read ({type(error).__name__}). Remove that checkpoint, or the folder."
            ) from error
        self.rule.load_state_dict(said)

    def load_kept(self, averaged: Any, raw: Any) -> int:
        """Put both sets of weights of the last clean step into denoisers of the same build; returns the step."""
        assert self.rule.kept is not None
        path = checkpoint_path(self._folder, self.rule.kept)
        load_denoiser_weights(averaged, path)
        load_denoiser_weights(raw, path, averaged=False)
        return self.rule.kept

    def told(self) -> Stopping:
        """What was done, for the result."""
        history, rule = self.rule.history, self.rule
        return Stopping(
            rule.threshold,
            tuple(check.step for check in history),
            tuple(check.gap for check in history),
            rule.stopped,
            rule.kept,
            rule.because,
            len(history) * self._pairs.probe.rows,
            self._expected(),
        )

    def _expected(self) -> Estimate | None:
        known = [(check.step, check.gap.value) for check in self.rule.history if check.gap.value is not None]
        if not self._plain or not known:
            return None
        return expected_onset([step for step, _ in known], [gap for _, gap in known])

    def _keep(self, step: int) -> None:
        assert self._state is not None
        self.write(step)
        save(self._state, checkpoint_path(self._folder, step))

    def _forget(self, step: int) -> None:
        if step not in self._stays:
            checkpoint_path(self._folder, step).unlink(missing_ok=True)
            state_path(self._folder, step).unlink(missing_ok=True)


def stop_of_images(
    share: float,
    data: TrainingSet,
    weight: Callable[[Tensor], Tensor],
    known: tuple[float, float],
    of_images: Callable[[Any], Denoiser],
    batch_size: int,
    seed: int,
    folder: Path,
    stays: Collection[int],
    device: torch.device | str,
    plain: bool,
) -> GapStop:
    """Early stopping of a run on images.

    Args:
        data: images, with labels where the network has classes.
        weight: of a level in the loss.
        known: the lowest and the highest level that the network knows.
        of_images: averaged weights as a denoiser of images.
        seed: of the run.
        device: where the network is.
        share, batch_size, folder, stays, plain: as of `GapStop`.
    """
    pairs = pairs_of(*clean(data), weight, seed, known, PAIRS, ROWS)

    def losses(averaged: Any) -> tuple[Tensor, Tensor]:
        return row_losses(pairs, of_images(averaged), device)

    return GapStop(share, pairs, losses, batch_size, folder, stays, plain)


def state_path(folder: Path, step: int) -> Path:
    """Where the state that belongs to a checkpoint stands."""
    return folder / f"stopping-{step:09d}.json"


def _of_first(losses: Tensor, state: TrainState) -> Tensor:
    """The losses of the first process: all decide by the same numbers."""
    if state.accelerator.num_processes == 1:
        return losses
    from accelerate.utils import broadcast

    shared: Tensor = broadcast(losses.to(state.device))
    return shared.cpu()


def _which(checks: int) -> str:
    return "the first check" if checks == 1 else f"check {checks}"


def _interval(gap: Estimate) -> str:
    assert gap.value is not None and gap.low is not None and gap.high is not None
    return f"{percent(gap.value)} [{percent(gap.low)}, {percent(gap.high)}]"


def tidy(folder: Path, stays: Collection[int], last: int) -> None:
    """Leave the checkpoints of some steps, and the state of the checks that belongs to the last one."""
    checkpoints = {checkpoint_path(folder, step) for step in stays}
    for path in folder.glob("step-*.safetensors"):
        if path not in checkpoints:
            path.unlink()
    for path in folder.glob("stopping-*.json"):
        if path != state_path(folder, last):
            path.unlink()
