"""The conversion of an ONNX graph to an IR for the sizes of the profiles. It runs in a subprocess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cosybuild.backends.openvino.compiling import compile_ir, dtype_name, reason_of
from cosybuild.backends.openvino.executed_types import facts_of, layers_of, unmet
from cosybuild.backends.openvino.kept_in_fp32 import Kept, mark_kept
from cosybuild.backends.openvino.phases import phase_operators
from cosybuild.backends.openvino.requirements import weights_path
from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Answer, Died, call_in_subprocess
from cosybuild.config.groups.openvino import OvPrecision, OvSettings, OvWeights
from cosybuild.errors import OpenVinoError
from cosybuild.models.dimension import size_of
from cosybuild.models.shape_profile import Profile
from cosybuild.models.spec import ModelSpec


@dataclass(frozen=True)
class IrTask:
    """The task of the subprocess: the IR to make.

    Attributes:
        graph: the ONNX file to read.
        ir: the .xml file to write; its weights are written to the .bin file beside it.
        settings: the settings of the configuration group `ov`.
        profiles: the profiles with the sizes that the IR must take.
        spec: the model's inputs and outputs.
    """

    graph: Path
    ir: Path
    settings: OvSettings
    profiles: tuple[Profile, ...]
    spec: ModelSpec


def weights_of(settings: OvSettings) -> OvWeights:
    """Return the type in which the IR stores its weights: `ov.weights` if set, else the default of `ov.precision`."""
    plain = OvWeights.fp32 if settings.precision is OvPrecision.fp32 else OvWeights.fp16
    return plain if settings.weights is None else settings.weights


def convert_in_subprocess(task: IrTask, emit: Emit) -> Answer[dict[str, Any]]:
    """Convert the graph to an IR in a subprocess, compile it there, and return its report.

    Raises:
        OpenVinoError: OpenVINO refuses the graph or crashed, or the IR has other inputs or outputs than the model.
        ConfigurationError: a pattern of `ov.keep_fp32` matches no operator.
        MissingRequirement: OpenVINO is not installed or does not load.
    """
    try:
        return call_in_subprocess(convert, task, emit=emit)
    except Died as died:
        raise OpenVinoError(
            f"OpenVINO crashed while it made {task.ir.name}: {died}.",
            hint="Next: run the same command again, because memory may have been short; or try another export= or "
            "another version of openvino.",
        ) from died


def convert(task: IrTask, emit: Emit) -> dict[str, Any]:
    """Do in this process what `convert_in_subprocess` describes."""
    from cosybuild.lazy import require

    openvino = require("openvino", "An OpenVINO IR")
    settings, precision = task.settings, task.settings.precision.value
    emit("progress", what="reading the graph")
    try:
        model = openvino.Core().read_model(str(task.graph))
        model.reshape({name: _partial(openvino, axes) for name, axes in bounds(task.spec, task.profiles).items()})
        _check_interface(model, task.spec)
        _name_ports(model, task.spec)
        kept = Kept(settings.keep_fp32, phase_operators(openvino, model))
        kinds = {one.get_friendly_name(): one.get_type_name() for one in model.get_ordered_ops()}
        openvino.save_model(model, str(task.ir), compress_to_fp16=False)
        del model
        marked = mark_kept(task.ir, kept)
        if weights_of(settings) is OvWeights.fp16:
            _halve_weights(openvino, task.ir)
        weights = weights_path(task.ir)
        if not weights.stat().st_size:  # a graph without constants; an artifact has no empty file
            weights.write_bytes(b"\0")
        emit("progress", what="compiling")
        compiled = compile_ir(openvino, task.ir, precision, threads=1)
    except RuntimeError as error:
        raise OpenVinoError(
            f"OpenVINO {openvino.__version__} does not compile {task.graph.name} in {precision}: {reason_of(error)}",
            hint="Next: another ov.precision, export=opset17 or export.attention=spelled; ov=none builds without it.",
        ) from error
    layers = layers_of(compiled.model, kinds)
    return {
        "builder": f"openvino {openvino.__version__.partition('-')[0]}",
        "version": openvino.__version__,
        "device": str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "precision": precision,
        "weights": weights_of(settings).value,
        "kept_operators": marked,
        "operators": len(kinds),
        "executed": facts_of(layers),
        "unmet": unmet(layers, precision, kept, settings.max_fp32_share),
        "size_bytes": sum(path.stat().st_size for path in (task.ir, weights)),
    }


def _halve_weights(openvino: Any, ir: Path) -> None:
    """Store the weights of an IR in float16, except those of operators that OpenVINO must compute in float32.

    OpenVINO recognises these operators by the attribute that `mark_kept` wrote.
    """
    with TemporaryDirectory(dir=ir.parent) as place:
        halved = Path(place) / ir.name
        openvino.save_model(openvino.Core().read_model(str(ir)), str(halved), compress_to_fp16=True)
        for suffix in (".xml", ".bin"):
            halved.with_suffix(suffix).replace(ir.with_suffix(suffix))


def bounds(spec: ModelSpec, profiles: Sequence[Profile]) -> dict[str, list[int | tuple[int, int]]]:
    """Return input -> sizes of its axes: a fixed size, or (smallest, largest) over all profiles for a dynamic axis."""
    least = {symbol: min(profile[symbol].min for profile in profiles) for symbol in spec.symbols}
    most = {symbol: max(profile[symbol].max for profile in profiles) for symbol in spec.symbols}
    return {
        tensor.name: [(size_of(d, least), size_of(d, most)) if isinstance(d, str) else d for d in tensor.shape]
        for tensor in spec.inputs
    }


def _partial(openvino: Any, axes: Sequence[int | tuple[int, int]]) -> Any:
    return openvino.PartialShape([openvino.Dimension(*axis) if isinstance(axis, tuple) else axis for axis in axes])


def _check_interface(model: Any, spec: ModelSpec) -> None:
    """Raise an error if the inputs or outputs of the IR differ from the specification in name, type, rank or order."""
    for side, ports, tensors in (("inputs", model.inputs, spec.inputs), ("outputs", model.outputs, spec.outputs)):
        # A tensor that passes unchanged through several operators has several names.
        named = [next((t.name for t in tensors if t.name in port.get_names()), port.any_name) for port in ports]
        facts = [(dtype_name(port.element_type), len(port.partial_shape)) for port in ports]
        found = [(name, *fact) for name, fact in zip(named, facts, strict=True)]
        expected = [(tensor.name, tensor.dtype, len(tensor.shape)) for tensor in tensors]
        if found != expected:
            raise OpenVinoError(
                f"The {side} of the IR are {_listed(found)}; {_listed(expected)} are expected.",
                hint="Next: export the graph again; its inputs and outputs must have the order of the model.",
            )


def _name_ports(model: Any, spec: ModelSpec) -> None:
    """Leave each input and output only its name in the specification, so that a runtime finds it by that name."""
    for ports, tensors in ((model.inputs, spec.inputs), (model.outputs, spec.outputs)):
        for port, tensor in zip(ports, tensors, strict=True):
            port.get_tensor().set_names({tensor.name})


def _listed(ports: Sequence[tuple[str, str, int]]) -> str:
    return ", ".join(f"{name} ({dtype}, {axes} axes)" for name, dtype, axes in ports) or "none"


def interface(spec: ModelSpec) -> Mapping[str, Any]:
    """Return the inputs and outputs of an IR in the form of the manifest's field `interface`."""
    return {
        side: [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in tensors]
        for side, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs))
    }
