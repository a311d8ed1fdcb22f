"""Measure the cost of the export stage over a call of its exporter, on the same module.

    python benchmarks/export_overhead.py [--family cosyvoice2] [--exporter torchscript] [--rounds 5]

Each round runs both in separate processes, in turns A B, B A, ..., so that other programs slow
both. A, only the call: the module is loaded, then the clock runs from `torch.onnx.export` to the written
file. B, the stage: the same module is loaded before the clock starts too; the clock then runs over everything
else the stage does: export, cleaning, checking, writing. Figures are medians; the ratio is the median of the
rounds' ratios. CPU seconds are more reliable on a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

BOUND = 1.15


def bare(options: argparse.Namespace, directory: Path) -> None:
    import torch

    from cosybuild.models.load import load_module, prepare_for_export
    from cosybuild.numerics.inputs import Draw, draw_inputs

    spec = _request(options).subject.spec
    module = prepare_for_export(load_module(_request(options).subject, None))
    example = tuple(torch.from_numpy(a) for a in draw_inputs(spec, Draw({"seq_len": 23})).values())
    names = {"input_names": [t.name for t in spec.inputs], "output_names": [t.name for t in spec.outputs]}
    _start()
    with torch.no_grad():
        if options.exporter == "torchscript":
            axes = {t.name: t.dynamic_axes for t in (*spec.inputs, *spec.outputs)}
            torch.onnx.export(
                module,
                example,
                str(directory / "bare.onnx"),
                dynamo=False,
                opset_version=18,
                dynamic_axes=axes,
                **names,
            )
        else:
            shapes = tuple(t.dynamic_axes for t in spec.inputs)
            torch.onnx.export(
                module, example, str(directory / "bare.onnx"), dynamo=True, opset_version=18, dynamic_shapes=shapes,
                external_data=False, verbose=False, **names,
            )  # fmt: skip
    _stop()


def stage(options: argparse.Namespace, directory: Path) -> None:
    from cosybuild.building.stage import RunContext
    from cosybuild.models import load
    from cosybuild.stages.export import ExportStage

    request = _request(options)
    module = load.load_module(request.subject, None)
    load.load_module = lambda *_: module  # loaded before the clock starts, as for A
    _start()
    ExportStage().run(RunContext(request, {}, directory, lambda kind, **facts: None))
    _stop()


def _request(options: argparse.Namespace) -> Any:
    from cosybuild.config.groups.export import Exporter, ExportSettings
    from cosybuild.config.groups.model import Family, ModelSettings
    from cosybuild.config.settings import Settings
    from cosybuild.models.resolve import resolve_subject
    from cosybuild.request import Request

    model = ModelSettings(family=Family(options.family))
    export = ExportSettings(exporter=Exporter(options.exporter))
    return Request(Settings(model=model, export=export), resolve_subject(model, None, False))


_clock: tuple[float, float] = (0.0, 0.0)


def _start() -> None:
    global _clock  # noqa: PLW0603 - one clock a process
    _clock = time.perf_counter(), time.process_time()


def _stop() -> None:
    seconds, cpu = time.perf_counter() - _clock[0], time.process_time() - _clock[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


def _measured(what: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", what, "--family", options.family, "--exporter", options.exporter]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]  # it is there
    parser.add_argument("--family", default="cosyvoice2")
    parser.add_argument("--exporter", default="torchscript", choices=["torchscript", "dynamo"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["bare", "stage"], help="run one of the two in this process")
    options = parser.parse_args()
    if options.only:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as directory:
            {"bare": bare, "stage": stage}[options.only](options, Path(directory))
        return
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "stage": []}
    for index in range(options.rounds):
        for what in ("bare", "stage") if index % 2 == 0 else ("stage", "bare"):
            runs[what].append(_measured(what, options))
    print(f"{options.family}, {options.exporter}, opset 18, {options.rounds} rounds\n")
    print("| | seconds | CPU seconds | peak of the process, MB |\n|---|---|---|---|")
    for what, label in (("bare", "torch.onnx.export alone"), ("stage", "the export stage")):
        seconds, cpu, peak = (statistics.median(run[key] for run in runs[what]) for key in ("seconds", "cpu", "peak"))
        print(f"| {label} | {seconds:.2f} | {cpu:.2f} | {peak / 1e6:.0f} |")
    ratios = {
        key: statistics.median(b[key] / a[key] for a, b in zip(runs["bare"], runs["stage"], strict=True))
        for key in ("seconds", "cpu")
    }
    verdict = "within" if ratios["seconds"] <= BOUND else "OVER"
    print(f"\nratio {ratios['seconds']:.2f} of seconds, {ratios['cpu']:.2f} of CPU seconds: {verdict} {BOUND}")


if __name__ == "__main__":
    main()
