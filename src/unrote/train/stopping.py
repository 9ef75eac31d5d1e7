"""Early stopping: watch the gap between training and validation loss, keep the last clean checkpoint, say why.

The rule needs no samples: it is the online estimate of the onset of memorization. It belongs to no loop:

    if stopper.due(step):
        decision = stopper.update(step, *probe.losses(denoiser))
        if decision.stop:
            break
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from unrote.contracts import Estimate, InputError

Gap = Callable[[Tensor, Tensor], Estimate]
"""(training losses (n,), validation losses (n,), in pairs) -> the relative gap, as `measure.gaps.relative_gap`."""

When = Callable[[Sequence[int], int], bool]
"""(steps checked so far, this step) -> whether it is time for a check."""

Expected = Callable[[Sequence[int], Sequence[float]], str]
"""(steps checked so far, relative gaps there) -> what is to come, in a sentence; `measure.online.expected_words`."""

THRESHOLD = 0.9
"""Relative gap that is memorization: a validation loss 1.9 times the training loss.

The paper gives no value for its thresholds. This one is calibrated on the 60 recorded runs of the experiment
`early_stopping/law` (digits, fashion, faces at 8x8; 16 to 128 pictures; averaged weights): the largest multiple of 0.1
up to which at every size of every set there are surely at most 1 % more copies among the samples than among fresh
pictures. `unrote.lab.early_stopping.online_calibration.threshold` computes it. Copies (5 % of the samples) came 1.3 to
5.4 times as many steps later, so that the threshold is early rather than late.
"""

PASSES = 3
"""What an update costs in passes forward: one forward, and a backward of about two."""

FORMAT = 1


@dataclass(frozen=True)
class Check:
    """What one check found.

    Args:
        step: updates done.
        gap: by what share the validation loss is above the training loss.
    """

    step: int
    gap: Estimate


@dataclass(frozen=True)
class Decision:
    """What to do after a check.

    Args:
        step: updates done.
        gap: by what share the validation loss is above the training loss.
        clean: whether the gap does not exceed the threshold; such a checkpoint is kept.
        stop: whether it surely does, now or earlier.
        kept: the last clean step, or None if there was none.
        because: why, in a sentence with numbers.
    """

    step: int
    gap: Estimate
    clean: bool
    stop: bool
    kept: int | None
    because: str


def every_time(checked: Sequence[int], step: int) -> bool:
    """A check whenever one is asked for."""
    return True


def affordable(rows: int, batch_size: int, share: float = 0.01, factor: float = 1.1) -> When:
    """Checks that never cost more than a share of training so far, at steps in geometric progression.

    A check is due at step s if (checks + 1) rows <= share * 3 * batch_size * s and s >= factor * (the last one): rows
    are counted in passes forward of the denoiser, of which an update takes three for each row of its batch.

    Args:
        rows: of one check, `Probe.rows`.
        batch_size: rows per update, over all processes that share a check.
        share: of the cost of training, at most.
        factor: at least 1; how far apart checks are where they cost nothing.

    Raises:
        InputError: if a number is out of its range.
    """
    if rows < 1 or batch_size < 1 or not 0 < share < math.inf or not 1 <= factor < math.inf:
        raise InputError(
            f"Checks of {rows} rows in training with batches of {batch_size}, a share of {share:g} of its cost and a "
            f"factor of {factor:g} cannot be planned: rows and batches are at least 1, the share is above 0 and the "
            "factor at least 1."
        )

    def when(checked: Sequence[int], step: int) -> bool:
        # The small number keeps a budget that is met exactly from being missed by rounding.
        paid = (len(checked) + 1) * rows <= share * PASSES * batch_size * step * (1 + 1e-12)
        return paid and (not checked or step >= factor * checked[-1])

    return when


@final
class EarlyStopping:
    """Decides after each check whether training goes on, and keeps the last clean checkpoint.

    A check is clean if the relative gap does not exceed the threshold: its checkpoint is kept, and the one before
    forgotten. It stops training if the gap surely does, with the lower end of its interval. In between it does
    neither. Once training is to stop nothing is kept any more; a caller may go on, to see what was passed by.

    The gap belongs to the weights whose losses are given: averaged weights lag behind raw ones.

    Args:
        gap: losses in pairs -> relative gap with its interval; `unrote.measure.gaps.relative_gap`.
        threshold: relative gap above which there is memorization.
        when: which steps are due; `affordable(probe.rows, batch_size)`.
        keep: called with the step, to save it; if it fails, so does the update, and the one before stays.
        forget: called with the step of a kept checkpoint that a newer one replaces.
        watched: whose losses they are, for the sentence.
        expected: what the gaps say of the copies to come, for the sentence; `unrote.measure.online.expected_words`.

    Raises:
        InputError: for a threshold that is not positive, or forgetting without keeping.

    Source: 002 section 3.1 and appendix D (tau_mem by a threshold on the loss gap; stopping there). Deviations: the
    gap is relative, so that one threshold serves every loss, and it has to be exceeded surely.
    """

    def __init__(
        self,
        gap: Gap,
        threshold: float = THRESHOLD,
        *,
        when: When = every_time,
        keep: Callable[[int], object] | None = None,
        forget: Callable[[int], object] | None = None,
        watched: str = "the network",
        expected: Expected | None = None,
    ) -> None:
        if not 0 < threshold < math.inf:
            raise InputError(
                f"The gap at which training stops is {threshold:g}; it must be above 0: 0.9 stops where the loss on "
                "validation examples is surely more than 90 % above the one on training examples."
            )
        if forget is not None and keep is None:
            raise InputError(
                "There is something to forget checkpoints, and nothing that keeps them: give keep too."
            )
        self.threshold = threshold
        self._gap, self._when, self._keep, self._forget, self._watched = gap, when, keep, forget, watched
        self._expected = expected
        self._history: list[Check] = []
        self._kept: int | None = None
        self._stopped: int | None = None

    @property
    def history(self) -> tuple[Check, ...]:
        """All checks so far."""
        return tuple(self._history)

    @property
    def kept(self) -> int | None:
        """The last clean step before the stop, or None if there was none."""
        return self._kept

    @property
    def stopped(self) -> int | None:
        """The step at which training was to stop, or None if it was not."""
        return self._stopped

    @property
    def because(self) -> str:
        """What is known so far, in sentences with numbers."""
        if not self._history or self._expected is None:
            return self._found
        # Of a stop, what was expected then: later checks would only look back.
        until = math.inf if self._stopped is None else self._stopped
        known = {c.step: c.gap.value for c in self._history if c.step <= until and c.gap.value is not None}
        return f"{self._found} {self._expected(list(known), list(known.values()))}"

    @property
    def _found(self) -> str:
        if not self._history:
            return f"No check of {self._watched} was made yet."
        at = next((c for c in self._history if c.step == self._stopped), self._history[-1])
        found = (
            f"the loss of {self._watched} on validation examples is {_percent(at.gap)} above the one on training "
            f"examples ({at.gap.n} pairs with the same noise)"
        )
        if self._stopped is None:
            state = "a clean one" if self._clean(at) else "more than allowed, but not surely"
            return f"At step {at.step:,} {found}: {state}, where up to {self.threshold:.3g} counts as clean."
        if self._kept is None:
            return (
                f"Stopped at step {at.step:,}: {found}, surely more than {100 * self.threshold:.3g} %; this was so at "
                "the first check already, or never clean before it: check earlier, with fewer rows or a larger share "
                "of the cost."
            )
        return (
            f"Stopped at step {at.step:,}: {found}, surely more than {100 * self.threshold:.3g} %; the last clean step "
            f"is {self._kept:,}."
        )

    def due(self, step: int) -> bool:
        """Whether it is time for a check; a step is checked once."""
        return (not self._history or step > self._history[-1].step) and self._when(
            [check.step for check in self._history], step
        )

    def update(
        self, step: int, train_losses: Float[Tensor, " n"], validation_losses: Float[Tensor, " m"]
    ) -> Decision:
        """Take in the losses of one check, keep the checkpoint if it is clean, and decide.

        Args:
            step: updates done, more than at the check before.
            train_losses: one for each training example (n,).
            validation_losses: one for each validation example (n,), the i-th under the level and the noise of the i-th
                training loss; the same examples, levels and noise at every check.

        Raises:
            InputError: for losses that are not finite or do not come in pairs; nothing is changed then.
            ValueError: for a step that is not after the one before.
        """
        if self._history and step <= self._history[-1].step:
            raise ValueError(
                f"step {step} does not come after step {self._history[-1].step}, the last one that was checked; load "
                "the state that belongs to the checkpoint that training went on from"
            )
        self._check_losses(step, train_losses, validation_losses)
        gap = self._gap(train_losses.detach().double().cpu(), validation_losses.detach().double().cpu())
        check = Check(step, gap)
        before = list(self._history), self._kept, self._stopped
        self._history.append(check)
        clean = self._clean(check)
        if self._stopped is None and gap.low is not None and gap.low > self.threshold:
            self._stopped = step
        replaced = self._kept
        keeps = clean and self._stopped is None
        if keeps:
            self._kept = step
        if keeps and self._keep is not None:
            # The state already names this step, so that what keep saves of it goes on from here.
            try:
                self._keep(step)
            except BaseException:
                self._history, self._kept, self._stopped = before
                raise
            if self._forget is not None and replaced is not None:
                self._forget(replaced)
        return Decision(step, gap, clean, self._stopped is not None, self._kept, self.because)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as JSON; save it with the checkpoint, best inside `keep`."""
        return {
            "format": FORMAT,
            "threshold": self.threshold,
            "history": [{"step": check.step, "gap": check.gap.as_dict()} for check in self._history],
            "kept": self._kept,
            "stopped": self._stopped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state: the decisions to come are those of the uninterrupted run.

        Raises:
            InputError: for a state with another threshold, or that `state_dict` did not make.
        """
        try:
            history = [Check(int(row["step"]), Estimate(**row["gap"])) for row in state["history"]]
            threshold, kept, stopped = float(state["threshold"]), state["kept"], state["stopped"]
            whole = state["format"] == FORMAT and all(
                step is None or step in {check.step for check in history} for step in (kept, stopped)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"The state of early stopping cannot be read ({type(error).__name__}: {error}); give what state_dict "
                "returned, or start without one."
            ) from error
        if not whole or threshold != self.threshold:
            raise InputError(
                f"The state of early stopping belongs to another run: its threshold is {threshold:g} and its format "
                f"{state['format']}, here they are {self.threshold:g} and {FORMAT}. Take the same settings, or start "
                "without it."
            )
        self._history, self._kept, self._stopped = history, kept, stopped

    def _clean(self, check: Check) -> bool:
        return check.gap.value is not None and check.gap.value <= self.threshold

    def _check_losses(self, step: int, train: Tensor, validation: Tensor) -> None:
        if not len(validation):
            raise InputError(
                f"At step {step:,} there are no validation losses, and without them no gap. Give losses of examples "
                "that are not trained on; unrote.train.probe.split_off takes some away from the training set."
            )
        if len(train) != len(validation):
            raise InputError(
                f"At step {step:,} there are {len(train)} training and {len(validation)} validation losses; give one "
                "of each for every pair under the same noise, as unrote.train.probe.probe_of makes them."
            )
        wrong = [int((~losses.isfinite()).sum()) for losses in (train, validation)]
        if any(wrong):
            last = (
                f"The last clean step is {self._kept:,}." if self._kept is not None else "No step was clean."
            )
            raise InputError(
                f"At step {step:,} {wrong[0]} of {len(train)} training losses and {wrong[1]} of {len(validation)} "
                f"validation losses are not finite: training has diverged, and nothing was kept. {last} Go on from "
                "there with a lower learning rate or clipped gradients."
            )


def _percent(gap: Estimate) -> str:
    assert gap.value is not None
    interval = "" if gap.low is None or gap.high is None else f" [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"
    return f"{100 * gap.value:.1f} %{interval}"
