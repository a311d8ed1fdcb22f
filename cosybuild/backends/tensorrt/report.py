"""The report and the manifest of a built engine. The report names the source of each value."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from cosybuild.backends.tensorrt.builder import BuiltEngine
from cosybuild.backends.tensorrt.choice import Target, plan_advice
from cosybuild.backends.tensorrt.engine_facts import OpenedFacts, inspect_engine
from cosybuild.backends.tensorrt.library import RTX, TensorRtLibrary
from cosybuild.backends.tensorrt.verdicts import is_low, judge_attention, unmet_fusion, unmet_precision
from cosybuild.config.groups.trt import TrtSettings, Typing
from cosybuild.system.environment import Environment

_LOG, _NETWORK, _FILE, _ENGINE = "builder log", "network", "engine file", "engine inspector"
_LISTED = 20


def open_where_possible(
    library: TensorRtLibrary, path: Any, target: Target, environment: Environment
) -> OpenedFacts | None:
    """Deserialise and inspect the engine if this machine has the GPU for which it was built; else return None.

    Raises:
        EngineError: the machine has such a GPU, and the engine does not load.
    """
    if not any(target.sm in (None, gpu.sm) for gpu in environment.gpus):
        return None
    return inspect_engine(library, path)


def engine_report(
    built: BuiltEngine,
    target: Target,
    library: TensorRtLibrary,
    settings: TrtSettings,
    precision: str,
    opened: OpenedFacts | None,
) -> dict[str, Any]:
    """Return the report on a built engine as plain data.

    `unmet` and `unfused` hold a sentence for each way in which the engine does not meet the settings.

    Args:
        built: the engine file, with the facts of its build.
        target: the library and the GPU for which it was built.
        library: the library that built it.
        settings: the settings of the configuration group `trt`.
        precision: the precision to which the graph was lowered.
        opened: facts of the deserialised engine; None if it was not opened.
    """
    log, facts = built.log, built.facts
    activation = opened.activation_bytes if opened else log.activation_bytes
    attention = judge_attention(facts, activation)
    in_graph = settings.typing is Typing.strong
    unmet = (
        unmet_precision(facts, precision, settings.max_fp32_share)
        if in_graph
        else _unmet_by_inspector(opened, precision)
    )
    unfused = unmet_fusion(attention, precision)
    total = sum(facts.operations.values())
    # With weak typing, the builder chooses types itself, so the types of the network do not show those of the engine.
    shares = {dtype: round(n / total, 6) for dtype, n in facts.operations.items()} if total and in_graph else {}
    return {
        "built_for": f"sm_{target.sm}" if target.sm is not None else "the GPU here",
        "builder": library.title,
        "flavour": library.name,
        "version": library.version,
        "precision": precision,
        "typing": settings.typing.value,
        "parse_seconds": round(built.parse_seconds, 3),
        "build_seconds": round(built.build_seconds, 3),
        "size_bytes": _sourced(built.path.stat().st_size, _FILE),
        "activation_bytes": _sourced(list(activation), _ENGINE if opened else _LOG),
        "weights_bytes": _sourced(log.weights_bytes, _LOG),
        # The builder states the peak of the whole process since its start.
        "peak_host_bytes": _sourced(log.peak_host_bytes, "builder log, whole process"),
        "tensors": [
            {"name": t.name, "mode": t.mode, "dtype": t.dtype, "shape": list(t.shape)}
            for t in (opened.tensors if opened else facts.tensors)
        ],
        "layers": _sourced(
            dict(opened.layers if opened and opened.layers else facts.layers),
            _ENGINE if opened and opened.layers else _NETWORK,
        ),
        "arithmetic": {
            "operations": total,
            "share": shares,
            "source": _NETWORK,
        },
        "fp32_work": [w.name for w in facts.work if w.dtype == "FLOAT"][:_LISTED] if is_low(precision) else [],
        "attention": [verdict.as_plain() for verdict in attention],
        "timing_cache": "off: TensorRT-RTX does not measure kernels during the build" if library.name == RTX else "on",
        "warnings": list(log.warnings)[:_LISTED],
        "unmet": [] if unmet is None else [unmet],
        "unfused": [] if unfused is None else [unfused],
        "rest": plan_advice(library.name),
    }


def engine_manifest(
    report: dict[str, Any], target: Target, environment: Environment, source: dict[str, Any]
) -> dict[str, Any]:
    """Return the manifest of an engine. `write_manifest` adds the facts of the file to it.

    Args:
        report: the report of the engine.
        target: the library and the GPU for which it was built.
        environment: facts of this machine.
        source: facts of the graph and the weights from which it was built, and the settings.
    """
    gpu = next((gpu for gpu in environment.gpus if gpu.sm == target.sm), None)
    chosen = source["settings"]
    return {
        "built_for": {
            "flavour": report["flavour"],
            "version": report["version"],
            "cuda": cuda_release(report["flavour"]),
            "driver": environment.driver,
            "sm": target.sm if target.sm is not None else next((gpu.sm for gpu in environment.gpus), None),
            "gpu": None if gpu is None else gpu.name,
            "hardware_compatibility": chosen["hardware_compatibility"],
            "version_compatible": chosen["version_compatible"],
        },
        "built_from": {name: source[name] for name in ("onnx_sha256", "weights", "weights_sha256", "model")},
        "precision": report["precision"],
        "typing": report["typing"],
        "profiles": report["profiles"],
        "tensors": report["tensors"],
        "settings": chosen,
        "memory": {name: report[name] for name in ("activation_bytes", "weights_bytes", "peak_host_bytes")},
    }


def cuda_release(name: str) -> str | None:
    """Return the CUDA release in the name of an installed distribution of the library, e.g. `13`; None without one."""
    stem = name.replace("_", "-")
    for release in ("13", "12"):
        try:
            importlib.metadata.distribution(f"{stem}-cu{release}")
        except importlib.metadata.PackageNotFoundError:
            continue
        return release
    return None


def _unmet_by_inspector(opened: OpenedFacts | None, precision: str) -> str | None:
    if opened is None or not opened.layers or not is_low(precision):
        return None
    dtype = {"fp16": "HALF", "bf16": "BF16"}[precision]
    share = opened.layers.get(dtype, 0) / sum(opened.layers.values())
    if share > 0.5:
        return None
    return f"precision={precision} is set, but the builder chose it for {share:.0%} of the layers only"


def _sourced(value: Any, source: str) -> dict[str, Any]:
    return {"value": value, "source": source}
