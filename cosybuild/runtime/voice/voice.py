"""A voice, which computes a waveform from speech tokens with a front end, an estimator and a vocoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from cosybuild.errors import ServingError, ShapeRefused, VariantRefused
from cosybuild.runtime.pool import Pool
from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.runtime.voice.caches import CachedSteps, CacheForm
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.inputs import Prompt, check_floats, check_ids, finite, prompt_of, token_row
from cosybuild.runtime.voice.noise import Draw, Noise, flow_noise, hold_frames, noise_table, seed_of
from cosybuild.runtime.voice.solver import solve
from cosybuild.runtime.voice.stream import Call, calls
from cosybuild.runtime.voice.vocoding import VocoderStream, vocode


@dataclass(frozen=True)
class CachedPart:
    """A cached estimator and the caches that it takes."""

    part: Part
    form: CacheForm


@dataclass(frozen=True)
class Flow:
    """The two networks between tokens and mel, both with full attention or both streaming.

    Attributes:
        frontend, estimator: the networks.
        cached: the cached variant of a streaming estimator, which computes streams if it is given.
    """

    frontend: Part
    estimator: Part
    cached: CachedPart | None = None


class Voice:
    """A function from speech tokens to a waveform; threads may call it in parallel if its parts permit that.

    The parts are callables over arrays by name: loaded graphs, engines, or modules of any precision. The solver
    computes in the type of the front end's output, at least in float32.

    Args:
        frontend, estimator, vocoder: the parts, with the inputs and outputs of the built graphs.
        facts: the facts of the voice.
        streaming: front end and estimator with streaming attention, for `stream` and `mel(..., streaming=True)`.
        slots: the pool that limits the computations at a time; None for no limit.
    """

    def __init__(
        self,
        frontend: Part | None,
        estimator: Part | None,
        vocoder: Part,
        facts: Facts,
        *,
        streaming: Flow | None = None,
        slots: Pool[int] | None = None,
    ) -> None:
        self.facts = facts
        self.vocoder = vocoder
        self._full = None if frontend is None or estimator is None else Flow(frontend, estimator)
        self._streaming = streaming
        self._slots = slots

    def __call__(
        self,
        tokens: Array | Iterable[int],
        prompt_tokens: Array | Iterable[int],
        prompt_mel: Array,
        speaker: Array,
        *,
        noise: Noise | int | None = 0,
        streaming: bool = False,
    ) -> Array:
        """Return the waveform of an utterance, (samples,) float32, within [-1, 1]; arguments: see `mel`.

        Raises:
            ServingError: see `mel`.
        """
        draws = Noise.of(noise)
        mel = self.mel(tokens, prompt_tokens, prompt_mel, speaker, noise=draws.flow, streaming=streaming)
        return self.vocode(mel, noise=draws)

    def mel(
        self,
        tokens: Array | Iterable[int],
        prompt_tokens: Array | Iterable[int],
        prompt_mel: Array,
        speaker: Array,
        *,
        noise: Draw = 0,
        streaming: bool = False,
        lookahead: Array | Iterable[int] = (),
    ) -> Array:
        """Return the mel of the target, (1, mel, frames), without the prompt's frames.

        Args:
            tokens: ids of the target's tokens, (N,) or (1, N), at least one.
            prompt_tokens: ids of the prompt's tokens, (P,) or (1, P); may be empty.
            prompt_mel: log-mel of the prompt, (M, mel) or (1, M, mel). In versions 2 and 3, M is
                `frames_per_token` P.
            speaker: the speaker vector, (192,) or (1, 192).
            noise: the solver's initial state: a seed, an array (1, mel, T or more), or None for a new seed.
            streaming: True for the attention with the chunk mask.
            lookahead: the ids after the target's, in a call before the last one (versions 2 and 3).

        Raises:
            VariantRefused: the voice has no parts with that attention.
            ShapeRefused: an array has another shape.
            ServingError: an id is outside the vocabulary; a value has another type or is not finite; or the computation
                overflows.
            PoolExhausted: all slots were busy until the timeout.
        """
        flow = self._flow(streaming)
        target, ahead = token_row("tokens", tokens), token_row("lookahead", lookahead)
        prompt = prompt_of(prompt_tokens, prompt_mel, speaker, self.facts)
        return self._mel(flow, target, ahead, prompt, noise)

    def vocode(self, mel: Array, *, noise: Noise | Draw = 0, phase: Array | None = None) -> Array:
        """Return the waveform (samples,) of a mel (1, mel, T) with T of at least 1.

        Args:
            mel: natural logarithms of magnitudes.
            noise: the source's noise: a seed, an array (1, rows, harmonics), None for a new seed, or a `Noise`.
            phase: (1, harmonics) in cycles; see `Noise`.

        Raises:
            ShapeRefused, ServingError, PoolExhausted: see `mel`.
        """
        check_floats("mel", mel)
        if mel.ndim != 3 or mel.shape[:2] != (1, self.facts.mel) or not mel.shape[2]:
            raise ShapeRefused(f"the mel has the shape {mel.shape}; (1, {self.facts.mel}, frames) is expected.")
        draws = noise if isinstance(noise, Noise) else Noise(source=noise, phase=phase)
        with self._slot():
            return vocode(self.vocoder, self.facts, mel, draws)

    def stream(
        self,
        tokens: Iterable[int | Array],
        prompt_tokens: Array | Iterable[int],
        prompt_mel: Array,
        speaker: Array,
        *,
        noise: Noise | int | None = 0,
        chunk: int = 25,
    ) -> Iterator[Array]:
        """Yield the samples of an utterance, (n,) float32, while its tokens arrive (versions 2 and 3).

        The joined samples equal `voice(tokens, ..., streaming=True)` with the same noise, except for rounding, for any
        `chunk` and any division of the tokens:

        - The flow computes the whole prefix in each call, as upstream does, with the streaming attention. A call ends
          at the end of a chunk of that attention, and reads the look-ahead tokens behind it. So its frames are
          those of the whole utterance.
        - With a cached estimator, the estimator computes the new frames only, with caches that the stream owns. The
          frames are the same, unless the graph was built with `model.cache_frames` and the stream is longer.
        - Upstream computes the frames of its last call with full attention, those of all earlier calls with
          the streaming attention. Here the last call streams too, so the result does not depend on where the last
          call begins. The frames of the earlier calls are upstream's.
        - The vocoder computes windows with carried phases and noise (`VocoderStream`) in both versions. Its samples are
          those of the whole mel, without a cross-fade. Upstream's version 2 vocodes 8 frames of context and fades.

        Args:
            tokens: token ids as they come, one by one or in arrays.
            prompt_tokens, prompt_mel, speaker: see `mel`.
            noise: see `__call__`.
            chunk: smallest number of new tokens of a call before the last; raised to the next end of a chunk.

        Raises:
            VariantRefused: version 1, whose frames depend on all tokens; or the voice has no parts with streaming
                attention.
            ServingError, ShapeRefused, PoolExhausted: see `mel`. A slot is taken for each computation, not while the
                stream waits for tokens.
        """
        if not self.facts.chunk:
            raise VariantRefused(
                f"{self.facts.family} cannot stream: each of its frames depends on all tokens of the utterance.",
                hint="Next: give all tokens to the voice at once.",
            )
        if not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1:
            raise ServingError(f"chunk={chunk!r}; a positive whole number of tokens is expected.")
        if not isinstance(tokens, Iterable):
            raise ServingError(f"tokens is {tokens!r}; an iterable of whole numbers is expected.")
        flow, draws = self._flow(True), Noise.of(noise)
        prompt = prompt_of(prompt_tokens, prompt_mel, speaker, self.facts)
        return self._streamed(flow, calls(tokens, prompt.tokens, self.facts, chunk), prompt, draws)

    def _streamed(self, flow: Flow, planned: Iterator[Call], prompt: Prompt, draws: Noise) -> Iterator[Array]:
        vocoder, done = VocoderStream(self.vocoder, self.facts, draws), 0
        # Drawn once, because a new seed must be the same in all calls, and a table takes longer than a short call.
        drawn = draws.flow if isinstance(draws.flow, np.ndarray) else noise_table(seed_of(draws.flow), self.facts.mel)
        cached = flow.cached
        steps = None if cached is None else CachedSteps(cached.part, cached.form, self.facts.steps)
        for call in planned:
            if steps is not None:
                steps.last = call.last
            mel = self._mel(flow, call.target, call.ahead, prompt, drawn, steps)
            with self._slot():
                samples = vocoder.push(mel if steps is not None else mel[:, :, done:], last=call.last)
            done = mel.shape[2]
            if samples.size:
                yield samples

    def _mel(
        self,
        flow: Flow,
        target: Array,
        ahead: Array,
        prompt: Prompt,
        noise: Draw,
        steps: CachedSteps | None = None,
    ) -> Array:
        """Return the mel of the target, or only the frames after those that `steps` has computed."""
        facts, begin = self.facts, 0 if steps is None else steps.frames
        if not target.size:
            raise ServingError("there are no tokens; at least one is expected.")
        check_ids("tokens", target, facts)
        check_ids("lookahead", ahead, facts)
        given = {"token": target, **prompt.arrays}
        if facts.lookahead:
            given["lookahead_token"] = ahead
        elif ahead.size:
            raise ShapeRefused(f"{facts.family} has no look-ahead, but lookahead has {ahead.size} tokens.")
        # The attention takes memory by the square of the frames, so they are counted before any network computes.
        hold_frames(noise, facts, prompt.frames + facts.frames_of(target.size))
        with self._slot():
            made = flow.frontend(**given)
            # Ten steps in half precision would lose digits; the estimator itself gets its own type.
            wide = np.promote_types(made["mu"].dtype, np.float32)
            mu, spks, cond = (made[name].astype(wide, copy=False) for name in ("mu", "spks", "cond"))
            drawn = flow_noise(noise, facts, mu.shape[2])
            mu, cond, drawn = (values[:, :, begin:] for values in (mu, cond, drawn))
            if not mu.shape[2]:  # without look-ahead the last call may have no frames of its own
                return mu
            estimator = flow.estimator if steps is None else steps
            mel = finite("mel", solve(estimator, mu, spks, cond, drawn, facts.steps, facts.guidance, facts.schedule))
        return mel[:, :, max(0, prompt.frames - begin) :]

    def _flow(self, streaming: bool) -> Flow:
        flow = self._streaming if streaming else self._full
        if flow is None:
            asked = "streaming" if streaming else "full"
            raise VariantRefused(
                f"{asked} attention is requested, but this voice has no front end and estimator with it.",
                hint=f"Next: build component=token2wav model.streaming={str(streaming).lower()} and deploy it into the "
                "same directory.",
            )
        return flow

    def _slot(self) -> AbstractContextManager[object]:
        return nullcontext() if self._slots is None else self._slots.lend()
