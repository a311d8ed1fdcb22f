"""Compare the cost of strict verification with that of upstream's ten lengths, on one graph, in turns.

    python benchmarks/verify_cost.py [--family cosyvoice2] [--streaming] [--rounds 3] [--longest 3000]

A check is the reference and the comparison, each with loading PyTorch's module and ONNX Runtime's sessions. It is timed
in processor time, which another load on the machine changes little, and in time on the clock. PyTorch takes the threads
it takes by itself, ONNX Runtime `verify.threads` (1). `--longest` is the profile's max; behind the ratios stands what
the last strict check spent its processor time on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra import compose, initialize_config_dir

from cosybuild.backends import onnxruntime_backend, torch_backend
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.parse import parse
from cosybuild.digest import digest_of
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from cosybuild.stages.export import ExportStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.stages.verify import EXPORTED, VerifyStage
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.verification.cases import CHEAP_SIZE

CHECKS = ("upstream", "strict")
RUNS = ("PyTorch", "ONNX Runtime")
WATCHED: tuple[tuple[Any, str, str], ...] = (
    (torch_backend.TorchSession, "infer", RUNS[0]),
    (onnxruntime_backend.OnnxRuntimeSession, "infer", RUNS[1]),
    (onnxruntime_backend, "load", "loading sessions"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="cosyvoice2")
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", type=int, help="the profile's max in frames; default: the product's")
    options = parser.parse_args()
    words = [f"model={options.family}", f"model.streaming={str(options.streaming).lower()}", "verify.provider=cpu"]
    if options.longest is not None:
        words.append(f"trt_profile.profiles=[{{seq_len:{{min:4,opt:500,max:{options.longest}}}}}]")
    prepare()
    with tempfile.TemporaryDirectory() as directory:
        runner = Runner(Path(directory))
        asked = {check: request([*words, f"verify={check}"]) for check in CHECKS}
        exported = runner.run(ExportStage(), asked["strict"], {})["graph"]
        graph = runner.run(SimplifyStage(), asked["strict"], {"graph": exported})["graph"]
        print(f"{options.family}{', streaming' if options.streaming else ''}; {os.cpu_count()} processors")
        samples: dict[str, list[tuple[float, float]]] = {check: [] for check in CHECKS}
        for number in range(options.rounds):
            for check in CHECKS if number % 2 == 0 else reversed(CHECKS):
                with tallied() as seconds:
                    samples[check].append(timed(runner, asked[check], exported, graph))
                if check == "strict":
                    spent = seconds
                cpu, wall = samples[check][-1]
                load = " ".join(f"{value:.1f}" for value in os.getloadavg())
                print(
                    f"round {number + 1}: {check:<8} {cpu:7.1f} s processor, {wall:7.1f} s clock, load {load}",
                    flush=True,
                )
    for index, clock in enumerate(("processor time", "clock")):
        ratios = [s[index] / u[index] for s, u in zip(samples["strict"], samples["upstream"], strict=True)]
        print(f"{clock}: strict / upstream {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    plain = statistics.median(cpu for cpu, _ in samples["upstream"])
    for part, cpu in spent.items():
        print(f"strict: {part:<36} {cpu:6.1f} s processor, {cpu / plain:.2f} of the ten lengths")


def request(words: Sequence[str]) -> Request:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        settings = parse(compose("config", overrides=list(words)))
    return Request(settings, resolve_subject(settings.model, settings.model_dir, settings.export.dynamic_batch))


def timed(runner: Runner, asked: Request, exported: Artifact, graph: Artifact) -> tuple[float, float]:
    """Return the processor and wall-clock seconds of one check."""
    cpu, wall = time.process_time(), time.perf_counter()
    reference = runner.run(ReferenceStage(), asked, {})["reference"]
    runner.run(VerifyStage(), asked, {"graph": graph, EXPORTED: exported, "reference": reference})
    return time.process_time() - cpu, time.perf_counter() - wall


@contextmanager
def tallied() -> Iterator[dict[str, float]]:
    """Measure the processor seconds of each kind of call while the context is open."""
    seconds: dict[str, float] = {}

    def watch(call: Any, part: str) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            begun = time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                name = part + (_size(arguments[1]["x"].shape[-1]) if part in RUNS else "")
                seconds[name] = seconds.get(name, 0.0) + time.process_time() - begun

        return watched

    with ExitStack() as stack:
        for holder, name, part in WATCHED:
            stack.enter_context(patch.object(holder, name, watch(getattr(holder, name), part)))
        yield seconds


def _size(frames: int) -> str:
    return f", {frames} frames" if frames > CHEAP_SIZE else f", up to {CHEAP_SIZE} frames"


class Runner:
    """Runs single stages, each in a separate directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runs = 0

    def run(self, stage: Stage[Any], asked: Request, inputs: dict[str, Artifact]) -> dict[str, Artifact]:
        self._runs += 1
        workdir = self._directory / str(self._runs)
        workdir.mkdir()
        result = stage.run(RunContext(asked, inputs, workdir, lambda kind, **facts: None))
        return {slot: _artifact(slot, paths) for slot, paths in result.outputs.items()}


def _artifact(slot: str, paths: Sequence[Path]) -> Artifact:
    files = (StoredFile(path.name, path, digest_of(path), path.stat().st_size) for path in paths)
    return Artifact(slot, tuple(files))


if __name__ == "__main__":
    main()
