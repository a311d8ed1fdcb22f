"""Emulated runs of a lowered graph, which also find the first tensor that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.numerics.inputs import Array
from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.emulation import ROUNDED, emulate, float_names, maker_of
from cosybuild.precision.graph import made_names, name_of
from cosybuild.precision.probe import Probe, scalar_name


@dataclass(frozen=True)
class NonFinite:
    """The first tensor, in graph order, with an infinity or NaN at an element that is finite in the float32 graph.

    Attributes:
        tensor: the tensor's name.
        node: the name of the node that computes it.
        op: the node's operator.
        module: the node's module path.
        count: number of such elements.
        total: number of all elements.
        reference_max: largest finite magnitude of the same tensor in the float32 graph; NaN if the float32 graph has no
            such tensor.
    """

    tensor: str
    node: str
    op: str
    module: str
    count: int
    total: int
    reference_max: float

    def __str__(self) -> str:
        return (
            f"the first is {self.tensor}, made by {self.op} {self.node} (module {self.module or 'outermost'}): "
            f"{self.count} of {self.total} elements, where float32 reaches {self.reference_max:.4g}"
        )


class EmulatedSession:
    """A session that runs a lowered graph on the CPU, with every lowered tensor rounded to its storage type.

    Args:
        lowered: the lowered graph.
        reference: the float32 graph from which it was made; tensors with equal names correspond.
        threads: ONNX Runtime's intra_op_num_threads.
    """

    def __init__(self, lowered: ir.Model, reference: ir.Model, threads: int = 1) -> None:
        self._emulated = emulate(lowered)
        self._reference = reference
        self._threads = threads
        self._tensors = float_names(self._emulated)
        self._outputs = [name_of(value) for value in self._emulated.graph.outputs]
        # If a tensor has an infinity or a NaN, its sum is not finite. The sum of finite elements may overflow too, so
        # each suspect has to be confirmed.
        self._probe = Probe(self._emulated, reductions=("ReduceSum",), tensors=self._tensors, threads=threads)

    def infer(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], NonFinite | None]:
        """Return the outputs in float32, and the first tensor that is not finite, or None.

        Args:
            inputs: float32 inputs by name, which are rounded here; index inputs in their own type.
        """
        outputs, suspects = self.suspects(inputs)
        guilty = None
        for tensor in suspects:
            guilty = self._confirm(tensor, inputs)
            if guilty is not None:
                break
        return outputs, guilty

    def suspects(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], list[str]]:
        """Return the outputs in float32, and the names of the tensors whose sum is not finite, in graph order.

        These include masks that are infinite in the float32 graph too.
        """
        found = self._probe.run(inputs)
        tensors = [n for n in self._tensors if not np.isfinite(found[scalar_name(n, "ReduceSum")])]
        return {name: found[name] for name in self._outputs}, tensors

    def _origin(self, tensor: str) -> str | None:
        """Return the float32 graph's tensor or input that `tensor` equals or is a cast of; None if there is none."""
        known = made_names(self._reference)
        while tensor not in known:
            if tensor.endswith(ROUNDED):
                return tensor.removesuffix(ROUNDED)
            node = maker_of(self._emulated, tensor)
            if node.op_type != "Cast" or node.inputs[0] is None or node.inputs[0].producer() is None:
                return None
            tensor = name_of(node.inputs[0])
        return tensor

    def _expected(self, tensor: str, inputs: Mapping[str, Array]) -> Array:
        return Probe(self._reference, extra=[tensor], threads=self._threads).run(inputs)[tensor]

    def _confirm(self, tensor: str, inputs: Mapping[str, Array]) -> NonFinite | None:
        """Examine all elements of a suspect.

        Return None if each one that is not finite is not finite in float32 either.
        """
        values = Probe(self._emulated, extra=[tensor], threads=self._threads).run(inputs)[tensor]
        wrong = ~np.isfinite(values)
        origin = self._origin(tensor)
        largest = float("nan")
        if origin is not None:
            expected = inputs[origin] if origin in inputs else self._expected(origin, inputs)
            wrong &= np.isfinite(expected)
            largest = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
        if not wrong.any():
            return None
        node = maker_of(self._emulated, tensor)
        name = name_of(node)
        return NonFinite(tensor, name, node.op_type, module_path(name), int(wrong.sum()), wrong.size, largest)
