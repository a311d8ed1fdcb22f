"""A chunk of a stream with caches after 10, 30 and 60 s, upstream's way beside it, and the error of a cap.

    python benchmarks/voice_stream.py chunk SERVICE [--history 10 30 60] [--rounds 5] [--whole-rounds 1] [--threads 2]
    python benchmarks/voice_stream.py cap SERVICE [--caps 100 250] [--seconds 12] [--threads 2]

SERVICE has a voice with streaming attention, a cached estimator, and in version 2 a cached front end, for example

    P="python -m cosybuild model=cosyvoice2 model.streaming=true verify=off trt=none deploy=bundle deploy.dir=SERVICE
       deploy.force=true"
    $P component=token2wav deploy.create=true
    $P component=token2wav model.cache=true model.cache_frames=500

`chunk` times one chunk of the attention (one second of speech in the published models): the front end for its tokens,
all steps of the solver with the cached estimator, and the vocoder's window. The state of the stream has the size that
it has after the stated time, with drawn values, because the time does not depend on them. Rounds go through all
histories forth and back. `whole` is upstream's way: front end, estimator and vocoder compute all frames so far. One
step of its solver is timed, next to one step with caches, and multiplied. With `--clock processor --threads 1` the
seconds are those of the processor, which other programs of a busy machine change less. The last line has the paired
ratio of the longest and the shortest history.

`cap` streams one utterance with caps of the history and without one, and prints the signal-to-noise ratio of the mel
and the distances of the waveform from those without. All figures are Markdown tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.numerics.audio import log_mel_db, multi_resolution
from cosybuild.numerics.metrics import snr_db
from cosybuild.numerics.speech import speech_mel
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Noise, Voice
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.caches import CachedSteps, History
from cosybuild.runtime.voice.front import CachedFront
from cosybuild.runtime.voice.solver import solve
from cosybuild.runtime.voice.vocoding import VocoderStream
from cosybuild.runtime.voice.voice import Flow

SPEAKER = 192
"""Width of the speaker vector in all versions."""


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Clock = Callable[[], float]


class Chunks:
    """The calls of one chunk after any history; the arrays of a capped history are shared by all histories."""

    def __init__(self, voice: Voice, rng: np.random.Generator, clock: Clock) -> None:
        self.clock = clock
        flow = voice._streaming
        if flow is None or flow.cached is None:
            raise SystemExit("the directory has no cached estimator beside a streaming voice")
        self.voice, self.facts, self.flow, self.rng = voice, voice.facts, flow, rng
        self.frames = voice.facts.chunk * voice.facts.frames_per_token
        form = flow.cached.form
        if form.most is None:
            raise SystemExit("the cached estimator has no cap; build it with model.cache_frames=N")
        self.steps = CachedSteps(flow.cached.part, form, voice.facts.steps)
        self.steps.last = True  # the caches stay as they are
        self.steps._contexts = [self._normal(form.contexts) for _ in range(voice.facts.steps)]
        for history in self.steps._histories:
            history.append(self._normal((form.most, *form.frame)))
        self.front = flow.front(voice.facts.frames_per_token)
        if isinstance(self.front, CachedFront):
            assert flow.cached_frontend is not None
            own = flow.cached_frontend.form
            assert own.most is not None
            self.front._history.append(self._normal((own.most, *own.frame)))

    def _normal(self, shape: Sequence[int]) -> Array:
        return self.rng.standard_normal(tuple(shape), np.float32)

    def timed(self, call: Callable[[], object]) -> float:
        """Return the seconds of a call by the chosen clock."""
        begin = self.clock()
        call()
        return self.clock() - begin

    def kept_bytes(self) -> int:
        """Return the bytes of the state of the stream."""
        histories: list[History] = list(self.steps._histories)
        arrays = [*self.steps._contexts]
        if isinstance(self.front, CachedFront):
            histories.append(self.front._history)
            arrays.append(self.front._contexts)
        return sum(one.nbytes for one in arrays) + sum(one._buffer.nbytes for one in histories)

    def given(self, history: int) -> dict[str, Array]:
        """Return the front end's inputs for `history` frames and a chunk; the first chunk is the prompt."""
        ratio, chunk = self.facts.frames_per_token, self.facts.chunk
        ids = self.rng.integers(0, self.facts.vocabulary, (1, history // ratio + chunk))
        return {
            "token": ids[:, chunk:],
            "prompt_token": ids[:, :chunk],
            "prompt_feat": self._normal((1, chunk * ratio, self.facts.mel)),
            "embedding": self._normal((1, SPEAKER)),
            "lookahead_token": ids[:, : self.facts.lookahead],
        }

    def conditions(self, frames: int) -> tuple[Array, Array, Array, Array]:
        """Draw mu, spks, cond and the solver's noise."""
        wide = (1, self.facts.mel, frames)
        return self._normal(wide), self._normal((1, self.facts.mel)), self._normal(wide), self._normal(wide)

    def step(self, history: int) -> float:
        """Time one step of the solver with caches."""
        self.steps._frames, self.steps._step = history, 0
        return self.timed(lambda: solve(self.steps, *self.conditions(self.frames), steps=1))

    def whole_step(self, history: int) -> float:
        """Time one step of the solver on all frames."""
        given = self.conditions(history + self.frames)
        return self.timed(lambda: solve(self.flow.estimator, *given, steps=1))

    def chunk(self, history: int) -> dict[str, float]:
        """Time the parts of one chunk with caches and windows."""
        facts, ratio = self.facts, self.facts.frames_per_token
        given, last = self.given(history), self.steps.last
        taken = {"front end": self.timed(lambda: self.front(given, history // ratio, last=last))}
        self.steps._frames, self.steps._step = history, 0
        conditions = self.conditions(self.frames)
        taken["solver"] = self.timed(lambda: solve(self.steps, *conditions, steps=facts.steps))
        before, behind = facts.context
        mel = speech_mel(self.rng, before + behind + self.frames, facts.mel).T[np.newaxis]
        stream = VocoderStream(self.voice.vocoder, facts, Noise(source=self._noise(history), phase=None))
        stream._kept, stream._start, stream._done = (
            mel[:, :, : before + behind],
            history - before - behind,
            history - behind,
        )
        taken["vocoder"] = self.timed(lambda: stream.push(mel[:, :, before + behind :]))
        return taken

    def _noise(self, history: int) -> Array:
        return self._normal((1, 50 * self.facts.hop, self.facts.harmonics))

    def whole(self, history: int) -> dict[str, float]:
        """Time the parts on all frames so far; the solver's time is that of one step, multiplied."""
        given, steps = self.given(history), self.facts.steps
        taken = {"front end": self.timed(lambda: self.flow.frontend(**given))}
        taken["solver"] = steps * self.whole_step(history)
        mel = speech_mel(self.rng, history + self.frames, self.facts.mel).T[np.newaxis]
        taken["vocoder"] = self.timed(lambda: self.voice.vocode(mel, noise=Noise(source=self._noise(history))))
        return taken


def middle(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median of paired ratios, with the smallest and the largest."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def chunk(
    service: Path,
    seconds: Sequence[float],
    whole_seconds: Sequence[float],
    rounds: int,
    whole_rounds: int,
    threads: int,
    clock: Clock,
) -> None:
    """Print the times of a chunk after each history, with upstream's way after those in `whole_seconds`."""
    voice = load_voice(service, threads=threads, trust=True)
    facts = voice.facts
    calls = Chunks(voice, np.random.default_rng(0), clock)
    rate = facts.sample_rate / facts.hop
    histories = [round(one * rate / calls.frames) * calls.frames for one in seconds]
    calls.chunk(histories[0])  # a first call allocates
    own: dict[int, list[dict[str, float]]] = {history: [] for history in histories}
    for number in range(rounds):
        for history in histories if number % 2 == 0 else reversed(histories):
            own[history].append(calls.chunk(history))
    print(f"caches of a stream: {calls.kept_bytes() / 1e6:.0f} MB after each history\n")
    parts = ("front end", "solver", "vocoder")
    heads = [f"{part}, {way}" for part in parts for way in ("whole", "own")]
    print(f"| seconds before | {' | '.join(heads)} | chunk, whole | chunk, own | own step / whole step |")
    print("| ---: " * (len(heads) + 4) + "|")
    for history in histories:
        whole, paired = [], []
        for _ in range(whole_rounds if history / rate in whole_seconds else 0):
            before = calls.step(history)
            whole.append(calls.whole(history))
            around = (before + calls.step(history)) / 2
            paired.append(around / (whole[-1]["solver"] / facts.steps))
        cells = [f"{middle(rows, part):.3f} s" if rows else "" for part in parts for rows in (whole, own[history])]
        totals = [[sum(row.values()) for row in rows] for rows in (whole, own[history])]
        cells += [f"{statistics.median(total):.2f} s" if total else "" for total in totals]
        cells += [f"{statistics.median(paired):.3f}" if paired else ""]
        print(f"| {history / rate:g} | {' | '.join(cells)} |", flush=True)
    first, last = ([sum(row.values()) for row in own[history]] for history in (histories[0], histories[-1]))
    for history in histories:
        print(f"chunks after {history / rate:g} s: {', '.join(f'{sum(row.values()):.2f}' for row in own[history])}")
    print(f"\nchunk, own: after {histories[-1] / rate:g} s / after {histories[0] / rate:g} s: {ratios(first, last)}")


@dataclass(frozen=True)
class Heard:
    """The mel and the samples of a stream."""

    mel: Array
    waveform: Array


def streamed(voice: Voice, flow: Flow, cap: int | None, seconds: float) -> Heard:
    """Stream one utterance with a cap of the history in frames."""
    facts, rng = voice.facts, np.random.default_rng(0)
    assert flow.cached is not None
    front = flow.cached_frontend
    tokens = None if cap is None else cap // facts.frames_per_token
    capped: dict[str, Any] = {"cached": replace(flow.cached, form=replace(flow.cached.form, most=cap))}
    if front is not None:
        capped["cached_frontend"] = replace(front, form=replace(front.form, most=tokens))
    one = Voice(None, None, voice.vocoder, facts, streaming=replace(flow, **capped))
    pieces: list[Array] = []
    original = one._mel

    def kept(*given: Any) -> Array:
        pieces.append(original(*given))
        return pieces[-1]

    one._mel = kept  # type: ignore[method-assign]
    count = round(seconds * facts.token_rate)
    ids = rng.integers(0, facts.vocabulary, count + facts.chunk)
    mel = speech_mel(rng, facts.chunk * facts.frames_per_token, facts.mel)
    speaker = rng.standard_normal(SPEAKER, np.float32)
    prompt = ids[: facts.chunk], mel, speaker
    samples = list(one.stream(iter(ids[facts.chunk :].tolist()), *prompt, chunk=facts.chunk))
    return Heard(np.concatenate(pieces, axis=2), np.concatenate(samples))


def cap(service: Path, caps: Sequence[int], seconds: float, threads: int) -> None:
    """Print the errors of caps."""
    voice = load_voice(service, threads=threads, trust=True)
    flow = voice._streaming
    if flow is None or flow.cached is None:
        raise SystemExit("the directory has no cached estimator beside a streaming voice")
    exact = streamed(voice, flow, None, seconds)
    rate = voice.facts.sample_rate / voice.facts.hop
    print("| cap, frames | seconds | mel | mel of the last second | waveform | log-mel distance | spectral distance |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for most in caps:
        found = streamed(voice, flow, most, seconds)
        sound = found.waveform[np.newaxis], exact.waveform[np.newaxis]
        ends = [one.mel[:, :, -round(rate) :] for one in (found, exact)]
        ratio = snr_db(found.mel, exact.mel), snr_db(ends[0], ends[1]), snr_db(*sound)
        cells = [f"{value:.1f} dB" for value in (*ratio, log_mel_db(*sound))]
        print(f"| {most} | {seconds:g} | {' | '.join(cells)} | {multi_resolution(*sound):.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("chunk", "cap"))
    parser.add_argument("service", type=Path)
    parser.add_argument("--history", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    parser.add_argument("--whole-history", type=float, nargs="*", help="where upstream's way is timed; default: all")
    parser.add_argument("--caps", type=int, nargs="+", default=[100, 250])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole-rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    given = parser.parse_args()
    if given.what == "chunk":
        whole = given.history if given.whole_history is None else given.whole_history
        chunk(given.service, given.history, whole, given.rounds, given.whole_rounds, given.threads, CLOCKS[given.clock])
    else:
        cap(given.service, given.caps, given.seconds, given.threads)


if __name__ == "__main__":
    main()
