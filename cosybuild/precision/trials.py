"""Repeated lowerings of one graph, each with other additional nodes in fp32, and their verification."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.numerics.inputs import Array
from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.decide import Decisions, with_kept_nodes
from cosybuild.precision.emulated_session import EmulatedSession
from cosybuild.precision.emulation import float_names
from cosybuild.precision.graph import name_of, nodes_to_decide
from cosybuild.precision.lower import Lowered, lower
from cosybuild.precision.noise_profile import noise_by_module, profile
from cosybuild.precision.probe import Probe, scalar_name

REASON = "the gate fails without it"


@dataclass(frozen=True)
class Sample:
    """One case on which a lowered graph is verified.

    Attributes:
        name: the case's name in messages; unique among the samples.
        inputs: inputs by name in float32, rounded to the type of the graph's inputs.
        holds: function that takes the lowered graph's outputs in float32, and returns a description of the missed gate,
            or None if they pass.
    """

    name: str
    inputs: Mapping[str, Array]
    holds: Callable[[Mapping[str, Array]], str | None]


class Trials:
    """The lowerings of one float32 graph with different sets of additional nodes in fp32.

    Args:
        model: the float32 graph, prepared by `graph.prepare`; it is not changed.
        decisions: the decisions of the rules; the nodes that they keep stay in fp32 in every lowering.
        threads: ONNX Runtime's intra_op_num_threads.
    """

    def __init__(self, model: ir.Model, decisions: Decisions, threads: int = 1) -> None:
        self._model = model
        self.decisions = decisions
        self._threads = threads
        self._known: dict[str, set[str]] = {}

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names of the nodes that the rules lower and that could stay in fp32 instead, in graph order."""
        return tuple(
            name for node in nodes_to_decide(self._model) if (name := name_of(node)) not in self.decisions.kept
        )

    def suspects(self, sample: Sample) -> tuple[str, ...]:
        """Return the candidates sorted by module. Modules whose nodes add the most noise on this sample come first."""
        lowered = self.lowered(())[1].model
        found = noise_by_module(profile(lowered, self._model, sample.inputs, self._threads))
        return tuple(sorted(self.candidates, key=lambda name: -found.get(module_path(name), 0.0)))

    def lowered(self, names: Collection[str]) -> tuple[Decisions, Lowered]:
        """Lower the graph with the nodes `names` in fp32 as well; return the decisions and the lowered graph."""
        decisions = with_kept_nodes(self.decisions, self._model, names, REASON)
        return decisions, lower(self._model, decisions)

    def passes(self, names: Collection[str], samples: Iterable[Sample]) -> bool:
        """Lower the graph with the nodes `names` in fp32 as well; return True if it passes on every sample.

        This takes fewer runs than `failing`.
        """
        session = self._session(names)
        for sample in samples:
            outputs, suspects = session.suspects(sample.inputs)
            if not self._infinite(sample).issuperset(suspects) or sample.holds(outputs) is not None:
                return False
        return True

    def failing(self, names: Collection[str], samples: Iterable[Sample]) -> tuple[Sample, str] | None:
        """Return the first sample on which the graph with `names` in fp32 fails, and the failure; None if it passes."""
        session = self._session(names)
        for sample in samples:
            outputs, guilty = session.infer(sample.inputs)
            missed = str(guilty) if guilty is not None else sample.holds(outputs)
            if missed is not None:
                return sample, missed
        return None

    def _session(self, names: Collection[str]) -> EmulatedSession:
        return EmulatedSession(self.lowered(names)[1].model, self._model, self._threads)

    def _infinite(self, sample: Sample) -> set[str]:
        """Return the names of the tensors whose sum is not finite in the float32 graph either, e.g. masks."""
        if sample.name not in self._known:
            tensors = float_names(self._model)
            sums = Probe(self._model, reductions=("ReduceSum",), tensors=tensors, threads=self._threads)
            found = sums.run(sample.inputs)
            self._known[sample.name] = {n for n in tensors if not np.isfinite(found[scalar_name(n, "ReduceSum")])}
        return self._known[sample.name]
