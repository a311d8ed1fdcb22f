"""Certify a recorded run of a whole pipeline: compare its mel and its waveform, and find the mistakes of a pipeline.

A recording is an .npz file with the inputs and the results of one run, see `recording_file`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cosybuild.building.stage import Emit
from cosybuild.certifying.mistakes.frontend import front_end_mistakes
from cosybuild.certifying.mistakes.vocoder import vocoder_mistakes
from cosybuild.certifying.probes import ROUNDING_DB
from cosybuild.certifying.recording_file import read_recording
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Known, Outcome, Verdict
from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.vocoder import VocoderSettings
from cosybuild.digest import digest_of
from cosybuild.errors import ConfigurationError
from cosybuild.models.cosyvoice.solver import solve, time_grid
from cosybuild.models.load import load_module
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Solver, Subject
from cosybuild.numerics.gates import LOWERED_SOLVER
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.metrics import snr_db
from cosybuild.runtime.voice.noise import TABLE_FRAMES

_NARROW_DB = LOWERED_SOLVER[Target.fp16]["snr_db"]


class _Incomparable(Exception):
    """Even a right float32 computation differs too much from float64 for the inputs of this recording."""


@dataclass(frozen=True)
class _Result:
    """The result of comparing the recorded mel or waveform with the right one.

    Attributes:
        name: `mel` or `waveform`.
        snr_db: the signal-to-noise ratio, in dB.
        floor: the smallest signal-to-noise ratio that float32 rounding explains, in dB.
        mistakes: the known mistakes that explain the recorded array.
    """

    name: str
    snr_db: float
    floor: float
    mistakes: tuple[Known, ...] = ()

    @property
    def is_right(self) -> bool:
        """True if the array is right.

        If no known mistake explains the array, `snr_db` must reach the value for a 16-bit pipeline. If a known mistake
        does, `snr_db` must also reach `floor`.
        """
        return self.snr_db >= max(self.floor, _NARROW_DB) or (not self.mistakes and self.snr_db >= _NARROW_DB)


def certify_recording(task: Task, _: Emit) -> Verdict:
    """Compare a recording with the networks of the model directory, and return the verdict.

    Raises:
        CosybuildError: the model directory or a setting cannot be used.
    """
    blank = Verdict(task.shown, Outcome.unreadable, component="voice")
    try:
        arrays = read_recording(task.path)
        blank = replace(blank, sha256=digest_of(task.path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        return replace(blank, reason=str(error))
    forms = [False, True] if task.streaming is None else [task.streaming]
    voices = [voice for streaming in forms if (voice := _voice(task, streaming)) is not None]
    blank = replace(blank, family=voices[0].subject.family.value)
    try:
        found = [(voice, voice.judged(arrays)) for voice in voices]
        voice, mel = max(found, key=lambda pair: pair[1].snr_db)
        if not mel.is_right:
            mel = next((r for v, r in ((v, v.with_mistakes(arrays, r)) for v, r in found) if r.mistakes), mel)
        results = [mel]
        notes = list(voice.remarks(arrays))
        if "waveform" in arrays and "noise" in arrays:
            results.append(_waveform(task, arrays))
        elif "waveform" in arrays:
            notes.append("The waveform is not compared, because the recording has no noise.")
    except _Incomparable as error:
        return replace(blank, reason=str(error))
    except (RuntimeError, IndexError) as error:
        return replace(blank, reason=f"its arrays do not fit each other: {' '.join(str(error).split())[:200]}")
    figures = {f"{one.name}_snr_db": one.snr_db for one in results}
    blank = replace(
        blank,
        streaming=voice.streaming if len(voices) > 1 else None,
        figures={**figures, "snr_db": min(figures.values())},
    )
    wrong = [one for one in results if not one.is_right]
    narrow = [one.name for one in results if one.is_right and one.snr_db < one.floor]
    if narrow:
        notes.append(f"The {' and the '.join(narrow)} agrees as in a pipeline that computes in 16 bits.")
    if not wrong:
        return replace(blank, outcome=Outcome.right, notes=tuple(notes))
    reason = "; ".join(
        f"the {one.name} agrees with {one.snr_db:.1f} dB, where rounding leaves at least {one.floor:.1f} dB"
        for one in wrong
    )
    mistakes = tuple(known for one in wrong for known in one.mistakes)
    return replace(blank, outcome=Outcome.wrong, reason=reason, mistakes=mistakes, notes=tuple(notes))


def _subject(task: Task, component: ComponentName, streaming: bool) -> Subject:
    settings = task.settings
    model = replace(settings.model, streaming=streaming)
    return resolve_subject(model, settings.model_dir, False, component, VocoderSettings())


@dataclass(frozen=True)
class _Voice:
    """The front end (`subject`) and the estimator of one attention variant, and their PyTorch modules in float64."""

    streaming: bool
    subject: Subject
    estimator_subject: Subject
    frontend: nn.Module
    estimator: nn.Module

    def judged(self, arrays: Mapping[str, Array]) -> _Result:
        """Compare the recorded mel with the mel computed in float64.

        The floor is derived from the error of the mel computed in float32. The modules are converted for that and back.
        """
        right = self.mel(arrays)
        for module in (self.frontend, self.estimator):
            module.float()
        own = self.mel(arrays, torch.float32)
        for module in (self.frontend, self.estimator):
            module.double()
        return _Result("mel", _agreement(arrays["mel"], right), _floor("mel", own, right))

    def with_mistakes(self, arrays: Mapping[str, Array], result: _Result) -> _Result:
        """Return a copy of `result` with the first known mistakes that explain the recorded mel.

        Mistakes explain it if the mel with them has the signal-to-noise ratio of rounding, or one that is at least 6 dB
        better than that of the right mel. If there are none, the result is returned unchanged.
        """
        least = min(result.floor, _NARROW_DB)
        for names, mel in self._mistaken(arrays):
            ratio = _agreement(arrays["mel"], mel)
            if ratio >= max(least, result.snr_db + 6):
                return replace(result, mistakes=tuple(replace(known, snr_db=ratio) for known in names))
        return result

    def remarks(self, arrays: Mapping[str, Array]) -> Iterator[str]:
        """Yield a sentence if the number of the prompt's mel frames does not fit the number of its tokens."""
        ratio = self.subject.hyperparameters.get("token_mel_ratio")
        tokens, frames = arrays["prompt_token"].shape[1], arrays["prompt_feat"].shape[1]
        if ratio is not None and frames != ratio * tokens:
            yield (
                f"prompt_feat has {frames} frames for {tokens} tokens, where upstream cuts both to {ratio} frames for "
                "each token."
            )

    def mel(
        self,
        arrays: Mapping[str, Array],
        dtype: torch.dtype = torch.float64,
        solver: Solver | None = None,
        *,
        frontend: nn.Module | None = None,
        noise: Array | None = None,
        whole: bool = False,
    ) -> Array:
        """Compute the mel of the target, (1, mel, frames), from the inputs of a recording.

        Args:
            arrays: the arrays of the recording.
            dtype: the type of the inputs, which must be that of the modules.
            solver: the solver; None for that of the model directory.
            frontend: a front end with a known mistake; None for the front end of the model directory.
            noise: the solver's initial state, (1, mel, T or more); None for `z` of the recording, or, without `z`, the
                table of seed 0.
            whole: True to return the frames of the prompt too, in front of those of the target.
        """
        solver = solver or self.solver
        given = [_tensor(arrays[n], dtype) for n in ("token", "prompt_token", "prompt_feat", "embedding")]
        if any(tensor.name == "lookahead_token" for tensor in self.subject.spec.inputs):
            ahead = arrays.get("lookahead_token", arrays["token"][:, :0])
            given.append(_tensor(ahead, dtype))
        with torch.inference_mode():
            mu, spks, cond = (frontend or self.frontend)(*given)
            start = noise if noise is not None else arrays.get("z", table(mu.shape[1]))
            z = _tensor(start[:, :, : mu.shape[2]], dtype)
            mask = torch.ones_like(mu[:, :1])
            found = solve(self.estimator, z, mu, spks, cond, mask, solver, points=time_grid(solver, dtype))
        shown = 0 if whole else arrays["prompt_feat"].shape[1]
        return cast("Array", found[:, :, shown:].numpy())

    @property
    def solver(self) -> Solver:
        """The solver's parameters in the model directory."""
        assert self.estimator_subject.solver is not None
        return self.estimator_subject.solver

    def _mistaken(self, arrays: Mapping[str, Array]) -> Iterator[tuple[tuple[Known, ...], Array]]:
        """Yield known mistakes of a pipeline, and the mel that a pipeline with these mistakes computes.

        Mistakes in the solver's schedule, guidance and noise are also combined; other mistakes are tried one by one.
        """
        for names, solver, noise in self._loops(arrays):
            if names:
                yield names, self.mel(arrays, solver=solver, noise=noise)
        for steps in (1, 2, 4, 5, 8, 16, 20, 32):
            if steps != self.solver.steps:
                known = Known("steps", f"the solver takes {steps} steps", f"It takes {self.solver.steps} steps.")
                yield (known,), self.mel(arrays, solver=replace(self.solver, steps=steps))
        left = Known("prompt left in", "the mel has the prompt's frames", "The prompt's frames are cut off.")
        yield (left,), self.mel(arrays, whole=True)
        ports = [[t.name for t in side] for side in (self.subject.spec.inputs, self.subject.spec.outputs)]
        for mistake in front_end_mistakes(self.subject):
            planted = mistake.plant(self.frontend, *ports)
            known = Known(mistake.name, mistake.says, mistake.remedy)
            yield (known,), self.mel(arrays, frontend=planted)

    def _loops(self, arrays: Mapping[str, Array]) -> Iterator[tuple[tuple[Known, ...], Solver, Array | None]]:
        right = self.solver
        other = "linear" if right.schedule == "cosine" else "cosine"
        schedules: Sequence[tuple[Known | None, str]] = [
            (None, right.schedule),
            (Known("schedule", f"the steps of the solver are {other}", f"They are {right.schedule}."), other),
        ]
        formula = f"The velocity is (1 + g) v_cond - g v_uncond with g = {right.guidance:g}."
        guidances: Sequence[tuple[Known | None, float]] = [
            (None, right.guidance),
            (Known("no guidance", "both guidance rows are conditioned, or there is no guidance", formula), 0.0),
            (
                Known("guidance formula", "the velocity is v_uncond + g (v_cond - v_uncond)", formula),
                right.guidance - 1,
            ),
        ]
        draws: list[tuple[Known | None, Array | None]] = [(None, None)]
        if "z" in arrays:
            told = "the solver starts from the table of seed 0, and not from z"
            draws.append((Known("noise draw", told, "z is the state at time 0."), table(arrays["z"].shape[1])))
        for schedule in schedules:
            for guidance in guidances:
                for draw in draws:
                    names = tuple(known for known in (schedule[0], guidance[0], draw[0]) if known is not None)
                    yield names, replace(right, schedule=schedule[1], guidance=guidance[1]), draw[1]


def _voice(task: Task, streaming: bool) -> _Voice | None:
    """Load the networks of an attention variant; return None if this version has no streaming variant.

    Raises:
        ConfigurationError: the user states the streaming variant, and this version has none.
    """
    try:
        estimator = _subject(task, ComponentName.estimator, streaming)
        front_end = _subject(task, ComponentName.frontend, streaming)
    except ConfigurationError:
        if not streaming or task.streaming:
            raise
        return None
    modules = (load_module(subject, subject.weights).double() for subject in (front_end, estimator))
    return _Voice(streaming, front_end, estimator, *modules)


def table(channels: int) -> Array:
    """Return the initial state of the solver that CosyVoice draws with seed 0, (1, channels, 15000)."""
    generator = torch.Generator().manual_seed(0)
    return cast("Array", torch.randn(1, channels, TABLE_FRAMES, generator=generator).numpy())


def _waveform(task: Task, arrays: Mapping[str, Array]) -> _Result:
    """Compare the recorded waveform with the one that the right vocoder computes from the recorded mel."""
    subject = _subject(task, ComponentName.vocoder, False)
    module = load_module(subject, subject.weights)
    own = _spoken(module, arrays, torch.float32)
    right = _spoken(module.double(), arrays, torch.float64)
    floor = _floor("waveform", own, right)
    result = _Result("waveform", _agreement(arrays["waveform"], right), floor)
    if result.is_right:
        return result
    ports = [[t.name for t in side] for side in (subject.spec.inputs, subject.spec.outputs)]
    best: list[Known] = []
    for mistake in vocoder_mistakes(subject):
        ratio = _agreement(arrays["waveform"], _spoken(mistake.plant(module, *ports), arrays, torch.float64))
        if ratio >= min(floor, _NARROW_DB):
            best.append(Known(mistake.name, mistake.says, mistake.remedy, ratio))
    best.sort(key=lambda known: -(known.snr_db or 0))
    return replace(result, mistakes=tuple(best[:1]))


def _spoken(module: nn.Module, arrays: Mapping[str, Array], dtype: torch.dtype) -> Array:
    mel, noise = _tensor(arrays["mel"], dtype), _tensor(arrays["noise"], dtype)
    phase = _tensor(arrays.get("phase", np.zeros((1, arrays["noise"].shape[2]), np.float32)), dtype)
    zero, end = (torch.tensor([frame]) for frame in (0, mel.shape[2]))
    with torch.inference_mode():
        answer: Any = module(mel, noise, zero, phase, zero, end)
    return cast("Array", answer[0].numpy())


def _tensor(values: Array, dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _floor(name: str, own: Array, right: Array) -> float:
    """Return the smallest signal-to-noise ratio, in dB, that float32 rounding explains.

    Args:
        name: `mel` or `waveform`, for the error message.
        own: the result computed in float32.
        right: the result computed in float64.

    Raises:
        _Incomparable: the float32 result is wrong, for example because the inputs are huge. With such a floor, every
            recording would count as right.
    """
    own_db = snr_db(own, right) if np.isfinite(own).all() and np.isfinite(right).all() else float("-inf")
    if own_db < _NARROW_DB:
        raise _Incomparable(
            f"the {name} of its inputs cannot be compared: with them, PyTorch in float32 agrees with float64 with "
            f"{own_db:.1f} dB only, and at least {_NARROW_DB:g} dB are expected; are its inputs in the model's range?"
        )
    return own_db - ROUNDING_DB


def _agreement(actual: Array, expected: Array) -> float:
    """Return the signal-to-noise ratio in dB; minus infinity if the shapes differ or a value is not finite."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("-inf")
    return snr_db(actual, expected)
