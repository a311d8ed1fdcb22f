"""A whole voice without PyTorch against the modules in PyTorch: exactness, speed, first audio, cost of a piece.

    python benchmarks/voice.py exact SERVICE [--model-dir DIR] [--seconds 1 10] [--long 60] [--python PYTHON]
    python benchmarks/voice.py speed SERVICE [--model-dir DIR] [--estimator graph] [--seconds 5] [--rounds 5]
    python benchmarks/voice.py vocoder SERVICE [--history 10 30 60] [--rounds 5] [--threads 2]

SERVICE is a directory with a voice, with full and, for versions 2 and 3, with streaming attention. It comes from
the model directory DIR, or from random weights if DIR is not given:

    python -m cosybuild component=token2wav model=cosyvoice2 verify=off trt=none deploy=bundle deploy.dir=SERVICE \
        deploy.create=true deploy.force=true

`exact` computes utterances in a process of PYTHON (this interpreter by default) in which PyTorch, Hydra, ONNX and SciPy
cannot be imported, and compares them with the modules in float64. The waveform is compared with two references: one
with the f0 that the voice itself has, and one with its own f0. The second difference is the rounding of f0, which adds
up to a phase that grows with time; `explained` is the difference of the two references, which contains nothing else.
`bound` is the phase of harmonic 9 if every f0 were off by the largest error that any f0 has, always to one side.
The flow in float64 takes minutes for each second of a long utterance, so `--long` utterances have a drawn mel.

`speed` runs the voice and the modules in PyTorch (float32, eager) in turn and prints real-time factors, the time from
25 tokens to the first samples, and paired ratios. `vocoder` prints the time of a piece of one second after a history,
beside the vocoding of the whole history. All print Markdown tables.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.models.resolve import resolve_subject
from cosybuild.numerics.metrics import snr_db
from cosybuild.numerics.speech import speech_mel
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Noise, Voice
from cosybuild.runtime.voice.vocoding import VocoderStream
from cosybuild.verification.voice_cases import PARTS, Utterance, drawn_utterance
from cosybuild.verification.voice_runs import Reference, load_reference

CHUNK = 25
"""Tokens of a prompt and of a streamed piece: one second in versions 2 and 3."""

SPEAKER = 192
"""Width of the speaker vector in all versions."""

SPEAK = """
import sys

class Blocked:
    NAMES = "torch hydra omegaconf onnx onnxscript onnx_ir onnxsim scipy msgspec yaml rich fsspec safetensors".split()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Noise

service, given, made = sys.argv[1:]
voice, heard = load_voice(service, trust=True), {}
vocoder = voice.vocoder

def listening(**inputs):
    outputs = vocoder(**inputs)
    heard["f0"] = outputs["f0"]
    return outputs

voice.vocoder = listening
arrays = dict(np.load(given))
prompt = (arrays[name] for name in ("prompt_token", "prompt_mel", "speaker"))
noise = Noise(arrays["flow"], arrays["source"], arrays["phase"])
mel = arrays["mel"] if "mel" in arrays else voice.mel(arrays["token"], *prompt, noise=noise.flow)
np.savez(made, mel=mel, waveform=voice.vocode(mel, noise=noise), f0=heard["f0"])
"""


def modules(family: Family, model_dir: str | None, streaming: bool = False) -> Reference:
    """Load front end, estimator and vocoder in PyTorch, in float32."""
    plain = ModelSettings() if model_dir else ModelSettings(family=family)
    settings = {part: replace(plain, streaming=streaming and part != ComponentName.vocoder.value) for part in PARTS}
    subjects = {part: resolve_subject(settings[part], model_dir, False, ComponentName(part)) for part in PARTS}
    return load_reference(subjects, {part: subject.weights for part, subject in subjects.items()})


def utterance(voice: Voice, seconds: float) -> Utterance:
    """Draw an utterance with a prompt of `CHUNK` tokens."""
    facts = voice.facts
    wanted = seconds * facts.sample_rate / facts.hop
    count = next(n for n in range(1, 100_000) if facts.frames_of(n) >= wanted)
    return drawn_utterance(facts, count, CHUNK, facts.frames_of(CHUNK), speaker=SPEAKER, seed=0)


def exact(service: Path, model_dir: str | None, seconds: Sequence[float], long: Sequence[float], python: str) -> None:
    """Print the signal-to-noise ratios of mel and waveform against float64."""
    voice = load_voice(service, trust=True)
    facts = voice.facts
    given = [utterance(voice, duration) for duration in (*seconds, *long)]
    del voice
    reference = modules(Family(facts.family), model_dir)
    narrow = [reference.speak(one).mel for one in given[: len(seconds)]]
    reference.widen()
    print("| seconds | mel | modules' mel | f0 handed on | own f0 | explained | phase of harmonic 9 | bound |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for number, one in enumerate(given):
        if number < len(seconds):
            own = reference.speak(one)
            made = spoken(python, service, asdict(one))
            mels = [f"{snr_db(mel, own.mel):.1f} dB" for mel in (made["mel"], narrow[number])]
        else:
            mel = speech_mel(np.random.default_rng(0), one.source.shape[1] // facts.hop, facts.mel).T[np.newaxis]
            own = reference.vocoded(mel, one)
            made = spoken(python, service, {**asdict(one), "mel": mel})
            mels = ["given", "given"]
        handed = reference.with_f0(own, one, made["f0"])
        rate = facts.sample_rate / facts.hop
        errors = made["f0"].astype(float) - own.f0
        drift, bound = np.abs(np.cumsum(errors)).max() / rate, errors.size * np.abs(errors).max() / rate
        waveform = made["waveform"][np.newaxis]
        pairs = (waveform, handed.waveform), (waveform, own.waveform), (handed.waveform, own.waveform)
        cells = [*mels, *(f"{snr_db(*pair):.1f} dB" for pair in pairs)]
        cells += [f"{2 * math.pi * facts.harmonics * error:.2g} rad" for error in (drift, bound)]
        print(f"| {(*seconds, *long)[number]:g} | {' | '.join(cells)} |", flush=True)


def spoken(python: str, service: Path, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute an utterance in a process without PyTorch; return `mel`, `waveform` and `f0`."""
    with tempfile.TemporaryDirectory() as place:
        inputs, outputs = Path(place) / "given.npz", Path(place) / "made.npz"
        np.savez(inputs, **given)  # type: ignore[arg-type]  # numpy's stub takes the names for its own arguments
        subprocess.run([python, "-c", SPEAK, service, inputs, outputs], check=True)
        with np.load(outputs) as arrays:
            return dict(arrays)


def timed(call: Callable[[], object]) -> float:
    """Return the wall-clock seconds of a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def in_turn(rounds: int, *calls: Callable[[], object]) -> list[list[float]]:
    """Return the seconds of each call in each round, after one round that does not count."""
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        order = list(range(len(calls)))
        for index in order if number % 2 == 0 else reversed(order):
            taken[index].append(timed(calls[index]))
    return taken


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median of the paired ratios, with the smallest and the largest."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def speed(
    service: Path, model_dir: str | None, seconds: float, rounds: int, threads: int, estimator: str | None
) -> None:
    """Print real-time factors and the time to the first samples."""
    torch.set_num_threads(threads)
    forms = {} if estimator is None else {"estimator": estimator}
    voice = load_voice(service, threads=threads, trust=True, forms=forms)
    facts, one = voice.facts, utterance(voice, seconds)
    eager = modules(Family(facts.family), model_dir)
    prompt = one.prompt_token, one.prompt_mel, one.speaker
    noise = Noise(one.flow, one.source, one.phase)
    ours, theirs = in_turn(rounds, lambda: voice(one.token, *prompt, noise=noise), lambda: eager.speak(one))
    duration = one.source.shape[1] / facts.sample_rate
    rows = [("real-time factor", [each / duration for each in ours], [each / duration for each in theirs])]
    if facts.chunk:
        del eager
        first = utterance(voice, CHUNK * facts.frames_per_token * facts.hop / facts.sample_rate)
        tokens = [*first.token[0], *one.token[0][: facts.lookahead]]
        streaming = modules(Family(facts.family), model_dir, streaming=True)
        again = Noise(one.flow, one.source, one.phase)
        taken = in_turn(
            rounds,
            lambda: next(voice.stream(iter(tokens), *prompt, noise=again, chunk=CHUNK)),
            lambda: streaming.speak(first),
        )
        rows.append(("seconds to the first samples", *taken))
    print("| figure | voice | PyTorch | PyTorch / voice |\n| --- | ---: | ---: | ---: |")
    for name, own, other in rows:
        print(f"| {name} | {statistics.median(own):.3f} | {statistics.median(other):.3f} | {ratios(own, other)} |")


def vocoder(service: Path, history: Sequence[float], rounds: int, threads: int) -> None:
    """Print the time that the vocoder takes for one more second."""
    voice = load_voice(service, threads=threads, trust=True)
    facts = voice.facts
    second = round(facts.sample_rate / facts.hop)
    print("| seconds before | a window | all frames | all / window |\n| ---: | ---: | ---: | ---: |")
    for duration in history:
        rng = np.random.default_rng(0)
        mel = speech_mel(rng, round(duration * second) + second, facts.mel).T[np.newaxis]
        noise = Noise(source=rng.standard_normal((1, mel.shape[2] * facts.hop, facts.harmonics), np.float32))

        def window(mel: np.ndarray = mel, noise: Noise = noise) -> float:
            stream = VocoderStream(voice.vocoder, facts, noise)
            stream.push(mel[:, :, :-second])
            return timed(lambda: stream.push(mel[:, :, -second:]))

        pieces, wholes = [], []
        for _ in range(rounds):
            pieces.append(window())
            wholes.append(timed(lambda mel=mel, noise=noise: voice.vocode(mel, noise=noise)))  # type: ignore[misc]
        print(
            f"| {duration:g} | {statistics.median(pieces):.3f} s | {statistics.median(wholes):.3f} s "
            f"| {ratios(pieces, wholes)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("exact", "speed", "vocoder"))
    parser.add_argument("service", type=Path)
    parser.add_argument("--model-dir")
    parser.add_argument("--estimator", help="the form of the estimator, such as graph, lowered or openvino")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0])
    parser.add_argument("--long", type=float, nargs="+", default=[])
    parser.add_argument("--history", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    if given.what == "exact":
        exact(given.service, given.model_dir, given.seconds, given.long, given.python)
    elif given.what == "speed":
        speed(given.service, given.model_dir, given.seconds[0], given.rounds, given.threads, given.estimator)
    else:
        vocoder(given.service, given.history, given.rounds, given.threads)


if __name__ == "__main__":
    main()
