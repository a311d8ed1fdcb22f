"""Lowering with NVIDIA ModelOpt's AutoCast, as an alternative to this package's rules, with the same settings."""

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

# The exceptions that AutoCast's own checks, onnx and ONNX Runtime's session raise.
_REFUSALS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def autocast(
    path: Path, model: ir.Model, sample: Mapping[str, Array], settings: PrecisionSettings, scratch: Path
) -> onnx.ModelProto:
    """Return the mixed-precision graph that ModelOpt's AutoCast makes of the file at `path`.

    AutoCast applies its own rules, with `data_max` 512 if the setting is not set. It measures ranges on one sample, and
    sanitises the graph first. It has no equivalent of `init_min`.

    Args:
        path: the file of the float32 graph.
        model: the same graph, prepared by `graph.prepare`; the patterns of `keep_fp32` are matched against its nodes.
        sample: inputs by name.
        settings: the target type, the limits and the patterns.
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
    """Return the report of AutoCast's graph, on the nodes that kept their names.

    Args:
        model: the float32 graph, prepared by `graph.prepare`.
        lowered: AutoCast's graph.
        ranges: the measured ranges and shapes; only the shapes are used.
        settings: the target type, and the type of inputs and outputs.
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
