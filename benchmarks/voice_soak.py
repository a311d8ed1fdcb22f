"""Speak with many threads through one voice while calls fail at random; every answer must be right or an error.

    python benchmarks/voice_soak.py SERVICE [--threads 16] [--streams 50] [--seed 0]

SERVICE is a directory with a voice of version 2 or 3, with full and with streaming attention. Each thread makes
utterances that are drawn at random: whole ones, streams, streams with an invalid token, with tokens whose iterator
raises, with a caller who stops early, and with a run of ONNX Runtime that fails. There are fewer slots than threads and
callers wait a short time only, so some find the pool exhausted.

The script fails if samples differ, bit for bit, from those of the same call alone, also the samples before an error; if
a call ends with another error than a ServingError or the iterator's own; if a thread or a slot is left; or if the
resident memory after the last third is more than `GROWTH` times that after the first. A stream alone must equal the
whole utterance to `FACTOR` times what one unit in the last place of the inputs changes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from cosybuild.errors import PoolExhausted, ServingError
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice
from cosybuild.system.heap import trim_heap

FACTOR, GROWTH = 8.0, 1.25
LONGEST = 900.0
"""Seconds after which a third counts as one that does not end."""
KINDS = ("whole", "stream", "invalid token", "tokens raise", "caller stops", "run fails")
WEIGHTS = (2, 4, 1, 1, 1, 1)
REASONS = {"invalid token": "whole numbers from", "run fails": "a run fails on request"}
RUNS = threading.local()
"""`left`: runs of this thread before one fails; absent if none fails."""


class Lost(Exception):
    """The error of an iterator of tokens."""


class Failing:
    """An ONNX Runtime session whose run fails if the thread has asked for it."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, *given: Any) -> Any:
        left = getattr(RUNS, "left", None)
        if left is not None:
            RUNS.left = left - 1
            if left == 0:
                raise RuntimeException("a run fails on request")
        return self._session.run(*given)


@dataclass(frozen=True)
class Utterance:
    """The inputs of an utterance, and its samples when nothing else runs."""

    tokens: list[int]
    prompt: tuple[Any, ...]
    noise: int
    chunk: int
    whole: np.ndarray
    pieces: list[np.ndarray]


def draw(voice: Voice, chance: np.random.Generator) -> Utterance:
    """Draw an utterance and speak it alone."""
    facts, count = voice.facts, int(chance.integers(5, 12))
    mel = chance.normal(-4, 2, (count * facts.frames_per_token, facts.mel)).astype(np.float32)
    prompt = chance.integers(0, facts.vocabulary, count), mel, chance.normal(size=192).astype(np.float32)
    row = chance.integers(0, facts.vocabulary, int(chance.integers(20, 40))).tolist()
    noise, chunk = int(chance.integers(0, 4)), int(chance.integers(1, 12))
    pieces = list(voice.stream(row, *prompt, noise=noise, chunk=chunk))
    streamed = voice(row, *prompt, noise=noise, streaming=True)
    moved = np.nextafter(mel, np.float32(np.inf)), np.nextafter(mel, -np.float32(np.inf))
    changes = [voice(row, prompt[0], each, prompt[2], noise=noise, streaming=True) - streamed for each in moved]
    difference = np.concatenate(pieces) - streamed
    bound = FACTOR * max(float(np.sqrt(np.mean(change**2))) for change in changes)
    assert np.sqrt(np.mean(difference**2)) <= bound, "a stream alone is not the whole utterance"
    return Utterance(row, prompt, noise, chunk, voice(row, *prompt, noise=noise), pieces)


def speak(voice: Voice, said: Utterance, kind: str, chance: random.Random) -> str:
    """Make one call; return its outcome.

    Raises:
        AssertionError: samples or the error are not the expected ones.
    """
    got: list[np.ndarray] = []
    at = chance.randrange(len(said.tokens))
    call: dict[str, Any] = {"noise": said.noise}
    try:
        if kind == "run fails":
            RUNS.left = chance.randrange(12)
        if kind == "whole" or (kind == "run fails" and chance.random() < 0.3):
            samples = voice(said.tokens, *said.prompt, **call)
            assert np.array_equal(samples, said.whole), "other samples of a whole utterance"
            outcome = "whole"
        else:
            stream = voice.stream(tokens(said, kind, at, chance), *said.prompt, chunk=said.chunk, **call)
            wanted = chance.randrange(len(said.pieces)) if kind == "caller stops" else None
            for piece in islice(stream, wanted):
                got.append(piece)
            if wanted is not None:
                stream.close()
            outcome = "streamed" if wanted is None else "stopped"
        expected = {"invalid token", "tokens raise", "run fails"}
        assert kind not in expected, f"{kind}: there was no error"
    except PoolExhausted:
        outcome = "pool exhausted"
    except ServingError as error:
        outcome = kind
        if REASONS.get(kind, "none is expected") not in str(error):
            raise AssertionError(f"{kind}: {error}") from error
    except Lost:
        outcome = kind
        assert kind == "tokens raise", kind
    finally:
        RUNS.__dict__.pop("left", None)
    same = len(got) <= len(said.pieces) and all(map(np.array_equal, got, said.pieces))
    assert same, f"{kind}: other samples of a stream"
    assert outcome != "streamed" or len(got) == len(said.pieces), "a stream ended early"
    return outcome


def tokens(said: Utterance, kind: str, at: int, chance: random.Random) -> Iterator[Any]:
    """Yield the tokens one by one and in rows; at place `at` an invalid one or an error, if the kind is such."""
    position = 0
    while position < len(said.tokens):
        if position == at and kind == "tokens raise":
            raise Lost
        if position == at and kind == "invalid token":
            yield chance.choice((-1, 10**6))
        # A row ends before the place of the failure.
        end = position + chance.choice((1, 1, 3))
        if position < at < end:
            end = at
        yield said.tokens[position] if end == position + 1 else said.tokens[position:end]
        position = end


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(service: Path, threads: int, streams: int, seed: int) -> dict[str, Any]:
    """Run all threads; return counts and memory."""
    slots = max(2, threads // 4)
    voice = load_voice(service, concurrency=slots, timeout=0.2, threads=1)
    numbers = np.random.default_rng(seed)
    said = [draw(voice, numbers) for _ in range(8)]
    flows = [flow for flow in (voice._full, voice._streaming) if flow is not None]
    for part in (voice.vocoder, *(each for flow in flows for each in (flow.frontend, flow.estimator))):
        part._session = Failing(part._session)
    counts: Counter[str] = Counter()
    faults: list[str] = []
    guard, begun = threading.Lock(), time.monotonic()
    # Threads wait after each third, so that the memory is measured in the same state each time.
    third = threading.Barrier(threads + 1, timeout=LONGEST)

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        for first in range(3):
            for _ in range(first, streams, 3):
                (kind,) = chance.choices(KINDS, WEIGHTS)
                try:
                    outcome = speak(voice, chance.choice(said), kind, chance)
                except Exception as error:
                    outcome = "fault"
                    faults.append(f"{type(error).__name__}: {error}")
                with guard:
                    counts[outcome] += 1
            third.wait()
            third.wait()

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    memory = []
    for _ in range(3):
        third.wait()  # it breaks if a call does not end
        trim_heap()
        memory.append(resident())
        third.wait()
    for worker in workers:
        worker.join(LONGEST)
    assert counts.total() == threads * streams, "a thread is left"
    assert faults == [], faults[:5]
    assert voice._slots is not None
    assert voice._slots.idle == slots, "a slot was not returned"
    assert memory[2] <= GROWTH * memory[0], f"the resident memory grew: {memory}"
    return {
        "family": voice.facts.family,
        "threads": threads,
        "slots": slots,
        "outcomes": dict(sorted(counts.items())),
        "resident_mb": [round(size / 1e6, 1) for size in memory],
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", type=Path)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(soak(given.service, given.threads, given.streams, given.seed)))


if __name__ == "__main__":
    main()
