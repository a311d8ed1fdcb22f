"""Compare the inputs and outputs of a graph with those that its specification (`ModelSpec`) declares."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from cosybuild.dtypes import DTYPES
from cosybuild.models.dimension import symbols_of
from cosybuild.models.spec import ModelSpec, TensorSpec


def graph_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that a caller must provide. Before IR version 4, `graph.input` also contains initializers."""
    initialised = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initialised]


def interface_faults(model: ModelProto, spec: ModelSpec, *, output_shapes: bool = True) -> tuple[str, ...]:
    """Return one phrase for each difference between a graph and its specification; empty if there is none.

    These are not differences: another symbol for a dynamic axis; an axis of an output whose size the graph does not
    state; and a fixed size for an axis of an output whose declared symbol no input has.

    Args:
        model: the graph.
        spec: the declared inputs and outputs.
        output_shapes: False to ignore the shapes of outputs, which are wrong in many files.
    """
    return (
        *_side_faults("input", graph_inputs(model.graph), spec.inputs, spec.symbols),
        *_side_faults("output", list(model.graph.output), spec.outputs, spec.symbols, output_shapes),
    )


def describe_interface(model: ModelProto) -> str:
    """Return a text with the inputs and outputs, e.g. `inputs x (2, 80, seq_len); outputs y (2, 80, seq_len)`."""
    sides = (("inputs", graph_inputs(model.graph)), ("outputs", list(model.graph.output)))
    return "; ".join(f"{side} {', '.join(map(_described, values))}" for side, values in sides)


def _described(value: ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    sizes = ", ".join(str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims)
    return f"{value.name} ({sizes})"


def declare_interface(model: ModelProto, spec: ModelSpec, *, keep_sizes: bool = True) -> None:
    """Write the declared sizes and the declared names of dynamic axes into a graph's inputs and outputs, in place.

    Args:
        model: the graph.
        spec: the declared inputs and outputs.
        keep_sizes: keep a fixed size of the graph for an axis of an output whose declared symbol no input has. The size
            says more than the symbol, unless a user declared the symbol to correct a wrong size of a file.
    """
    for values, tensors in ((graph_inputs(model.graph), spec.inputs), (list(model.graph.output), spec.outputs)):
        for value, tensor in zip(values, tensors, strict=True):
            shape = value.type.tensor_type.shape
            known = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in shape.dim]
            kept = keep_sizes and len(known) == len(tensor.shape) and tensor in spec.outputs
            known = known if kept else [None] * len(tensor.shape)
            shape.ClearField("dim")
            for size, own in zip(tensor.shape, known, strict=True):
                dim = shape.dim.add()
                if isinstance(size, str) and own is not None and not set(symbols_of(size)) & set(spec.symbols):
                    dim.dim_value = own
                elif isinstance(size, str):
                    dim.dim_param = size
                else:
                    dim.dim_value = size


def corrects_sizes(model: ModelProto, spec: ModelSpec) -> bool:
    """Return True if an axis of an output is declared as dynamic, and the graph states a fixed size for it."""
    return any(
        isinstance(size, str) and dim.HasField("dim_value") and dim.dim_value >= 0
        for value, tensor in zip(model.graph.output, spec.outputs, strict=True)
        for dim, size in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=False)
    )


def _side_faults(
    side: str,
    values: Sequence[ValueInfoProto],
    tensors: Sequence[TensorSpec],
    symbols: Sequence[str],
    shapes: bool = True,
) -> list[str]:
    names, declared = [value.name for value in values], [tensor.name for tensor in tensors]
    if names != declared:
        return [f"{side}s are {', '.join(names) or 'none'}; {', '.join(declared) or 'none'} are declared"]
    faults = []
    for value, tensor in zip(values, tensors, strict=True):
        kind = value.type.tensor_type.elem_type
        if kind != DTYPES[tensor.dtype].onnx:
            faults.append(f"{side} {tensor.name} is {TensorProto.DataType.Name(kind)}; {tensor.dtype} is declared")
        faults += _shape_faults(f"{side} {tensor.name}", value, tensor, symbols) if shapes else []
    return faults


def _shape_faults(where: str, value: ValueInfoProto, tensor: TensorSpec, symbols: Sequence[str]) -> list[str]:
    if not value.type.tensor_type.HasField("shape"):
        return []
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(tensor.shape):
        return [f"{where} has {len(dims)} axes; {len(tensor.shape)} are declared"]
    faults = []
    for axis, (dim, size) in enumerate(zip(dims, tensor.shape, strict=True)):
        # Some converters write -1 for an axis of any size.
        fixed = dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        if isinstance(size, str) and fixed is not None and set(symbols_of(size)) & set(symbols):
            faults.append(f"{where} has axis {axis} frozen at {fixed}; the dynamic axis {size} is declared")
        elif isinstance(size, int) and fixed is not None and fixed != size:
            faults.append(f"{where} has {fixed} on axis {axis}; {size} is declared")
        elif isinstance(size, int) and fixed is None and where.startswith("input"):
            faults.append(f"{where} has axis {axis} dynamic; {size} is declared")
    return faults
