"""The stage that measures the error that each node of the lowered graph adds.

It imports onnx and ONNX Runtime only when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cosybuild import figure
from cosybuild.building.stage import RunContext, Stage
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.verification.cases import Case
from cosybuild.verification.lowered_gates import to_float32, typed_inputs
from cosybuild.verification.scope import lowered_cases_of

LONGEST = 128
"""Largest number of frames of the measured case. Every tensor of the graph is an output of this run, which takes much
memory, and the errors hardly depend on the length.
"""


class ProfileStage(Stage[Request]):
    """The stage that measures the noise of every node. It fills the slot `lowered_profile`.

    It runs before the step `verify lowered`, so that a graph that fails there has a noise profile too.
    """

    name = "profile"
    does = "measures the noise of each layer"
    version = 1
    needs = ("lowered", "graph")
    makes = ("lowered_profile",)
    packages = ("onnx-ir", "onnxruntime", "onnxruntime-gpu")
    deterministic = False

    def settings(self, request: Request) -> Mapping[str, Any]:
        return {
            "target": request.settings.precision.target.value,
            "case": _case(request).facts(),
            "spec": request.subject.spec.facts(),
        }

    def run(self, context: RunContext) -> StageResult:
        import onnx_ir as ir

        from cosybuild.onnxgraph.files import load_model
        from cosybuild.precision.graph import prepare
        from cosybuild.precision.noise_profile import decibels, profile, profile_facts
        from cosybuild.precision.storage import storage_of

        request: Request = context.request
        storage = storage_of(request.settings.precision.target)
        assert storage is not None
        assert request.settings.verify is not None
        lowered, reference = (ir.from_proto(load_model(context.inputs[slot].path)) for slot in ("lowered", "graph"))
        prepare(reference, storage)
        case = _case(request)
        inputs = typed_inputs(case.inputs(request.subject.spec), lowered)
        taken = {name: to_float32(values) for name, values in inputs.items()}
        points = profile(lowered, reference, taken, request.settings.verify.threads)
        path = context.workdir / "profile.json"
        nodes = [{**asdict(point), "snr_db": decibels(point.noise)} for point in points]
        path.write_text(figure.dumps({"schema": 1, "case": case.facts(), "nodes": nodes}, indent=1) + "\n", "utf-8")
        return StageResult({"lowered_profile": [path]}, profile_facts(points, case.name))


def _case(request: Request) -> Case:
    """Return the largest case of the step `verify lowered` with at most `LONGEST` frames; else the smallest case."""
    several = lowered_cases_of(request)
    short = [case for case in several if max(case.draw.sizes.values(), default=0) <= LONGEST]
    return short[-1] if short else several[0]
