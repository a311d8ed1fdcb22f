"""The normal form of a graph before lowering, and the facts on nodes and values that the rules need."""

from __future__ import annotations

import onnx
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import version_converter

from cosybuild.errors import PrecisionError
from cosybuild.precision.storage import BF16, Storage

# The first opset in which Conv, InstanceNormalization, Softplus, Sin, ... have a bfloat16 variant.
_BFLOAT16_OPSET = 22
_CONVERTIBLE_OPSET = 18
# The first opset in which Cast has a bfloat16 variant, without which no tensor can be lowered.
_BFLOAT16_CASTS = 13

CONTRACTIONS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention"})
NORMALISATIONS = frozenset(
    {"LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization", "BatchNormalization"}
)
SUMS = frozenset(
    {
        "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceProd", "CumSum", "GlobalAveragePool",
    }
)  # fmt: skip
MOVES = frozenset(
    {
        "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Slice", "Gather", "Split",
        "Concat", "Pad", "Tile", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth", "Dropout",
    }
)  # fmt: skip
"""Operators that only move values: every element of the result is an element of an input, or Pad's constant."""
EXACT = MOVES | {"Neg", "Abs", "Relu", "Max", "Min", "Where"}
"""Operators whose results need no rounding: if the inputs are representable in a type, the results are too."""
INDIFFERENT = frozenset({"Shape", "Size"})
"""Operators that read only the shape of a tensor, not its values or type."""


def prepare(model: ir.Model, storage: Storage) -> None:
    """Convert a graph to normal form, in place. A graph in normal form is not changed.

    In normal form, functions are inlined, constants are initialisers, nodes and values have unique names, and every
    value has a type. If `storage` is bfloat16, a graph of an opset below 13 or from 18 to 21 is also converted to opset
    22, the first in which convolutions have that type.

    Raises:
        PrecisionError: types cannot be inferred; the graph has an opset without bfloat16 and cannot be converted; or it
            computes in another 16-bit type or has no float32 tensor.
    """
    if storage is BF16 and opset_of(model) < _BFLOAT16_CASTS:
        _raise_opset(model)
    if model.functions:
        passes.InlinePass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.NameFixPass()(model)
    if storage is BF16 and _CONVERTIBLE_OPSET <= opset_of(model) < _BFLOAT16_OPSET:
        version_converter.convert_version(model, _BFLOAT16_OPSET)
        for node in model.graph.all_nodes():
            node.version = None
    passes.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)
    for node in model.graph:
        for value in node.outputs:
            if value.type is None and (value.uses() or value.is_graph_output()):
                if node.domain and "Quant" in node.op_type:
                    raise PrecisionError(
                        f"{node.op_type} {node.name} of {node.domain} computes with 8-bit weights, and ONNX does not "
                        "state its types, so the graph cannot be lowered further.",
                        hint="Next: precision=fp32 keeps the graph as it was quantized; for fp16, name the file before "
                        "its quantization with model.path.",
                    )
                raise PrecisionError(
                    f"The type of {value.name}, made by {node.op_type} {node.name}, cannot be inferred, so the graph "
                    "cannot be typed.",
                    hint="Next: precision=fp32, or an operator of the standard ONNX domain in its place.",
                )
    _check_types(model, storage)


def _raise_opset(model: ir.Model) -> None:
    """Convert a graph to opset 18, in place.

    Raises:
        PrecisionError: ONNX's converter does not support the graph, for example one of its operators.
    """
    opset = opset_of(model)
    try:
        raised = ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), _CONVERTIBLE_OPSET))
    # The converter raises RuntimeError of several kinds, and ValueError for a graph above 2 GB.
    except (RuntimeError, ValueError) as error:
        raise PrecisionError(
            f"The graph has opset {opset}, in which Cast has no bfloat16, and ONNX's converter cannot raise it: "
            f"{' '.join(str(error).split())[:200]}",
            hint=f"Next: precision=fp16; or export the model again with opset {_BFLOAT16_CASTS} or later.",
        ) from error
    model.graph = raised.graph
    model.ir_version = raised.ir_version


def _check_types(model: ir.Model, storage: Storage) -> None:
    """Refuse a graph with types that cannot be lowered to `storage`, so that its name does not state a wrong precision.

    Raises:
        PrecisionError: the graph computes in another 16-bit type, or has float64 tensors and no float32 tensor.
    """
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    kinds = {value.type.dtype for value in values if isinstance(value.type, ir.TensorType)}
    own = ir.DataType[storage.name]
    other = ({ir.DataType.FLOAT16, ir.DataType.BFLOAT16} - {own}) & kinds
    if other:
        kind, same = next(iter(other)).name.lower(), "bf16" if storage.name == "FLOAT16" else "fp16"
        first = next(v for v in values if isinstance(v.type, ir.TensorType) and v.type.dtype in other)
        raise PrecisionError(
            f"The graph computes in {kind} already: {first.name} has this type. Its values cannot be lowered to "
            f"{storage.name.lower()}.",
            hint=f"Next: precision=fp32, which keeps the graph's own types, or precision={same}.",
        )
    if ir.DataType.DOUBLE in kinds and not kinds & {ir.DataType.FLOAT, own}:
        raise PrecisionError(
            f"The graph computes in float64 and has no float32 tensor, so that nothing can be lowered to "
            f"{storage.name.lower()}.",
            hint="Next: precision=fp32, which keeps the graph's own types; or export the model in float32.",
        )


def opset_of(model: ir.Model) -> int:
    """Return the opset version of the default ONNX domain; 1 if the graph does not import that domain."""
    return model.opset_imports.get("", 1)


def is_float(value: ir.Value | None) -> bool:
    """Return True if a value is a float32 tensor, the type that lowering replaces."""
    return value is not None and isinstance(value.type, ir.TensorType) and value.type.dtype == ir.DataType.FLOAT


def float_inputs(node: ir.Node) -> list[ir.Value]:
    """Return the float32 inputs of a node, including constants."""
    return [value for value in node.inputs if value is not None and is_float(value)]


def float_outputs(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.outputs if is_float(value)]


def computed_inputs(node: ir.Node) -> list[ir.Value]:
    """Return the float32 inputs of the node that are not constants."""
    return [value for value in float_inputs(node) if not value.is_initializer()]


def nodes_to_decide(model: ir.Model) -> list[ir.Node]:
    """Return the nodes that can stay in fp32 or be lowered, in graph order.

    They have a float32 input or output, and read more than shapes.
    """
    return [
        node for node in model.graph if node.op_type not in INDIFFERENT and (float_inputs(node) or float_outputs(node))
    ]


def constant_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor of an initialiser; None for a computed value."""
    return value.const_value if value is not None and value.is_initializer() else None


def name_of(item: ir.Node | ir.Value) -> str:
    """Return the name of a node or value. In normal form, each has one."""
    assert item.name
    return item.name


def made_names(model: ir.Model) -> set[str]:
    """Return the names of the values that the graph's nodes compute."""
    return {name_of(value) for node in model.graph for value in node.outputs if value.name}
