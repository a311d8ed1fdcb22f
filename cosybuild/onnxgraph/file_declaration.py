"""Read the inputs and outputs of a user's ONNX file (`model=onnx`), and apply the user's declarations to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cosybuild.config.groups.model import ModelSettings, TensorSettings
from cosybuild.errors import ModelError
from cosybuild.models.dimension import terms_of
from cosybuild.models.shape_profile import BATCH
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec
from cosybuild.models.user_module.declared import declared_spec, is_declared
from cosybuild.onnxgraph.header import GraphPort, read_header
from cosybuild.onnxgraph.tables import table_sizes

TEST_VALUES = "test values follow"
"""The beginning of the sentence of `describe_test_values`. A run with real inputs removes the sentence."""

_AN = {
    "sequence": "a sequence",
    "map": "a map",
    "sparse tensor": "a sparse tensor",
    "optional": "an optional value",
    "other": "of an unknown kind",
}
# TensorProto.DataType -> name in messages, for element types that cosybuild does not support.
_FOREIGN = {8: "string", 14: "complex64", 15: "complex128", 17: "float8", 18: "float8", 19: "float8", 20: "float8"}


def spec_of_graph(path: Path, model: ModelSettings) -> ModelSpec:
    """Return the inputs and outputs of an ONNX file. The user's declarations have priority over the file.

    Without a declaration, the name, the type and the sizes of a tensor are those in the file. A symbol in the file
    becomes the name of a dynamic axis. An axis with neither size nor symbol is also dynamic: axis 0 gets the name
    `batch`, axis n of any input `axisN`, and axis n of any output `output_axisN`. If an input has such an axis 0, then
    axis 1 of an input with the shape of a recurrent layer's state (layers, batch, width) also gets the name `batch`.

    Args:
        path: the ONNX file.
        model: the settings of the group `model`, with the declarations `inputs` and `outputs`.

    Raises:
        ModelError: the file is incomplete, a declared name is not in it, or a value is not a tensor of a known type.
        ConfigurationError: a declaration is invalid.
    """
    if is_declared(model.inputs) and is_declared(model.outputs):
        return declared_spec(model)
    try:
        header = read_header(path)
        whole = [port.name for port in header.inputs if "int" in port.dtype]
        tables = table_sizes(path, whole) if whole else {}
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} is not a complete ONNX file: {error}.",
            hint="Next: download it again, or compare its size with the original's.",
        ) from error
    symbols = _Symbols()
    stated = {
        side: _completed(path, side, ports, declared, symbols)
        for side, ports, declared in (
            ("input", header.inputs, model.inputs),
            ("output", header.outputs, model.outputs),
        )
    }
    complete = replace(model, inputs=stated["input"], outputs=stated["output"])
    spec = declared_spec(complete, tables)
    axes = {s: Axis(least=0) for s in spec.symbols if re.search("past|cache", s)}
    return replace(spec, axes=axes)


class _Symbols:
    """Converts the symbols in an ONNX file to names of axes that cosybuild accepts.

    Such a name has letters, digits and underscores, or is a sum of such names. Equal symbols get equal names.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, side: str, axis: int, size: int | str) -> int | str:
        """Return the size of an axis if it is fixed, else the name of the axis.

        Args:
            side: `input` or `output`.
            axis: the position of the axis.
            size: the size or the symbol in the file; an empty text if the file has neither.
        """
        if isinstance(size, int):
            return size
        if not size:
            free = BATCH if axis == 0 else f"axis{axis}"
            return free if side == "input" else f"{side}_{free}" if axis else BATCH
        # A hyphen without blanks is a part of a name, such as `batch-size`.
        if terms_of(size) is not None and not re.search(r"\S-|-\S", size):
            return size
        if size not in self._names:
            plain = re.sub(r"\W+", "_", size).strip("_") or "axis"
            plain = plain if plain.isidentifier() else f"axis_{plain}"
            taken = list(self._names.values())
            self._names[size] = plain if plain not in taken else f"{plain}_{len(taken)}"
        return self._names[size]


def _completed(
    path: Path, side: str, ports: Sequence[GraphPort], declared: Sequence[TensorSettings], symbols: _Symbols
) -> tuple[TensorSettings, ...]:
    own: Mapping[str, TensorSettings] = {tensor.name: tensor for tensor in declared}
    unknown = [name for name in own if name not in {port.name for port in ports}]
    if unknown:
        raise ModelError(
            f"model.{side}s declares {unknown[0]}, but {path} has the {side}s "
            f"{', '.join(port.name for port in ports) or 'none'}.",
            hint="Next: `python -m cosybuild declare FILE.onnx` prints the declarations of a file.",
        )
    # (1, ?, 80) alone is more likely a sequence of features than a state.
    is_batched = side == "input" and any(port.shape[:1] == ("",) for port in ports)
    return tuple(
        _stated(path, side, port, own.get(port.name, TensorSettings(port.name)), symbols, is_batched) for port in ports
    )


def _stated(
    path: Path, side: str, port: GraphPort, own: TensorSettings, symbols: _Symbols, is_batched: bool
) -> TensorSettings:
    if port.kind != "tensor":
        raise ModelError(
            f"{path} has the {side} '{port.name}', which is {_AN[port.kind]}; only tensors can be verified and bound.",
            hint="Next: cut the graph before that value with onnx.utils.extract_model, and build the part.",
        )
    if port.dtype == "other" and own.dtype is None:
        kind = _FOREIGN.get(port.element, f"of element type {port.element}")
        raise ModelError(
            f"{path} has the {side} '{port.name}' with elements {kind}, which no runtime of a build can bind; expected "
            "are floating-point numbers, integers or bool.",
            hint="Next: cut the graph before or after that value with onnx.utils.extract_model, and build the part.",
        )
    if not port.has_rank and own.shape is None and side == "input":
        raise ModelError(
            f"{path} does not state the shape of the input '{port.name}'.",
            hint=f"Next: model.inputs=[{{name: {port.name}, shape: [1, n]}}], with one entry for each axis.",
        )
    shape = [symbols.name(side, axis, size) for axis, size in enumerate(port.shape)]
    if is_batched and _is_state(port):
        shape[1] = BATCH
    return replace(
        own,
        shape=shape if own.shape is None else own.shape,
        dtype=port.dtype if own.dtype is None else own.dtype,
    )


def _is_state(port: GraphPort) -> bool:
    """Return True if an input has the shape of a recurrent layer's state: (layers, batch, width).

    The layers and the width have fixed sizes; the batch has neither a size nor a symbol.
    """
    return len(port.shape) == len("LBW") and port.shape[1] == "" and all(isinstance(port.shape[i], int) for i in (0, 2))


def describe_test_values(spec: ModelSpec) -> tuple[str, ...]:
    """Return a sentence, for plan and report, about the inputs whose test values are not normally distributed.

    The result is a tuple with this sentence, or an empty tuple if there are no such inputs.
    """
    chosen = ", ".join(f"{tensor.name} {_values(tensor)}" for tensor in spec.inputs if tensor.generator != "normal")
    if not chosen:
        return ()
    return (f"{TEST_VALUES} from names, types and use: {chosen}; model.inputs states others",)


def _values(tensor: TensorSpec) -> str:
    if tensor.generator in ("uniform", "time", "integer"):
        last = tensor.high - 1 if tensor.generator == "integer" else tensor.high
        return f"{tensor.low:g} to {last:g}"
    return tensor.generator
