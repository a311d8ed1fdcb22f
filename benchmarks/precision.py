"""Compare cosybuild's lowering with ModelOpt AutoCast on one graph: time, nodes kept, error, engine memory.

    python benchmarks/precision.py GRAPH.onnx [--target fp16] [--length 128] [--engine]

Both run in this process, one after the other, each from the file to the checked graph on disk, calibration
included, after their packages are imported. ModelOpt comes with `pip install 'cosybuild[autocast]'`; where
it is missing only cosybuild is measured. The error is measured with every value rounded as stored, against float32.
`--engine` also builds a TensorRT-RTX engine of each graph (SM 89, T = 4 / 500 / 3000).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from cosybuild.config.groups.precision import Method, PrecisionSettings, Target
from cosybuild.lazy import is_installed
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Array, Draw, Time, draw_inputs
from cosybuild.numerics.metrics import measure
from cosybuild.onnxgraph.check import check_model
from cosybuild.onnxgraph.files import load_model, save_model
from cosybuild.precision.autocast import autocast, autocast_report
from cosybuild.precision.decide import decide, examine_all
from cosybuild.precision.emulated_session import EmulatedSession
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import lower
from cosybuild.precision.probe import Probe
from cosybuild.precision.ranges import measure_ranges
from cosybuild.precision.report import lowering_report
from cosybuild.precision.storage import storage_of

_GENERATORS = {"mask": "mask", "t": "time", "cond": "mel"}
Made = tuple[onnx.ModelProto, dict[str, Any]]


def spec_of(model: onnx.ModelProto) -> ModelSpec:
    """Return the interface of the graph; inputs with names of CosyVoice's estimator have its generators."""

    def tensors(values: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                value.name,
                tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
                generator=_GENERATORS.get(value.name, "normal"),
            )
            for value in values
        )

    return ModelSpec(tensors(model.graph.input), tensors(model.graph.output))


def by_rules(path: Path, sample: Mapping[str, Array], settings: PrecisionSettings, _: Path) -> Made:
    storage = storage_of(settings.target)
    assert storage is not None
    model = ir.from_proto(load_model(path))
    prepare(model, storage)
    ranges = measure_ranges(model, [sample])
    constants = examine_all(model, storage)
    decisions = decide(model, ranges, settings, constants)
    lowered = lower(model, decisions)
    return ir.to_proto(lowered.model), lowering_report(model, ranges, decisions, lowered, constants)


def by_autocast(path: Path, sample: Mapping[str, Array], settings: PrecisionSettings, scratch: Path) -> Made:
    storage = storage_of(settings.target)
    assert storage is not None
    model = ir.from_proto(load_model(path))
    prepare(model, storage)
    proto = autocast(path, model, sample, settings, scratch)
    return proto, {"model": model, "sample": sample}


def run(
    make: Callable[[Path, Mapping[str, Array], PrecisionSettings, Path], Made],
    graph: Path,
    sample: Mapping[str, Array],
    settings: PrecisionSettings,
    scratch: Path,
) -> tuple[Path, dict[str, Any]]:
    """Lower the graph; return the file and its figures. The time ends when the file is on disk."""
    started, cpu = time.perf_counter(), time.process_time()
    proto, report = make(graph, sample, settings, scratch)
    check_model(proto)
    path = save_model(proto, scratch / f"{settings.method.value}.onnx")[0]
    spent = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    if settings.method is Method.autocast:
        model = report["model"]
        report = autocast_report(model, onnx.load(str(path)), measure_ranges(model, [sample]), settings)
    kept = report["nodes"]["kept_fp32"]
    return path, {**spent, "kept_fp32": kept, "casts": report["casts"], "flops_lowered": report["flops_lowered"]}


def error_of(graph: Path, lowered: Path, inputs: Mapping[str, Array]) -> dict[str, float]:
    """Return the error of the first output, with every lowered tensor rounded to its type."""
    reference = ir.load(str(graph))
    stored, guilty = EmulatedSession(ir.load(str(lowered)), reference).infer(inputs)
    expected = Probe(reference).run(inputs)
    name = next(iter(stored))
    figures = measure(stored[name], expected[name])
    return {"snr_db": figures["snr_db"], "max_abs": figures["max_abs"], "finite": float(guilty is None)}


def engine_memory(path: Path, spec: ModelSpec) -> dict[str, Any]:
    """Return the activation memory in the builder's log in bytes, and the build time in seconds."""
    import re

    import tensorrt_rtx as trt

    lines: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]  # no stubs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            lines.append(message)

    logger = Log()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        return {"refused": parser.get_error(0).desc()}
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    for tensor in spec.inputs:
        if tensor.dynamic_axes:
            profile.set_shape(tensor.name, *(tensor.resolve(dict.fromkeys(spec.symbols, n)) for n in (4, 500, 3000)))
    config.add_optimization_profile(profile)
    started = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    found = [int(n) for line in lines for n in re.findall(r"Total Activation Memory: (\d+)", line)]
    return {
        "activation_bytes": max(found, default=None),
        "engine_bytes": None if plan is None else plan.nbytes,
        "build_seconds": time.perf_counter() - started,
        "log": [line for line in lines if "emory" in line][:6] if not found else [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--target", default="fp16", choices=["fp16", "bf16"])
    parser.add_argument("--length", type=int, default=128, help="size of the dynamic axes in calibration")
    parser.add_argument("--engine", action="store_true", help="build TensorRT-RTX engines too")
    arguments = parser.parse_args()
    spec = spec_of(onnx.load(str(arguments.graph), load_external_data=False))
    sizes = dict.fromkeys(spec.symbols, arguments.length)
    sample = draw_inputs(spec, Draw(sizes, 0, padded=True, time=Time.end))
    makers = {Method.rules: by_rules}
    if is_installed("modelopt"):
        __import__("modelopt.onnx.autocast")
        makers[Method.autocast] = by_autocast
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for method, make in makers.items():
            settings = PrecisionSettings(target=Target(arguments.target), method=method)
            path, figures = run(make, arguments.graph, sample, settings, Path(directory))
            figures["error"] = error_of(arguments.graph, path, draw_inputs(spec, Draw(sizes, 1, padded=True)))
            if arguments.engine:
                figures["engine"] = engine_memory(path, spec)
            results[method.value] = figures
            print(method.value, json.dumps(figures), flush=True)
    if len(results) == 2:
        print(f"rules / autocast: {results['rules']['seconds'] / results['autocast']['seconds']:.3f}")


if __name__ == "__main__":
    main()
