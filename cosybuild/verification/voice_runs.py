"""Computations of one utterance: by the reference in PyTorch, or by built parts with the code of `cosybuild.runtime`.

torch and ONNX Runtime are imported only when an utterance is computed, because planning imports this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cosybuild.models.components.registry import serving_facts
from cosybuild.models.subject import Subject
from cosybuild.models.variant import CACHED
from cosybuild.numerics.inputs import Array
from cosybuild.runtime.voice.arrays import Part
from cosybuild.runtime.voice.caches import CacheForm, cache_form, without_history
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.noise import Noise
from cosybuild.runtime.voice.voice import CachedPart, Flow, Voice
from cosybuild.verification.voice_cases import PARTS, Utterance

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cosybuild.backends.session import Session
    from cosybuild.models.cosyvoice.voice import VoiceModules


@dataclass(frozen=True)
class Spoken:
    """The result of computing one utterance.

    Attributes:
        mel: (1, mel, frames), without the prompt's frames.
        waveform: (1, samples).
        f0: (1, frames), in Hz; the f0 from which the waveform was computed.
    """

    mel: Array
    waveform: Array
    f0: Array


class Reference:
    """The networks of the voice in PyTorch. They compute in float32 until `widen` is called, and in float64 afterwards.

    Args:
        modules: the networks in float32. `widen` changes them.
    """

    def __init__(self, modules: VoiceModules) -> None:
        self._modules = modules
        self._dtype = "float32"

    def widen(self) -> None:
        """Convert the networks to float64 in place, which needs less memory than a copy."""
        self._modules.double()
        self._dtype = "float64"

    def speak(self, given: Utterance) -> Spoken:
        """Compute the mel, the f0 and the waveform of one utterance."""
        from cosybuild.models.cosyvoice.voice import Prompt

        token, prompt_token = self._tensor(given.token), self._tensor(given.prompt_token)
        prompt = Prompt(prompt_token, self._tensor(given.prompt_mel), self._tensor(given.speaker))
        ahead = token[:, :0] if self._modules.reads_lookahead else None
        mel = self._modules.mel(token, prompt, self._tensor(given.flow), ahead)
        return self._spoken(mel, given, None)

    def vocoded(self, mel: Array, given: Utterance) -> Spoken:
        """Compute f0 and waveform from a mel (1, mel, frames), with the noise and phases of the utterance `given`."""
        return self._spoken(self._tensor(mel), given, None)

    def with_f0(self, spoken: Spoken, given: Utterance, f0: Array) -> Spoken:
        """Compute the waveform of the mel in `spoken` with another f0, (1, frames)."""
        return self._spoken(self._tensor(spoken.mel), given, self._tensor(f0))

    def _spoken(self, mel: Tensor, given: Utterance, f0: Tensor | None) -> Spoken:
        source, phase = self._tensor(given.source), self._tensor(given.phase)
        waveform, own = self._modules.waveform(mel, source, phase, f0)
        return Spoken(mel.numpy(), waveform.numpy(), own.numpy())

    def _tensor(self, values: Array) -> Tensor:
        import torch

        wanted = self._dtype if values.dtype.kind == "f" else values.dtype
        return torch.from_numpy(np.array(values, wanted))


def load_reference(subjects: Mapping[str, Subject], weights: Mapping[str, Path | None]) -> Reference:
    """Load the three networks of a voice.

    Args:
        subjects: part -> the model that the request names for it.
        weights: part -> its weights file; None for random weights.

    Networks with caches are loaded without them, so that cached graphs are compared with a computation of all frames.

    Raises:
        CheckpointError: the weights cannot be read or do not fit.
    """
    from cosybuild.models.cosyvoice.vocoder.hift import Hift
    from cosybuild.models.cosyvoice.voice import VoiceModules
    from cosybuild.models.load import load_module

    plain = {part: replace(subject, form=tuple(word for word in subject.form if word != CACHED), cache_frames=None)
             for part, subject in subjects.items()}  # fmt: skip
    frontend, estimator, vocoder = (load_module(plain[part], weights[part]) for part in PARTS)
    solver = subjects[PARTS[1]].solver
    assert isinstance(vocoder, Hift)
    assert solver is not None
    reads_lookahead = any(tensor.name == "lookahead_token" for tensor in subjects[PARTS[0]].spec.inputs)
    return Reference(VoiceModules(frontend, estimator, vocoder, solver, reads_lookahead=reads_lookahead))


def part_of(session: Session, dtypes: Mapping[str, str]) -> Part:
    """Wrap a session as a part of a voice. Inputs are cast to the session's types, 16-bit outputs to float32."""
    import ml_dtypes

    types = {name: np.dtype(ml_dtypes.bfloat16) if one == "bfloat16" else np.dtype(one) for name, one in dtypes.items()}

    def call(**inputs: Array) -> dict[str, Array]:
        outputs = session.infer({name: np.asarray(values).astype(types[name]) for name, values in inputs.items()})
        return {
            name: values.astype(np.float32) if values.dtype.itemsize == 2 else values
            for name, values in outputs.items()
        }

    return call


Compose = Callable[[Mapping[str, Part], Facts, bool], Voice]
"""A function (parts by name, facts, True for streaming attention) that returns the voice that will be served."""


def serving_voice(parts: Mapping[str, Part], facts: Facts, streaming: bool) -> Voice:
    """Return the voice of `cosybuild.runtime` for three parts.

    `streaming` is True if front end and estimator have streaming attention, False for full attention.
    """
    frontend, estimator, vocoder = (parts[name] for name in PARTS)
    if streaming:
        return Voice(None, None, vocoder, facts, streaming=Flow(frontend, estimator))
    return Voice(frontend, estimator, vocoder, facts)


def composition(subjects: Mapping[str, Subject]) -> Compose:
    """Return the function that makes the voice of these parts: `serving_voice`, or one with cached parts.

    The history of cached parts is not cut (`model.cache_frames`), so that a stream is compared with all frames.
    """
    forms = {part: _cache_form(subjects[part]) for part in PARTS if CACHED in subjects[part].form}
    if not forms:
        return serving_voice
    frontend = subjects[PARTS[0]]
    context = serving_facts(frontend.component, frontend.variant).get("context_tokens")

    def compose(parts: Mapping[str, Part], facts: Facts, streaming: bool) -> Voice:
        assert streaming
        whole = [without_history(parts[name], forms[name]) if name in forms else parts[name] for name in PARTS[:2]]
        cached = [CachedPart(parts[name], forms[name]) if name in forms else None for name in PARTS[:2]]
        flow = Flow(whole[0], whole[1], cached=cached[1], cached_frontend=cached[0], context_tokens=context)
        return Voice(None, None, parts[PARTS[2]], facts, streaming=flow)

    return compose


def _cache_form(subject: Subject) -> CacheForm:
    return cache_form({tensor.name: (tensor.shape, tensor.dtype) for tensor in subject.spec.inputs}, None)


def speak(
    parts: Mapping[str, Part],
    facts: Facts,
    given: Utterance,
    *,
    streaming: bool,
    compose: Compose = serving_voice,
    in_chunks: bool = False,
) -> Spoken:
    """Compute one utterance with built parts.

    Args:
        parts: part -> callable.
        facts: the facts of the voice.
        given: the inputs.
        streaming: True if the flow's parts have streaming attention.
        compose: makes the voice; tests plant faults here.
        in_chunks: True to stream the utterance, with a call for each chunk of the attention.
    """
    mels: list[Array] = []
    f0: list[Array] = []

    def vocoder(**inputs: Array) -> Mapping[str, Array]:
        outputs = parts[PARTS[2]](**inputs)
        first, end = int(inputs["first"][0]), int(inputs["end"][0])  # the frames of this window that are new
        mels.append(inputs["mel"][:, :, first:end])
        f0.append(outputs["f0"][:, first:end])
        return outputs

    voice = compose({**parts, PARTS[2]: vocoder}, facts, streaming)
    noise = Noise(given.flow, given.source, given.phase)
    prompt = given.prompt_token, given.prompt_mel, given.speaker
    if in_chunks:
        samples = list(voice.stream(iter(given.token[0].tolist()), *prompt, noise=noise, chunk=1))
        return Spoken(*(np.concatenate(each, axis=-1) for each in (mels, [np.concatenate(samples)[np.newaxis]], f0)))
    mel = voice.mel(given.token, *prompt, noise=noise.flow, streaming=streaming)
    waveform = voice.vocode(mel, noise=noise)
    return Spoken(mel, waveform[np.newaxis], f0[0])


def open_graph(path: Path, settings: Any, *, emulated: bool, workdir: Path) -> Part:
    """Load one ONNX graph with ONNX Runtime, as a part of a voice.

    Args:
        path: the graph.
        settings: the settings of the configuration group `verify`, with provider and threads.
        emulated: True to emulate the storage types, for a type without kernels on the CPU (bfloat16).
        workdir: directory for the emulated graph.
    """
    from cosybuild.backends.onnxruntime_backend import load

    if emulated:
        path = _emulated(path, workdir)
    session = load(path, provider=settings.provider, threads=settings.threads)
    return part_of(session, session.dtypes)


def open_ir(path: Path, precision: str, threads: int) -> Part:
    """Open an OpenVINO IR as a part; see `backends.openvino.session.load`."""
    from cosybuild.backends.openvino.session import load

    session = load(path, precision, threads=threads)
    return part_of(session, session.dtypes)


def _emulated(path: Path, workdir: Path) -> Path:
    import onnx_ir as ir

    from cosybuild.onnxgraph.files import load_model, save_model
    from cosybuild.precision.emulation import emulate

    workdir.mkdir(parents=True, exist_ok=True)
    return save_model(ir.to_proto(emulate(ir.from_proto(load_model(path)))), workdir / path.name)[0]
