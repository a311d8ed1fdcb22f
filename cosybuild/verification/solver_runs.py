"""Complete runs of the flow-matching solver: their inputs, their execution with any backend, and their comparison.

torch is imported only when the solver runs, because planning imports this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cosybuild import figure
from cosybuild.identity import ESTIMATOR_INPUTS
from cosybuild.models.cosyvoice.caching import HISTORY, is_cached, uncached_spec
from cosybuild.models.shape_profile import BATCH, FRAMES
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Solver
from cosybuild.numerics.gates import Gate, Miss, misses
from cosybuild.numerics.inputs import Array, Draw, draw_inputs
from cosybuild.numerics.metrics import Kind, measure, snr_db
from cosybuild.runtime.voice.caches import CachedSteps, cache_form

if TYPE_CHECKING:
    from torch import Tensor

Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""One call of an estimator: takes all inputs by name, returns all outputs by name."""


@dataclass(frozen=True)
class Rollout:
    """One solver run: an utterance for which the solver computes the mel.

    Attributes:
        why: the reason for the lengths, e.g. `short`.
        lengths: number of frames of each call of the solver. With several lengths, the utterance arrives in chunks, as
            in CosyVoice's streaming. Each call then receives all frames so far, with the same noise, and only the
            frames that it adds are played.
        seed: seed of noise and conditions.
    """

    why: str
    lengths: tuple[int, ...]
    seed: int

    @property
    def name(self) -> str:
        """The name of the run in messages and reports, e.g. `solver T=64 (short)`, or `solver T=50+50 (in chunks)`."""
        return f"solver T={'+'.join(map(str, _added(self.lengths)))} ({self.why})"


@dataclass(frozen=True)
class Course:
    """The states of the solver in one run.

    Attributes:
        states: for each call of the solver, the states after each step, (steps, B, mel, T).
    """

    states: tuple[Array, ...]

    @property
    def mel(self) -> Array:
        """The mel that is played: the frames that each call adds, joined, (B, mel, T)."""
        heard = [self.states[0][-1]]
        for before, states in zip(self.states[:-1], self.states[1:], strict=True):
            heard.append(states[-1][..., before.shape[-1] :])
        return np.concatenate(heard, axis=-1)


@dataclass(frozen=True)
class RolloutResult:
    """The comparison of a solver run with the same run of the reference.

    Attributes:
        steps: signal-to-noise ratio of the state after each step in dB, the worst of all calls.
        left_at: the number (from 1) of the first step whose ratio is below the bound; None if there is none.
        mel: every metric of the played mel.
        seam: largest difference between the played mel and the last call's mel of the same frames, in the mel's units;
            None for a single call. It shows how much a frame changes after it was played.
        missed: the bounds of the gate that `mel` does not meet.
    """

    steps: tuple[float, ...]
    left_at: int | None
    mel: Mapping[str, float]
    seam: float | None
    missed: tuple[Miss, ...]

    @property
    def passes(self) -> bool:
        return self.left_at is None and not self.missed

    def facts(self) -> dict[str, Any]:
        """Return the result as JSON data."""
        facts = {"steps_snr_db": self.steps, "left_at": self.left_at, "mel": self.mel, "seam": self.seam,
                 "missed": [str(miss) for miss in self.missed]}  # fmt: skip
        return {name: figure.plain(value) for name, value in facts.items()}


def is_solvable(spec: ModelSpec, solver: Solver | None) -> bool:
    """Return True if the model is a flow-matching estimator with the inputs that the solver gives it."""
    return (
        solver is not None
        and tuple(tensor.name for tensor in spec.inputs)[: len(ESTIMATOR_INPUTS)] == ESTIMATOR_INPUTS
        and FRAMES in spec.symbols
        and (spec.guidance or is_cached(spec))
    )


def prefixes(chunk: int, chunks: int) -> tuple[int, ...]:
    """Return the lengths in frames of the calls of an utterance that arrives in chunks; each call has one chunk more.

    The last chunk is a quarter shorter, because most utterances do not end with a complete chunk.
    """
    return tuple(chunk * (index + 1) - (chunk // 4 if index + 1 == chunks else 0) for index in range(chunks))


def conditions(spec: ModelSpec, rollout: Rollout) -> dict[str, Array]:
    """Draw the noise x, mask, mu, spks and cond of one utterance at its full length, in float32.

    Each array has one row. The solver makes the guidance pair of two rows from it.
    """
    plain = uncached_spec(spec) if is_cached(spec) else spec
    drawn = draw_inputs(plain, Draw({FRAMES: rollout.lengths[-1], BATCH: 2}, rollout.seed))
    return {name: values[: values.shape[0] // 2] for name, values in drawn.items() if name != "t"}


def run(infer: Infer, rollout: Rollout, spec: ModelSpec, solver: Solver, dtype: str = "float32") -> Course:
    """Run the solver for one utterance and return its states.

    An estimator without caches computes all frames in each call. A cached estimator computes only the frames that the
    call adds, with the caches that its own earlier calls returned; the states of the other frames are copied from the
    earlier calls. Both give the same states if every cache is right.

    Args:
        infer: one call of the estimator. It receives inputs in `dtype`; its first output is the velocity.
        rollout: the utterance.
        spec: the estimator's interface.
        solver: the solver's settings.
        dtype: the type in which the solver itself computes.
    """
    import torch

    from cosybuild.models.cosyvoice.solver import solve

    given = {name: torch.from_numpy(values.astype(dtype)) for name, values in conditions(spec, rollout).items()}
    output = spec.outputs[0].name
    caches = _caches(infer, spec, solver.steps, dtype) if is_cached(spec) else None

    def estimator(*tensors: Tensor) -> Tensor:
        inputs = {name: tensor.numpy() for name, tensor in zip(ESTIMATOR_INPUTS, tensors, strict=True)}
        outputs = infer(inputs) if caches is None else caches(**inputs)
        return torch.from_numpy(np.ascontiguousarray(outputs[output], dtype))

    courses: list[Array] = []
    for length in rollout.lengths:
        begin = 0 if caches is None or not courses else courses[-1].shape[-1]
        now = {n: (value if n == "spks" else value[..., begin:length].contiguous()) for n, value in given.items()}
        if caches is not None:
            caches.last = length == rollout.lengths[-1]
        states: list[Array] = []
        keep: Callable[[int, Tensor], object] = partial(_keep, states)
        solve(estimator, now["x"], now["mu"], now["spks"], now["cond"], now["mask"], solver, keep)
        added = np.stack(states)
        courses.append(np.concatenate((courses[-1], added), axis=-1) if begin else added)
    return Course(tuple(courses))


def _caches(infer: Infer, spec: ModelSpec, steps: int, dtype: str) -> CachedSteps:
    inputs = {tensor.name: (tensor.shape, dtype) for tensor in spec.inputs}
    return CachedSteps(lambda **given: infer(given), cache_form(inputs, spec.axis(HISTORY).most), steps)


def _keep(states: list[Array], _: int, state: Tensor) -> None:
    states.append(state.numpy().copy())


def compare_courses(actual: Course, reference: Course, gate: Gate, step_snr_db: float) -> RolloutResult:
    """Compare a run with the reference: the state after each step, and the played mel.

    Args:
        actual: the states of the run with the artifact.
        reference: the states of the reference.
        gate: the gate of the mel.
        step_snr_db: smallest allowed signal-to-noise ratio of a state, in dB.
    """
    steps = [
        min(_finite_snr(a[step], r[step]) for a, r in zip(actual.states, reference.states, strict=True))
        for step in range(len(reference.states[0]))
    ]
    left_at = next((index for index, value in enumerate(steps, start=1) if not value >= step_snr_db), None)
    figures = measure(actual.mel, reference.mel, Kind.mel)
    return RolloutResult(tuple(steps), left_at, figures, _seam(actual), tuple(misses(figures, gate)))


def _finite_snr(actual: Array, reference: Array) -> float:
    return snr_db(actual, reference) if np.isfinite(actual).all() else float("-inf")


def _seam(course: Course) -> float | None:
    if len(course.states) == 1:
        return None
    # In the new frames of the last call both are equal, so these frames do not change the maximum.
    return float(np.max(np.abs(course.mel.astype(np.float64) - course.states[-1][-1])))


def _added(lengths: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip((0, *lengths[:-1]), lengths, strict=True)]
