"""The voice that a service calls: it computes a waveform from speech tokens with three networks."""

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
from cosybuild.runtime.voice.front import CachedFront, Front, WholeFront, WindowFront
from cosybuild.runtime.voice.inputs import Prompt, check_floats, check_ids, finite, prompt_of, token_row
from cosybuild.runtime.voice.noise import Draw, Noise, flow_noise, hold_frames, noise_table, seed_of
from cosybuild.runtime.voice.solver import solve
from cosybuild.runtime.voice.stream import Call, calls
from cosybuild.runtime.voice.vocoding import VocoderStream, vocode


@dataclass(frozen=True)
class CachedPart:
    """A cached network and the caches that it takes."""

    part: Part
    form: CacheForm


@dataclass(frozen=True)
class Flow:
    """The two networks that turn tokens into mel, both with full attention or both with streaming attention.

    Attributes:
        frontend, estimator: the networks.
        cached: the cached variant of a streaming estimator, which computes streams if it is given.
        cached_frontend: the cached variant of a streaming front end (version 2), for streams with a cached estimator.
        context_tokens: the tokens before a token on which its frames depend, for a front end without attention
            (version 3); None if they depend on all earlier tokens, or if it is not known.
    """

    frontend: Part
    estimator: Part
    cached: CachedPart | None = None
    cached_frontend: CachedPart | None = None
    context_tokens: int | None = None

    def front(self, ratio: int) -> Front:
        """Return the front end of one stream with a cached estimator."""
        if self.cached_frontend is not None:
            return CachedFront(self.cached_frontend.part, self.cached_frontend.form)
        if self.context_tokens is not None:
            return WindowFront(self.frontend, ratio, self.context_tokens)
        return WholeFront(self.frontend, ratio)


@dataclass(frozen=True)
class _State:
    """The state of the flow of one stream with a cached estimator."""

    steps: CachedSteps
    front: Front


class Voice:
    """The computation of a waveform from speech tokens. Threads may call it in parallel if all its parts allow that.

    The parts are callables on arrays by name: loaded graphs, engines, or PyTorch modules of any precision. The solver
    computes in the type of the front end's output, or in float32 if that type is smaller.

    Args:
        frontend, estimator: the two networks with full attention; None if the voice has only the streaming ones.
        vocoder: the vocoder.
        facts: the facts of the voice.
        streaming: front end and estimator with streaming attention, for `stream` and `mel(..., streaming=True)`; None
            if the voice has none.
        slots: the pool that limits the number of computations at a time; None for no limit.
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
        """Return the waveform of an utterance, (samples,) float32 in [-1, 1].

        Args:
            tokens, prompt_tokens, prompt_mel, speaker, streaming: see `mel`.
            noise: the random numbers of solver and source: a `Noise`, one seed for both, or None for a new seed.

        Raises:
            VariantRefused, ShapeRefused, ServingError, PoolExhausted: see `mel`.
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
            prompt_mel: log-mel of the prompt, (M, mel) or (1, M, mel). In CosyVoice 2 and 3, M is `frames_per_token`
                times P.
            speaker: the speaker vector, (192,) or (1, 192).
            noise: the solver's initial state: a seed, an array (1, mel, T or more), or None for a new seed.
            streaming: True for streaming attention (chunk mask), False for full attention.
            lookahead: the ids that follow the target's tokens, for a call that is not the last of a stream (CosyVoice 2
                and 3).

        Raises:
            VariantRefused: the voice has no parts with that attention.
            ShapeRefused: an array has another shape.
            ServingError: an id is outside the vocabulary, a value has another type or is not finite, or the computation
                overflows.
            PoolExhausted: all slots were busy until the timeout.
        """
        flow = self._flow(streaming)
        target, ahead = token_row("tokens", tokens), token_row("lookahead", lookahead)
        prompt = prompt_of(prompt_tokens, prompt_mel, speaker, self.facts)
        return self._mel(flow, target, ahead, prompt, noise)

    def vocode(self, mel: Array, *, noise: Noise | Draw = 0, phase: Array | None = None) -> Array:
        """Return the waveform of a mel, (samples,).

        Args:
            mel: (1, mel, T), natural logarithms of magnitudes; T is at least 1.
            noise: the source's noise: a seed, an array (1, rows, harmonics), None for a new seed, or a `Noise`.
            phase: (1, harmonics) in cycles; see `Noise`. It is not used if `noise` is a `Noise`.

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
        """Yield the samples of an utterance, (n,) float32, while its tokens arrive (CosyVoice 2 and 3).

        The joined samples equal `voice(tokens, ..., streaming=True)` with the same noise, except for rounding. This
        holds for any `chunk` and any division of the tokens, for the following reasons:

        - The flow computes all tokens so far in each call, as upstream does, with streaming attention. A call ends at
          the end of a chunk of this attention, and also reads the look-ahead tokens after it. So its frames equal those
          of the whole utterance.
        - With a cached estimator, the estimator computes only the new frames, with caches that belong to the stream.
          The frames are the same, unless the graph was built with `model.cache_frames` and the stream is longer than
          that. The front end computes only the new tokens, too: in a window (CosyVoice 3), or with a cached front end
          (CosyVoice 2), if the directory has one.
        - Upstream computes its last call with full attention, and all earlier calls with streaming attention. Here the
          last call has streaming attention too, so the result does not depend on the beginning of the last call. The
          frames of the earlier calls equal upstream's.
        - The vocoder computes windows with carried phases and noise (`VocoderStream`) in both versions. Its samples
          equal those of the whole mel, without a cross-fade. Upstream computes, for CosyVoice 2, 8 frames of context
          and cross-fades.

        Args:
            tokens: token ids as they arrive, one by one or in arrays.
            prompt_tokens, prompt_mel, speaker: see `mel`.
            noise: see `__call__`.
            chunk: smallest number of new tokens of every call but the last. A call is extended to the next end of a
                chunk.

        Raises:
            VariantRefused: the model is CosyVoice 1, whose frames depend on all tokens; or the voice has no parts with
                streaming attention.
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
        # Draw the noise once: a new seed must stay the same in all calls, and drawing a table takes longer than a short
        # call.
        drawn = draws.flow if isinstance(draws.flow, np.ndarray) else noise_table(seed_of(draws.flow), self.facts.mel)
        cached, state = flow.cached, None
        if cached is not None:
            steps = CachedSteps(cached.part, cached.form, self.facts.steps)
            state = _State(steps, flow.front(self.facts.frames_per_token))
        for call in planned:
            if state is not None:
                state.steps.last = call.last
            mel = self._mel(flow, call.target, call.ahead, prompt, drawn, state)
            with self._slot():
                samples = vocoder.push(mel if state is not None else mel[:, :, done:], last=call.last)
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
        state: _State | None = None,
    ) -> Array:
        """Return the mel of the target, or only the frames after those that a stream has computed."""
        facts, begin = self.facts, 0 if state is None else state.steps.frames
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
        frames = prompt.frames + facts.frames_of(target.size)
        hold_frames(noise, facts, frames)
        if frames == begin:  # without look-ahead the last call may have no frames of its own
            return np.zeros((1, facts.mel, 0), np.float32)
        with self._slot():
            if state is None:
                made = flow.frontend(**given)
            else:
                made = state.front(given, begin // facts.frames_per_token, last=state.steps.last)
            # Ten steps in half precision would lose digits; the estimator itself gets its own type.
            wide = np.promote_types(made["mu"].dtype, np.float32)
            mu, spks, cond = (made[name].astype(wide, copy=False) for name in ("mu", "spks", "cond"))
            drawn = flow_noise(noise, facts, begin + mu.shape[2])[:, :, begin:]
            estimator = flow.estimator if state is None else state.steps
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
