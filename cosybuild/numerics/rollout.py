"""Whole runs of the solver: what is fed, how it is run on any backend, and how far two runs are apart.

torch is imported when a run is made: planning reads this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cosybuild import figure
from cosybuild.models.profile import BATCH
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Solver
from cosybuild.numerics.gates import Gate, Miss, misses
from cosybuild.numerics.inputs import Array, Draw, draw_inputs
from cosybuild.numerics.metrics import measure, snr_db

if TYPE_CHECKING:
    from torch import Tensor

Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""One call of an estimator: all inputs by name -> all outputs by name."""

FRAMES = "seq_len"
INPUTS = ("x", "mask", "mu", "t", "spks", "cond")


@dataclass(frozen=True)
class Rollout:
    """One utterance through the solver.

    Attributes:
        why: what it stands for, e.g. `short`.
        lengths: frames of each call of the solver. More than one: the utterance arrives in chunks, and each
            call is given all frames so far with the same noise, as CosyVoice's streaming does; what a call
            adds is what is heard.
        seed: of noise and conditions.
    """

    why: str
    lengths: tuple[int, ...]
    seed: int

    @property
    def name(self) -> str:
        """For people, e.g. `solver T=64 (short)`."""
        return f"solver T={'+'.join(map(str, _added(self.lengths)))} ({self.why})"


@dataclass(frozen=True)
class Course:
    """What a solver went through.

    Attributes:
        states: for each call the state after each step: (steps, B, mel, T).
    """

    states: tuple[Array, ...]

    @property
    def mel(self) -> Array:
        """What is heard: of each call the frames that it adds, (B, mel, T)."""
        heard = [self.states[0][-1]]
        for before, states in zip(self.states[:-1], self.states[1:], strict=True):
            heard.append(states[-1][..., before.shape[-1] :])
        return np.concatenate(heard, axis=-1)


@dataclass(frozen=True)
class RolloutResult:
    """How far a course is from the reference's.

    Attributes:
        steps: signal-to-noise ratio of the state after each step in dB, the worst of all calls.
        left_at: the first step whose state is below the bound; None where all hold.
        mel: every metric of the mel that is heard.
        seam: streaming: largest difference between what was heard and what the last call makes of the same
            frames; None for one call. It says how far a frame changes when more audio arrives.
        missed: what of the gate is not met.
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
        """For JSON."""
        facts = {"steps_snr_db": self.steps, "left_at": self.left_at, "mel": self.mel, "seam": self.seam,
                 "missed": [str(miss) for miss in self.missed]}  # fmt: skip
        return {name: figure.plain(value) for name, value in facts.items()}


def is_solvable(spec: ModelSpec, solver: Solver | None) -> bool:
    """Whether a model is a flow-matching estimator with the interface that the solver calls."""
    return solver is not None and tuple(tensor.name for tensor in spec.inputs) == INPUTS and FRAMES in spec.symbols


def prefixes(chunk: int, chunks: int) -> tuple[int, ...]:
    """Lengths of growing prefixes: one more chunk each, the last chunk a quarter short, as utterances end."""
    return tuple(chunk * (index + 1) - (chunk // 4 if index + 1 == chunks else 0) for index in range(chunks))


def conditions(spec: ModelSpec, rollout: Rollout) -> dict[str, Array]:
    """Noise, mask, mu, spks and cond of one utterance (half the batch) at its full length, in float32."""
    drawn = draw_inputs(spec, Draw({FRAMES: rollout.lengths[-1], BATCH: 2}, rollout.seed))
    return {name: values[: values.shape[0] // 2] for name, values in drawn.items() if name != "t"}


def run(infer: Infer, rollout: Rollout, spec: ModelSpec, solver: Solver, dtype: str = "float32") -> Course:
    """Integrate one utterance.

    Args:
        infer: given inputs in `dtype`; its first output is the velocity.
        dtype: in which the solver itself computes.
    """
    import torch

    from cosybuild.models.solver import solve

    given = {name: torch.from_numpy(values.astype(dtype)) for name, values in conditions(spec, rollout).items()}
    output = spec.outputs[0].name

    def estimator(*tensors: Tensor) -> Tensor:
        inputs = {name: tensor.numpy() for name, tensor in zip(INPUTS, tensors, strict=True)}
        return torch.from_numpy(np.ascontiguousarray(infer(inputs)[output], dtype))

    courses = []
    for length in rollout.lengths:
        now = {name: (value if name == "spks" else value[..., :length].contiguous()) for name, value in given.items()}
        states: list[Array] = []
        keep: Callable[[int, Tensor], object] = partial(_keep, states)
        solve(estimator, now["x"], now["mu"], now["spks"], now["cond"], now["mask"], solver, keep)
        courses.append(np.stack(states))
    return Course(tuple(courses))


def _keep(states: list[Array], _: int, state: Tensor) -> None:
    states.append(state.numpy().copy())


def compare_courses(actual: Course, reference: Course, gate: Gate, step_snr_db: float) -> RolloutResult:
    """Judge every step and the mel."""
    steps = [
        min(_finite_snr(a[step], r[step]) for a, r in zip(actual.states, reference.states, strict=True))
        for step in range(len(reference.states[0]))
    ]
    left_at = next((index for index, value in enumerate(steps, start=1) if not value >= step_snr_db), None)
    figures = measure(actual.mel, reference.mel, mel=True)
    return RolloutResult(tuple(steps), left_at, figures, _seam(actual), tuple(misses(figures, gate)))


def _finite_snr(actual: Array, reference: Array) -> float:
    return snr_db(actual, reference) if np.isfinite(actual).all() else float("-inf")


def _seam(course: Course) -> float | None:
    if len(course.states) == 1:
        return None
    # What the last call adds is heard as it made it, and changes nothing here.
    return float(np.max(np.abs(course.mel.astype(np.float64) - course.states[-1][-1])))


def _added(lengths: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip((0, *lengths[:-1]), lengths, strict=True)]
