"""The stage that exports PyTorch to a checked, reproducible ONNX file.

Torch and onnx are imported only when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.export import Attention, Exporter
from cosybuild.config.groups.model import Family
from cosybuild.errors import ExportError
from cosybuild.exporting.exporter_choice import OLDEST_OF_DYNAMO, export_by_either, tried_sizes
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.module_state import METRIC, module_facts
from cosybuild.models.subject import Subject
from cosybuild.models.unplanned_reads import check_reads
from cosybuild.request import Request
from cosybuild.store.result import StageResult

if TYPE_CHECKING:
    from onnx import ModelProto

# The attribute of the wrapper module that holds the estimator. The attribute's name is removed from names in the graph.
_WRAPPER = "estimator"


@dataclass(frozen=True)
class ExportStage(Stage[Request]):
    """The stage that exports the model to ONNX. It fills the slot `graph`.

    Attributes:
        exporter: the exporter that the settings name.
        falls_back: True if the dynamo exporter is tried when the torchscript exporter fails.
    """

    exporter: Exporter = Exporter.torchscript
    falls_back: bool = False

    name = "export"
    does = "writes the model as an ONNX graph"
    version = 2
    needs = ("weights?",)
    makes = ("graph",)

    @property
    def packages(self) -> tuple[str, ...]:
        # The dynamo exporter computes sizes with sympy, and writes and folds the graph with onnx-ir and numpy.
        own = ("onnx-ir", "sympy", "numpy", "protobuf") if self.exporter is Exporter.dynamo or self.falls_back else ()
        return ("torch", "onnx", "onnxscript", *own)

    def settings(self, request: Request) -> Mapping[str, Any]:
        export = request.settings.export
        return {
            "opset": export.opset,
            "exporter": export.exporter.value,
            "attention": export.attention.value,
            "constant_folding": export.constant_folding,
            "example_sizes": {**export.example_sizes, **_moved_sizes(request)},
            **({"tried_sizes": tried_sizes(request.profiles)} if self.falls_back else {}),
            **subject_settings(request.subject),
            "file": graph_name(request),
        }

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        export, spec = request.settings.export, request.subject.spec
        weights = context.inputs.get("weights")
        made = _exported(context, weights.path if weights else None, self.falls_back)
        model, chatter = made.model, made.warnings
        for line in chatter:
            context.emit("warning", message=f"message of the exporter: {line}")
        _check_declaration(model, request)
        from cosybuild.onnxgraph.clean import clean_model
        from cosybuild.onnxgraph.files import save_model
        from cosybuild.onnxgraph.graph_identity import write_identity
        from cosybuild.onnxgraph.interface import declare_interface
        from cosybuild.onnxgraph.summary import count_ops

        declare_interface(model, spec)
        clean_model(model, prefix="" if request.subject.family is Family.module else _WRAPPER)
        write_identity(model, _identity(request.subject, made.module))
        _check(model, made.exporter)
        ops = count_ops(model)
        metrics = {
            "opset": export.opset,
            "exporter": made.exporter.value,
            "ir_version": model.ir_version,
            "nodes": sum(ops.values()),
            "ops": ops,
            "warnings": chatter,
            "weights_notes": made.notes,
            METRIC: made.module,
        }
        files = save_model(model, context.workdir / graph_name(request))
        return StageResult({"graph": files}, {**metrics, "external_data": len(files) > 1})


def sizes_of_example(request: Request) -> dict[str, int]:
    """Return the sizes of the example input with which the model is exported."""
    return example_sizes(request.subject.spec, request.settings.export.example_sizes, request.profiles)


def _moved_sizes(request: Request) -> dict[str, int]:
    """Return those sizes of the example input that differ from the usual ones because of the profiles, for the key."""
    usual = example_sizes(request.subject.spec, request.settings.export.example_sizes, ())
    return {symbol: size for symbol, size in sizes_of_example(request).items() if size != usual[symbol]}


def subject_settings(subject: Subject) -> dict[str, Any]:
    """Return the settings of the model that determine what it computes, for the keys of steps.

    The weights' content is not included.
    """
    return {
        "family": subject.family.value,
        "hyperparameters": dict(subject.hyperparameters),
        "streaming": subject.streaming,
        **({"form": list(subject.form)} if subject.form else {}),
        "spec": subject.spec.facts(),
        "weights_seed": subject.seed if subject.weights is None else None,
        **({} if subject.weights_from is None else {"weights_from": subject.weights_from}),
        **({} if subject.code is None else {"code": subject.code.parts}),
        # Earlier releases seeded torch's generator only, so a module could get other weights in each step.
        **({"seeded": "torch, numpy, random"} if subject.family is Family.module else {}),
    }


def _identity(subject: Subject, module: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of the graph: the model's family, part and attention variant, and the digest of its state.

    The digest of the weights file is not used, because a checkpoint that was only saved again must give the same graph.
    """
    state = {"state_sha256": module["sha256"]} if module else {}
    attention = {"attention": "streaming"} if subject.streaming else {}
    return {"family": subject.family.value, "part": subject.stem, **attention, **state}


def graph_name(request: Request) -> str:
    """Return the file name of the float32 graph.

    It is the name that runtimes expect, or the model's name for a user's ONNX file.
    """
    if request.subject.graph is not None:
        return f"{request.subject.stem}.onnx"
    return artifact_name(request.subject, "fp32", ".onnx", request.settings.export.dynamic_batch)


@dataclass(frozen=True)
class _Exported:
    """The result of an export.

    Attributes:
        model: the ONNX graph.
        warnings: the exporter's warnings.
        notes: notes on the weights and on the choice of the exporter.
        module: facts of the state of the exported module.
        exporter: the exporter that wrote the graph.
    """

    model: ModelProto
    warnings: list[str]
    notes: list[str]
    module: dict[str, str]
    exporter: Exporter


def falls_back(request: Request) -> bool:
    """Return True if the dynamo exporter is tried when the torchscript exporter fails.

    This holds for users' modules.
    """
    export = request.settings.export
    of_user = request.subject.family is Family.module
    return of_user and export.exporter is Exporter.torchscript and export.opset >= OLDEST_OF_DYNAMO


def _exported(context: RunContext, weights: Path | None, fall_back: bool) -> _Exported:
    """Load the module and export it. The module, which is as large as its graph, is freed on return."""
    from cosybuild.models.cosyvoice.estimator.operators import one_attention_operator
    from cosybuild.models.load import load_module, prepare_for_export

    request: Request = context.request
    export = request.settings.export
    notes: list[str] = []
    if fall_back:
        import onnxruntime  # noqa: F401  # it reads files of the system, which are no ingredients of the module
    with check_reads(request.subject, weights, context.workdir.parent):
        module = load_module(request.subject, weights, notes.append)
        for line in notes:
            context.emit("note", message=line)
        facts = module_facts(module)
        prepare_for_export(module)
        spec, sizes = request.subject.spec, sizes_of_example(request)
        with one_attention_operator() if export.attention is Attention.operator else nullcontext():
            if fall_back:
                made = export_by_either(module, spec, export, sizes, request.profiles, context.workdir)
                for line in made.remarks:
                    context.emit("note", message=line)
                return _Exported(made.model, made.warnings, [*notes, *made.remarks], facts, made.exporter)
            model, chatter = export_graph(module, spec, export, sizes)
    return _Exported(model, chatter.warnings, notes, facts, export.exporter)


def _check_declaration(model: ModelProto, request: Request) -> None:
    from cosybuild.onnxgraph.interface import interface_faults
    from cosybuild.onnxgraph.summary import default_opset

    export = request.settings.export
    written = default_opset(model)
    if written != export.opset:
        raise ExportError(
            f"Opset {export.opset} is requested, but torch's {export.exporter.value} exporter wrote {written}.",
            hint=f"Next: export.opset={written}, or export.exporter="
            f"{'torchscript' if export.exporter is Exporter.dynamo else 'dynamo'}.",
        )
    faults = interface_faults(model, request.subject.spec)
    if faults:
        raise ExportError(
            f"The exported graph differs from the declaration: {'; '.join(faults)}.",
            hint="Next: correct the declared inputs and outputs, or find the line of `forward` that turns a size into "
            "a Python number.",
        )


def _check(model: ModelProto, exporter: Exporter) -> None:
    from cosybuild.onnxgraph.check import InvalidGraph, check_model

    try:
        check_model(model)
    except InvalidGraph as error:
        raise ExportError(
            f"ONNX's checker refuses the graph of the {exporter.value} exporter{error.detail}",
            hint="Next: try another opset or exporter, e.g. export.opset=18 export.exporter=torchscript.",
        ) from error
