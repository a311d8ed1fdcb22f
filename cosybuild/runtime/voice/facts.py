"""The numbers and choices by which a voice is computed, read from the manifests of its three parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.runtime.voice.solver import SCHEDULES

FIRST = "cosyvoice1"
"""The CosyVoice version that interpolates from tokens to frames. In later versions each token has a fixed whole number
of frames.
"""


MOST_STEPS = 1000
"""Upper limit for the number of solver steps; models use 10. A call runs all steps, so a larger number in a manifest
would block a server.
"""
INTERPOLATIONS = ("exact", "linear", "nearest")
"""How the vocoder interpolates the phases of its source signal; in the order of CosyVoice 1, 2 and 3."""


@dataclass(frozen=True)
class MelForm:
    """The parameters of the transform from a prompt's samples to its mel spectrogram.

    Attributes:
        sample_rate: samples per second.
        n_fft: samples per window.
        hop: samples between the starts of two windows.
        bins: number of mel filters.
        lowest, highest: limits of the filters in Hz.
    """

    sample_rate: int
    n_fft: int
    hop: int
    bins: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class Facts:
    """The numbers and choices by which one voice is computed.

    Attributes:
        family: `cosyvoice1`, `cosyvoice2` or `cosyvoice3`.
        sample_rate: samples per second.
        hop: samples per mel frame.
        mel: number of mel bins.
        vocabulary: number of speech tokens.
        token_rate: tokens per second.
        frames_per_token: mel frames per token; 0 in CosyVoice 1, which interpolates from tokens to frames.
        lookahead: number of further tokens that a call reads as right context, after the tokens that it turns into mel
            frames. The last call of a stream reads none. 0 in CosyVoice 1.
        chunk: tokens per chunk of the streaming attention, counted from the first token of the prompt; 0 in CosyVoice
            1.
        context: (before, after): numbers of mel frames on each side of a frame on which the frame's samples depend.
        harmonics: number of sines in the vocoder's source signal.
        interpolation: interpolation of the phases of these sines: `exact` (CosyVoice 1), `linear` (2) or `nearest` (3);
            see `Interpolation`.
        steps, schedule, guidance: see `solver.solve`.
        prompt_mel: parameters of the transform that computes the prompt's mel; None if the manifest does not state
            them.
    """

    family: str
    sample_rate: int
    hop: int
    mel: int
    vocabulary: int
    token_rate: float
    frames_per_token: int
    lookahead: int
    chunk: int
    context: tuple[int, int]
    harmonics: int
    interpolation: str
    steps: int = 10
    schedule: str = "cosine"
    guidance: float = 0.7
    prompt_mel: MelForm | None = None

    def frames_of(self, tokens: int) -> int:
        """Return the number of mel frames into which the flow turns `tokens` target tokens."""
        if self.frames_per_token:
            return tokens * self.frames_per_token
        return tokens * self.sample_rate // (round(self.token_rate) * self.hop)

    @property
    def has_fixed_noise(self) -> bool:
        """True if the solver starts every utterance from the same table of noise (CosyVoice 2 and 3)."""
        return self.family != FIRST

    @property
    def has_uniform_source(self) -> bool:
        """True if the noise of the vocoder's source is uniform in [0, 1) (CosyVoice 3), False if it is Gaussian."""
        return self.interpolation == "nearest"

    @property
    def has_random_phase(self) -> bool:
        """True if the overtones of the vocoder's source start with random phases (CosyVoice 1)."""
        return self.interpolation == "exact"


def facts_of(frontend: Mapping[str, Any], estimator: Mapping[str, Any], vocoder: Mapping[str, Any]) -> Facts:
    """Read the facts of a voice from the manifests of its parts.

    Args:
        frontend, estimator, vocoder: the field `model` of each part's manifest.

    Raises:
        ValueError: a field is missing or invalid, or two parts contradict each other; the message names the values.
    """
    flow, sound = _values(frontend, "the front end"), _values(vocoder, "the vocoder")
    decoder, family = _values(estimator, "the estimator"), str(frontend.get("family"))
    solver, context = _field(estimator, "solver", "the estimator"), _field(vocoder, "context_frames", "the vocoder")
    hop = math.prod(_field(sound, "upsample_rates", "the vocoder")) * _field(sound, "hop_len", "the vocoder")
    rate = _field(sound, "sampling_rate", "the vocoder")
    _check_equal("mel bins", flow, "output_size", sound, "in_channels")
    ratio = 0 if family == FIRST else int(_field(flow, "token_mel_ratio", "the front end"))
    if min(hop, rate) < 1 or (not ratio and family != FIRST):
        raise ValueError(
            f"a frame of {hop} samples, {rate} samples a second, {ratio} frames a token: at least 1 each is expected"
        )
    facts = Facts(
        family=family,
        sample_rate=int(rate),
        hop=int(hop),
        mel=int(_field(flow, "output_size", "the front end")),
        vocabulary=int(_field(flow, "vocab_size", "the front end")),
        token_rate=float(_field(flow, "input_frame_rate", "the front end")) if not ratio else rate / hop / ratio,
        frames_per_token=ratio,
        lookahead=int(_field(flow, "pre_lookahead_len", "the front end")) if ratio else 0,
        chunk=_chunk(flow, decoder, ratio) if ratio else 0,
        context=(int(context[0]), int(context[1])),
        harmonics=int(_field(sound, "nb_harmonics", "the vocoder")) + 1,
        interpolation=str(getattr(value := _field(sound, "interpolation", "the vocoder"), "value", value)),
        steps=int(solver["steps"]),
        schedule=str(solver["schedule"]),
        guidance=float(solver["guidance"]),
        prompt_mel=_mel_form(frontend.get("prompt_mel")),
    )
    _check(facts)
    return facts


def _check(facts: Facts) -> None:
    """Refuse values with which a later call would fail or would silently compute something else."""
    for name in ("mel", "vocabulary", "harmonics", "steps"):
        if getattr(facts, name) < 1:
            raise ValueError(f"{name} is {getattr(facts, name)}, and at least 1 is expected")
    if facts.steps > MOST_STEPS:
        raise ValueError(f"steps is {facts.steps}, and at most {MOST_STEPS} is expected")
    for name in ("lookahead", "chunk"):
        if getattr(facts, name) < 0:
            raise ValueError(f"{name} is {getattr(facts, name)}, and at least 0 is expected")
    if min(facts.context) < 0:
        raise ValueError(f"context_frames are {facts.context}, and at least 0 is expected")
    for name, known in (("interpolation", INTERPOLATIONS), ("schedule", SCHEDULES)):
        if getattr(facts, name) not in known:
            raise ValueError(f"{name} is {getattr(facts, name)!r}, and one of {', '.join(known)} is expected")


def _mel_form(values: Mapping[str, Any] | None) -> MelForm | None:
    if values is None:
        return None
    rate, highest = int(values["sampling_rate"]), values["fmax"]
    n_fft, hop, bins = (int(values[name]) for name in ("n_fft", "hop_size", "num_mels"))
    return MelForm(rate, n_fft, hop, bins, float(values["fmin"]), rate / 2 if highest is None else float(highest))


def _chunk(flow: Mapping[str, Any], decoder: Mapping[str, Any], ratio: int) -> int:
    """Return the number of tokens per chunk: the smallest at which front end and estimator both begin a new chunk.

    In CosyVoice 3, only the estimator has chunks.
    """
    frames = int(_field(decoder, "static_chunk_size", "the estimator"))
    return math.lcm(frames, ratio * int(flow.get("chunk_size", 1))) // ratio


def _values(model: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    values: Mapping[str, Any] = _field(model, "hyperparameters", part)
    return values


def _field(values: Mapping[str, Any], name: str, part: str) -> Any:
    if values.get(name) is None:
        raise ValueError(f"the manifest of {part} does not state {name}")
    return values[name]


def _check_equal(what: str, one: Mapping[str, Any], first: str, other: Mapping[str, Any], second: str) -> None:
    values = _field(one, first, "the front end"), _field(other, second, "the vocoder")
    if values[0] != values[1]:
        raise ValueError(f"the front end has {values[0]} {what} and the vocoder {values[1]}")
