"""The utterances on which a whole voice is compared with its reference: their sizes and their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.verify import VerifyMode
from cosybuild.models.components.registry import serving_facts
from cosybuild.models.shape_profile import BATCH, FRAMES, admits
from cosybuild.numerics.inputs import Array, Draw
from cosybuild.numerics.speech import speech_mel
from cosybuild.request import Request
from cosybuild.runtime.voice.facts import Facts, facts_of
from cosybuild.verification.cases import Case
from cosybuild.verification.scope import SHORT, verify_settings

PARTS = (ComponentName.frontend.value, ComponentName.estimator.value, ComponentName.vocoder.value)
"""The parts that turn speech tokens into a waveform, in the order of the computation."""

LONG = 256
"""Largest number of frames (prompt and target) of the long utterance, five seconds. About ten forms of the voice
compute it, each with ten calls of the estimator, so it must not be longer.
"""

_TOKENS, _PROMPT, _SHOWN, _AHEAD = "tokens", "prompt_tokens", "prompt_frames", "lookahead"


@dataclass(frozen=True)
class Utterance:
    """The inputs of one utterance. All floating-point arrays are float32.

    Attributes:
        token, prompt_token: token ids of the target and of the prompt, (1, N) and (1, P).
        prompt_mel: (1, M, mel).
        speaker: the speaker vector, (1, spk_embed_dim).
        flow: the solver's initial state, (1, mel, frames of prompt and target).
        source: noise of the vocoder's source, (1, samples, harmonics).
        phase: phases of the source's sines before the first sample, (1, harmonics), in cycles.
    """

    token: Array
    prompt_token: Array
    prompt_mel: Array
    speaker: Array
    flow: Array
    source: Array
    phase: Array


def voice_facts(request: Request) -> Facts:
    """Return the facts of the voice that a joint build makes. The manifests of its parts will state the same facts."""
    models = []
    for part in PARTS:
        subject = request.of(part).subject
        facts = {"family": subject.family.value, "hyperparameters": dict(subject.hyperparameters)}
        solver = {} if subject.solver is None else {"solver": asdict(subject.solver)}
        models.append({**facts, **solver, **serving_facts(subject.component, subject.variant)})
    return facts_of(*models)


def voice_cases(request: Request) -> tuple[Case, ...]:
    """Return the utterances, short ones first: a short one and, in strict mode, a long one.

    The short one has about `SHORT` frames. The long one has as many as the profiles allow, at most `LONG`; with
    `verify.exhaustive` that limit does not apply. Prompt and target have equally many tokens if the profiles of all
    parts allow that.
    """
    verify = verify_settings(request)
    facts = voice_facts(request)
    limit = max(request.of(PARTS[1]).profiles[0][FRAMES].max, 8) if verify.exhaustive else LONG
    sizes = [one for one in _sizes(facts, limit) if parts_without_profile(request, one, facts) == ()]
    if not sizes:  # none is within the profiles of all parts; graphs accept it, and the record has a note
        sizes = [one for one in _sizes(facts, limit) if PARTS[1] not in parts_without_profile(request, one, facts)] or [
            next(_sizes(facts, limit))
        ]
    totals = [(one[_SHOWN] + facts.frames_of(one[_TOKENS]), one) for one in sizes]
    _, short = min(totals, key=lambda pair: abs(pair[0] - SHORT))
    chosen = {"short": short}
    if verify.mode is VerifyMode.strict:
        _, chosen["long"] = max(totals, key=lambda pair: pair[0])
    unique = {tuple(one.items()): why for why, one in reversed(chosen.items())}
    found = [Case(why, Draw(dict(one), verify.seed)) for one, why in unique.items()]
    return tuple(sorted(found, key=lambda case: case.draw.sizes[_TOKENS]))


def parts_without_profile(request: Request, sizes: Mapping[str, int], facts: Facts) -> tuple[str, ...]:
    """Return the parts that have no profile for an utterance of these sizes."""
    frames = facts.frames_of(sizes[_TOKENS])
    given = {
        PARTS[0]: {**sizes, _AHEAD: 0},
        PARTS[1]: {FRAMES: sizes[_SHOWN] + frames, BATCH: 2},
        PARTS[2]: {FRAMES: frames, "noise_len": frames * facts.hop},
    }
    found = []
    for part, wanted in given.items():
        one = request.of(part)
        symbols = one.subject.spec.symbols
        if not admits(one.profiles, {symbol: size for symbol, size in wanted.items() if symbol in symbols}):
            found.append(part)
    return tuple(found)


def _sizes(facts: Facts, limit: int) -> Iterator[dict[str, int]]:
    """Yield the sizes of all utterances of at most `limit` frames.

    Those with equally many prompt and target tokens come first.
    """
    most = next(n for n in range(1, limit + 2) if facts.frames_of(n) > limit)
    for share in (1.0, 0.5, 2.0, 0.0):
        for tokens in range(1, most):
            prompt = round(share * tokens)
            shown = facts.frames_of(prompt)
            if facts.frames_of(tokens) and shown + facts.frames_of(tokens) <= limit:
                yield {_TOKENS: tokens, _PROMPT: prompt, _SHOWN: shown}


def utterance(case: Case, request: Request) -> Utterance:
    """Draw the inputs of an utterance with the sizes and the seed of `case`."""
    speaker = int(request.of(PARTS[0]).subject.hyperparameters["spk_embed_dim"])
    sizes = case.draw.sizes
    return drawn_utterance(
        voice_facts(request), sizes[_TOKENS], sizes[_PROMPT], sizes[_SHOWN], speaker=speaker, seed=case.draw.seed
    )


def drawn_utterance(
    facts: Facts, tokens: int, prompt_tokens: int, prompt_frames: int, *, speaker: int, seed: int
) -> Utterance:
    """Draw the inputs of an utterance.

    The prompt's mel has the envelope of speech; the noise has upstream's distribution.

    Args:
        facts: the facts of the voice.
        tokens: number of target tokens.
        prompt_tokens: number of prompt tokens.
        prompt_frames: number of the prompt's mel frames.
        speaker: width of the speaker vector.
        seed: seed of all draws.
    """
    rng = np.random.default_rng(seed)
    frames = facts.frames_of(tokens)
    shape = (1, frames * facts.hop, facts.harmonics)
    phase = np.zeros((1, facts.harmonics), np.float32)
    if facts.has_random_phase:
        phase[0, 1:] = rng.uniform(-0.5, 0.5, facts.harmonics - 1)
    return Utterance(
        token=rng.integers(facts.vocabulary, size=(1, tokens)),
        prompt_token=rng.integers(facts.vocabulary, size=(1, prompt_tokens)),
        prompt_mel=speech_mel(rng, prompt_frames, facts.mel)[np.newaxis],
        speaker=rng.standard_normal((1, speaker), np.float32),
        flow=rng.standard_normal((1, facts.mel, prompt_frames + frames), np.float32),
        source=rng.random(shape, np.float32) if facts.has_uniform_source else rng.standard_normal(shape, np.float32),
        phase=phase,
    )
