"""Lowering by NVIDIA ModelOpt's AutoCast with the same settings, as an alternative to the rules."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from cosybuild.config.groups.precision import InputOutput, PrecisionSettings
from cosybuild.errors import PrecisionError
from cosybuild.lazy import require
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.npz import save_arrays
from cosybuild.precision.flops import lowered_share
from cosybuild.precision.graph import float_inputs, float_outputs, name_of, nodes_to_decide
from cosybuild.precision.patterns import matching_nodes
from cosybuild.precision.ranges import Ranges
from cosybuild.precision.report import group_by_reason
from cosybuild.precision.storage import storage_of

_REASON = "ModelOpt AutoCast keeps it"

# The exceptions of AutoCast's own checks, of onnx, and of ONNX Runtime's session.
_REFUSALS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def autocast(
    path: Path, model: ir.Model, sample: Mapping[str, Array], settings: PrecisionSettings, scratch: Path
) -> onnx.ModelProto:
    """Return ModelOpt's mixed precision graph of the file at `path`.

    AutoCast applies its own rules (`data_max` is 512 if not set), calibrates on one sample, and sanitises the graph
    first; it has no equivalent of `init_min`.

    Args:
        path: the float32 graph's file.
        model: the same graph in normal form; the patterns of `keep_fp32` are matched against it.
        sample: inputs by name.
        settings: the target, the limits and the patterns.
        scratch: a directory for the sample's file.

    Raises:
        MissingRequirement: ModelOpt or a package that it imports is not installed.
        PrecisionError: AutoCast fails.
    """
    module = require("modelopt.onnx.autocast", "precision.method=autocast")
    storage = storage_of(settings.target)
    assert storage is not None
    inputs = scratch / "autocast_inputs.npz"
    save_arrays(inputs, sample)
    excluded = {name_of(node) for glob in settings.keep_fp32 for node in matching_nodes(nodes_to_decide(model), glob)}
    limits = {"data_max": settings.data_max, "init_max": settings.init_max}
    # AutoCast logs every node that it skips; the build's report lists them already.
    logging.getLogger("modelopt").setLevel(logging.ERROR)
    logging.getLogger("modelopt.onnx").setLevel(logging.ERROR)
    try:
        answer: onnx.ModelProto = module.convert_to_mixed_precision(
            str(path),
            low_precision_type=storage.suffix,
            nodes_to_exclude=[f"^{re.escape(name)}$" for name in sorted(excluded)],
            keep_io_types=settings.io is InputOutput.keep,
            calibration_data=str(inputs),
            **{name: value for name, value in limits.items() if value is not None},
        )
    except _REFUSALS as error:
        raise PrecisionError(
            f"ModelOpt AutoCast failed on {path.name}: {type(error).__name__}: {error}",
            hint="Next: precision.method=rules.",
        ) from error
    finally:
        inputs.unlink()
    return answer


def autocast_report(
    model: ir.Model, lowered: onnx.ModelProto, ranges: Ranges, settings: PrecisionSettings
) -> dict[str, Any]:
    """Return the report of AutoCast's graph, for the nodes whose names AutoCast did not change.

    Args:
        model: the float32 graph in normal form.
        lowered: AutoCast's graph.
        ranges: the measured shapes are read from it.
        settings: the target and the types of inputs and outputs.
    """
    storage = storage_of(settings.target)
    assert storage is not None
    typed = ir.from_proto(lowered)
    nodes = nodes_to_decide(model)
    still = {
        node.name for node in typed.graph if node.op_type != "Cast" and (float_outputs(node) or float_inputs(node))
    }
    found = {node.name for node in typed.graph}
    kept = {name_of(node): _REASON for node in nodes if node.name in still}
    casts = sum(node.op_type == "Cast" for node in typed.graph) - sum(node.op_type == "Cast" for node in model.graph)
    return {
        "storage": storage.name,
        "io": settings.io.value,
        "nodes": {"all": len(model.graph), "float": len(nodes), "kept_fp32": len(kept)},
        "casts": casts,
        "flops_lowered": round(lowered_share(nodes, kept, ranges.shapes), 6),
        "kept_fp32": group_by_reason(nodes, kept),
        "not_found_again": [name_of(node) for node in nodes if node.name not in found],
    }
