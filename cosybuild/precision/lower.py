"""Lowering: makes a strongly typed graph from a float32 graph and the set of nodes that stay in fp32.

Casts are inserted only where types differ. The graph library is onnx_ir. Its values have their type, producer and
users, so a cast is inserted by replacing inputs, names stay, and weights are converted one at a time. Existing
converters are not used, for the following reasons. `onnxruntime.transformers.float16` rewrites by name with casts
around every blocked node (and leaves pairs that cancel), renames tensors and does not support bfloat16. ModelOpt's
converter requires its own graph sanitising, which takes most of a minute, and pins another version of onnx.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from cosybuild.errors import PrecisionError
from cosybuild.precision.constants import convert_constant
from cosybuild.precision.decide import Decisions
from cosybuild.precision.graph import INDIFFERENT, constant_of, is_float, name_of, opset_of
from cosybuild.precision.slots import slots_of
from cosybuild.precision.storage import Storage


@dataclass(frozen=True)
class Lowered:
    """A lowered graph (each tensor's type is explicit), and the changes that made it.

    Attributes:
        model: the new graph; it shares unchanged tensors with the old graph.
        casts: number of inserted casts.
        converted: names of the initialisers that have a version in the 16-bit type.
        duplicated: those of `converted` that exist in float32 too.
    """

    model: ir.Model
    casts: int
    converted: tuple[str, ...]
    duplicated: tuple[str, ...]


def lower(model: ir.Model, decisions: Decisions) -> Lowered:
    """Return a graph with the nodes of `decisions.kept` in float32 and all other nodes in the 16-bit type.

    The function is pure: `model` (prepared by `graph.prepare`) is not changed, and equal arguments give equal graphs.
    Index and boolean tensors, sub-graphs, and inputs that an operator takes in float32 only are not converted.

    Raises:
        PrecisionError: a node that is not kept has no variant in the 16-bit type.
    """
    copy = ir.Model(
        model.graph.clone(), ir_version=model.ir_version, producer_name=model.producer_name,
        producer_version=model.producer_version, domain=model.domain, model_version=model.model_version,
        doc_string=model.doc_string,
    )  # fmt: skip
    copy.metadata_props.update(model.metadata_props)
    return _Lowering(copy, decisions).run()


class _Lowering:
    def __init__(self, model: ir.Model, decisions: Decisions) -> None:
        self._model = model
        self._decisions = decisions
        self._storage: Storage = decisions.storage
        self._lower = ir.DataType[decisions.storage.name]
        self._casts: dict[ir.Value, ir.Value] = {}
        self._names = {name_of(v) for n in model.graph.all_nodes() for v in n.outputs if v.name}
        self._names |= {name_of(v) for v in model.graph.inputs} | set(model.graph.initializers)

    def run(self) -> Lowered:
        graph = self._model.graph
        wanted = self._wanted_types()
        floats = [value for value in graph.inputs if is_float(value)]
        floats += [value for node in graph for value in node.outputs if is_float(value)]
        constants = [value for value in graph.initializers.values() if is_float(value)]
        self._type_nodes()
        if self._decisions.match_io:
            for value in graph.inputs:
                if is_float(value) and not value.is_initializer():
                    value.type = ir.TensorType(self._lower)
        converted_names, duplicated = [], []
        for value in constants:
            lowered_uses = [use for use in value.uses() if wanted.get(use) is self._lower]
            if not lowered_uses:
                continue
            converted_names.append(name_of(value))
            others = any(wanted.get(use) is ir.DataType.FLOAT for use in value.uses())
            if not others and not value.is_graph_output():
                self._convert(value)
            else:
                duplicated.append(name_of(value))
                twin = self._twin(value)
                for node, index in lowered_uses:
                    node.replace_input_with(index, twin)
        for value in floats:
            for node, index in value.uses():
                want = wanted.get((node, index))
                if want is not None and want is not value.dtype:
                    node.replace_input_with(index, self._cast(value, want))
        self._type_outputs(floats)
        return Lowered(self._model, len(self._casts), tuple(converted_names), tuple(duplicated))

    def _wanted_types(self) -> dict[tuple[ir.Node, int], ir.DataType]:
        """Return the type that each use of a float32 tensor needs. Uses that read only the shape have no entry."""
        wanted = {}
        opset = opset_of(self._model)
        main = set(self._model.graph)
        self._outputs: dict[ir.Node, tuple[bool, ...]] = {}
        for node in self._model.graph.all_nodes():
            if node in main and node.op_type in INDIFFERENT:
                continue
            inputs = (False,) * len(node.inputs)
            if node in main and node.name not in self._decisions.kept:
                slots = slots_of(node, self._storage, opset)
                if not isinstance(slots, str):
                    inputs, self._outputs[node] = slots.inputs, slots.outputs
                elif any(map(is_float, (*node.inputs, *node.outputs))):
                    raise PrecisionError(f"{node.name} cannot be lowered: {slots}.", hint="Next: keep it in fp32.")
            for index, (value, low) in enumerate(zip(node.inputs, inputs, strict=True)):
                if is_float(value):
                    wanted[node, index] = self._lower if low else ir.DataType.FLOAT
        return wanted

    def _type_nodes(self) -> None:
        """Set the output types of lowered nodes, and the attributes of these nodes that state a type."""
        for node, outputs in self._outputs.items():
            for value, low in zip(node.outputs, outputs, strict=True):
                if low:
                    value.type = ir.TensorType(self._lower)
            if node.op_type == "Cast" and outputs[0]:
                node.attributes["to"] = ir.AttrInt64("to", self._lower)
            elif node.op_type == "ConstantOfShape" and outputs[0]:
                stated = node.attributes.get_tensor("value") if "value" in node.attributes else None
                fill = ir.tensor([0.0], dtype=ir.DataType.FLOAT) if stated is None else stated
                node.attributes["value"] = ir.AttrTensor("value", convert_constant(fill, self._storage, "value"))

    def _convert(self, value: ir.Value) -> None:
        tensor = constant_of(value)
        assert tensor is not None
        name = name_of(value)
        value.const_value = convert_constant(tensor, self._storage, name, self._decisions.clipped.get(name))
        value.type = ir.TensorType(self._lower)

    def _twin(self, value: ir.Value) -> ir.Value:
        """Add a copy of a constant in the 16-bit type to the graph, and return the copy.

        The constant itself stays in float32.
        """
        tensor = constant_of(value)
        assert tensor is not None
        name = self._fresh(f"{value.name}__{self._storage.suffix}")
        twin = ir.Value(
            name=name,
            shape=value.shape,
            type=ir.TensorType(self._lower),
            const_value=convert_constant(tensor, self._storage, name, self._decisions.clipped.get(name_of(value))),
        )
        self._model.graph.register_initializer(twin)
        return twin

    def _cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        """Return the tensor in the other type.

        There is one cast for each tensor, inserted directly after its producer.
        """
        if value in self._casts:
            return self._casts[value]
        suffix = self._storage.suffix if to is self._lower else "fp32"
        # The cast's name begins with the tensor's name, so that it has the path of the module that computes the tensor.
        node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", to)], name=f"{value.name}_cast_to_{suffix}")
        result = node.outputs[0]
        result.name = self._fresh(f"{value.name}__{suffix}")
        result.type = ir.TensorType(to)
        result.shape = value.shape
        producer = value.producer()
        if producer is not None:
            self._model.graph.insert_after(producer, node)
        else:
            self._model.graph.insert_before(self._first, node)
        self._casts[value] = result
        return result

    @property
    def _first(self) -> ir.Node:
        """The first node that is not an inserted cast.

        Casts of inputs are inserted before it, in the order of their creation.
        """
        made = {value.producer() for value in self._casts.values()}
        return next(node for node in self._model.graph if node not in made)

    def _type_outputs(self, floats: list[ir.Value]) -> None:
        """Convert the graph's outputs to the type of the interface, without a change of their names."""
        outputs = self._model.graph.outputs
        want = self._lower if self._decisions.match_io else ir.DataType.FLOAT
        for index, value in enumerate(outputs):
            if value not in floats or value.dtype is want:
                continue
            result = self._cast(value, want)
            if not value.is_graph_input():
                name = name_of(value)
                was = "fp32" if value.dtype is ir.DataType.FLOAT else self._storage.suffix
                value.name = self._fresh(f"{name}__{was}")
                result.name = name
            outputs[index] = result

    def _fresh(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name
