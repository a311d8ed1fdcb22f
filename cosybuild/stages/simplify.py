"""The stage that removes needless nodes with onnxsim. onnxsim, which imports torch, is imported only when it runs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.errors import SimplifyError
from cosybuild.lazy import require
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Array, Draw, draw_inputs
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.request import Request
from cosybuild.stages.export import graph_name, sizes_of_example
from cosybuild.stages.import_onnx import copied_graph
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.verification.graph_limits import graph_limits
from cosybuild.verification.judge import Limits, compare_outputs, first_fault

if TYPE_CHECKING:
    from onnx import ModelProto

_HINT = "Next: build with simplify=none, and report the graph to onnxsim."


class SimplifyStage(Stage[Request]):
    """The stage that fills the slot `graph` again, with a graph that computes the same with fewer nodes."""

    name = "simplify"
    does = "removes unnecessary nodes of the graph"
    version = 1
    needs = ("graph",)
    makes = ("graph",)
    packages = ("onnxsim", "onnx")

    def settings(self, request: Request) -> Mapping[str, Any]:
        simplify = request.settings.simplify
        assert simplify is not None
        # The artifact is delivered under this file name, so the name is in the key.
        # In a user's graph, the declared axes of outputs replace fixed sizes, which earlier releases kept.
        outputs = {} if request.subject.graph is None else {"outputs": "as declared"}
        return {**asdict(simplify), "spec": request.subject.spec.facts(), "file": graph_name(request), **outputs}

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        simplify, spec = request.settings.simplify, request.subject.spec
        assert simplify is not None
        graph = context.inputs["graph"]
        from cosybuild.onnxgraph.files import load_structure, save_model
        from cosybuild.onnxgraph.graph_identity import read_identity, write_identity
        from cosybuild.onnxgraph.interface import corrects_sizes, interface_faults
        from cosybuild.onnxgraph.summary import count_ops, op_difference

        structure = load_structure(graph.path)
        identity = read_identity(structure)
        before, limits = count_ops(structure), graph_limits(structure, VerifySettings(), request.subject)
        model, rounds = _simplified(graph, simplify.rounds)
        after = count_ops(model)
        metrics = {
            "nodes_before": sum(before.values()),
            "nodes_after": sum(after.values()),
            "ops": after,
            "op_difference": op_difference(before, after),
            "rounds": rounds,
        }
        # A declaration of outputs can correct the shapes that the file states.
        is_foreign = request.subject.graph is not None
        is_declared_so = not interface_faults(structure, spec) and not (is_foreign and corrects_sizes(structure, spec))
        if sum(after.values()) >= sum(before.values()) and is_declared_so:
            context.emit("note", message=f"onnxsim removed none of the {sum(before.values())} nodes")
            kept = copied_graph(graph, context.workdir, graph_name(request))
            return StageResult({"graph": kept}, {**metrics, "kept": "as it was"})
        _finish(model, spec, foreign=is_foreign)
        write_identity(model, identity)
        files = save_model(model, context.workdir / graph_name(request))
        del model
        for seed in range(simplify.check_runs):
            sizes = sizes_of_example(request)
            inputs = draw_inputs(spec, Draw(sizes, seed))
            for line in _check_equal(request.subject, graph.path, files[0], inputs, seed, limits):
                context.emit("warning", message=line)
            context.emit("progress", done=seed + 1, total=simplify.check_runs, what="equality")
        return StageResult({"graph": files}, {**metrics, "checked_runs": simplify.check_runs})


def _simplified(graph: Artifact, most: int) -> tuple[ModelProto, int]:
    """Return the simplified graph and the number of calls of onnxsim.

    onnxsim is called until the number of nodes stays the same, at most `most` times.
    """
    from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]  # protobuf has no type stubs here
    from onnx.checker import ValidationError

    from cosybuild.onnxgraph.summary import count_ops

    check_external_data(graph.path, {file.name for file in graph.files[1:]})
    onnxsim = require("onnxsim", "simplify=onnxsim")
    # onnxsim 0.8 has the option `certify`, which makes it prove its rewrites. onnxsim 0.7, the last release for Python
    # 3.10, does not have the option.
    options = {"certify": False} if "certify" in signature(onnxsim.simplify).parameters else {}
    subject = _read(graph.path)
    nodes = -1
    for done in range(1, most + 1):
        try:
            with redirect_stdout(io.StringIO()):
                # onnxsim's own check is switched off, because its inputs do not follow the specification.
                model, _ = onnxsim.simplify(subject, check_n=0, **options)
        except (RuntimeError, ValueError, TypeError, LookupError, ValidationError, DecodeError, EncodeError) as error:
            line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise SimplifyError(f"onnxsim cannot simplify {graph.files[0].name}: {line}", hint=_HINT) from error
        left = sum(count_ops(model).values())
        if left == nodes or done == most:
            break
        subject, nodes = model, left
    return model, done


def _read(path: Path) -> str | ModelProto:
    """Return the path of the graph, or the graph in a later version of the format if onnxsim refuses its version.

    Before version 4, an initializer must be an input too. Runtimes do not ask for that, and onnxsim does.
    """
    import onnx

    from cosybuild.onnxgraph.check import INITIALIZERS_ALONE
    from cosybuild.onnxgraph.files import load_structure

    structure = load_structure(path)
    inputs = {value.name for value in structure.graph.input}
    if structure.ir_version >= INITIALIZERS_ALONE or {one.name for one in structure.graph.initializer} <= inputs:
        return str(path)
    model = onnx.load(str(path))
    model.ir_version = INITIALIZERS_ALONE
    return model


def _finish(model: ModelProto, spec: ModelSpec, *, foreign: bool) -> None:
    """Check the simplified graph against the interface and ONNX's rules, and remove the metadata that onnxsim added."""
    from cosybuild.onnxgraph.check import InvalidGraph, check_model
    from cosybuild.onnxgraph.clean import clean_model
    from cosybuild.onnxgraph.interface import declare_interface, interface_faults

    faults = interface_faults(model, spec, output_shapes=not foreign)
    if faults:
        raise SimplifyError(f"onnxsim changed the inputs or outputs of the graph: {'; '.join(faults)}.", hint=_HINT)
    declare_interface(model, spec, keep_sizes=not foreign)
    clean_model(model)
    try:
        check_model(model, output_shapes=not foreign)
    except InvalidGraph as error:
        raise SimplifyError(f"onnxsim wrote an invalid graph{error.detail}", hint=_HINT) from error


def _check_equal(
    subject: Subject, before: Path, after: Path, inputs: Mapping[str, Array], seed: int, limits: Limits
) -> list[str]:
    """Check that both graphs give the same outputs, up to rounding.

    The limits are the default settings of `verify`. onnxsim fuses nodes, so both graphs round differently, by an amount
    that depends on the processor.

    Returns:
        The warnings of the comparison.

    Raises:
        SimplifyError: the outputs differ by more than the limits, or ONNX Runtime cannot compute one of the graphs.
    """
    from cosybuild.backends.isolated import open_session
    from cosybuild.backends.session import InferenceFailed

    answers = []
    for name, path in (("original", before), ("simplified", after)):
        # Run one session after the other, because each holds the weights.
        try:
            answers.append(open_session(path, subject).infer(inputs))
        except InferenceFailed as error:
            raise SimplifyError(
                f"ONNX Runtime cannot compute the {name} graph (inputs of seed {seed}): {error}.", hint=_HINT
            ) from error
    compared = compare_outputs(answers[1], answers[0], limits)
    fault = first_fault(compared)
    if fault is not None:
        raise SimplifyError(
            f"The simplified graph has other outputs than the original (inputs of seed {seed}): {fault.text}.",
            hint=_HINT,
        )
    return [one.warning for one in compared.values() if one.warning]
