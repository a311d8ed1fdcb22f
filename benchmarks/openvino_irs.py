"""OpenVINO IRs of the estimators against ONNX Runtime on the CPU: size, time of a call, signal-to-noise ratio.

    python benchmarks/openvino_irs.py [--family cosyvoice2] [--lengths 256 1000] [--rounds 6] [--threads 1]
                                      [--only NAME ...]

Full-size models with random weights. The first row of version 2 is a graph like upstream's in ONNX Runtime; the others
are made of the product's graph. `plain` is OpenVINO's hint without `ov.keep_fp32`. Times are processor time of this
process in interleaved rounds, so that other programs on the machine cost cache and not time; ratios are to the first
row. The signal-to-noise ratio is that of one call at the first length, against ONNX Runtime in float32. Prints a
Markdown table, and the precisions that the processor cannot compute in are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graph_quality import CONFIDENCE, MARGIN, ProcessorClock, exported, simplified, subject_of, table
from graph_variants import STEPS

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.openvino import session
from cosybuild.backends.openvino.convert import IrTask, convert
from cosybuild.backends.openvino.requirements import lacking_instructions
from cosybuild.benchmarking.rounds import Budget, measure_rounds
from cosybuild.benchmarking.timing import judge, median
from cosybuild.config.groups.openvino import OvPrecision, OvSettings
from cosybuild.config.groups.trt import Unmet
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.system.environment import Environment

UPSTREAM = next(iter(STEPS))
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "openvino fp32": ("fp32", ()),
    "openvino bf16": ("bf16", ("arithmetic", "phases")),
    "openvino bf16, plain": ("bf16", ()),
    "openvino fp16": ("fp16", ("phases",)),
    "openvino fp16, plain": ("fp16", ()),
}


def graphs(subject: Subject, directory: Path) -> Iterator[tuple[str, Path]]:
    """Write the graph like upstream's, where there is one, and that of a build."""
    from cosybuild.config.groups.export import ExportSettings

    if subject.family.value == "cosyvoice2":
        path = directory / "upstream.onnx"
        onnx.save(simplified(exported(UPSTREAM, subject, 18)), str(path))
        yield f"onnxruntime, {UPSTREAM}", path
    model, _ = export_graph(
        prepare_for_export(load_module(subject, None)),
        subject.spec,
        ExportSettings(),
        example_sizes(subject.spec, {}, ()),
    )
    path = directory / "product.onnx"
    onnx.save(simplified(model), str(path))
    yield "onnxruntime fp32", path


def sessions(subject: Subject, directory: Path, threads: int, only: Sequence[str]) -> Iterator[tuple[str, int, Any]]:
    """Yield name, size in bytes and session of each contestant."""
    path = directory
    for name, path in graphs(subject, directory):
        yield name, path.stat().st_size, onnxruntime_backend.load(path, threads=threads)
    profile = {"seq_len": SizeRange(4, 500, 3000)}
    for index, (name, (precision, keep)) in enumerate(OPTIONS.items()):
        if lacking_instructions(precision, Environment()) is not None or (only and name not in only):
            continue
        ir = directory / f"{index}.xml"
        settings = OvSettings(precision=OvPrecision(precision), keep_fp32=keep, on_unmet=Unmet.warn)
        report = convert(IrTask(path, ir, settings, (profile,), subject.spec), lambda kind, **facts: None)
        yield name, report["size_bytes"], session.load(ir, precision, threads=threads)


def rows(options: argparse.Namespace) -> Iterator[tuple[object, ...]]:
    subject = subject_of(options.family)
    budget = Budget(
        confidence=CONFIDENCE, half_width=0.005, max_seconds=1e9, warmup_seconds=0.0, min_rounds=options.rounds,
        max_rounds=options.rounds,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        found = list(sessions(subject, Path(directory), options.threads, options.only))
        given = draw_inputs(subject.spec, Draw({"seq_len": options.lengths[0]}, guidance=True))
        exact = next(one for name, _, one in found if name == "onnxruntime fp32").infer(given)["estimator_out"]
        ratios = {name: _snr(one.infer(given)["estimator_out"], exact) for name, _, one in found}
        for length in options.lengths:
            inputs = draw_inputs(subject.spec, Draw({"seq_len": length}, guidance=True))
            calls: dict[str, Callable[[], None]] = {name: one.bound(inputs) for name, _, one in found}
            samples = measure_rounds(calls, budget, ProcessorClock()).samples
            first = next(iter(samples))
            for name, size, _ in found:
                ratio = judge(samples[name], samples[first], confidence=CONFIDENCE, margin=MARGIN).ratio
                interval = f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
                yield length, name, f"{size / 1e6:.0f} MB", f"{median(samples[name]):.2f} s", interval, ratios[name]


def _snr(actual: Any, exact: Any) -> str:
    signal, error = np.asarray(exact, np.float64), np.asarray(actual, np.float64) - exact
    power = float((error**2).sum())
    return "exact" if power == 0 else f"{10 * np.log10(float((signal**2).sum()) / power):.1f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", default="cosyvoice2", choices=("cosyvoice1", "cosyvoice2", "cosyvoice3"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1000])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], choices=OPTIONS, help="IRs to time; the default is all")
    table(("frames", "artifact", "size", "processor time", "ratio to the first", "one call"), rows(parser.parse_args()))


if __name__ == "__main__":
    main()
