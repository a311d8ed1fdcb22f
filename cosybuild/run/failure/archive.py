"""The failure archive of a failed gate: the smallest failing part of the graph, its inputs, and data to reproduce it.

    capsule.json      the index (`index.FailureIndex` and more); always the first member
    inputs/case.npz   the inputs of the failed case, one array for each input
    cut/...           lowered.onnx, reference.onnx and inputs.npz: the smallest part that fails on its own
    artifacts/SLOT/   the inputs of the step if they are small; otherwise the index has only their digests

`run.failure.reproduce` reproduces the failure from it. Earlier releases called the archive a capsule, and the names of
its files still contain this word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.building.events import Event
from cosybuild.building.plan import Plan
from cosybuild.building.record import Outcome
from cosybuild.building.wiring import SOURCE
from cosybuild.errors import CosybuildError, VerificationError
from cosybuild.models.real_inputs import GivenBatch
from cosybuild.request import Request
from cosybuild.run.failure.causes import Signs, match
from cosybuild.run.failure.index import Given, SubjectFacts
from cosybuild.run.safe_archive import Form, pack
from cosybuild.store.artifact import Artifact
from cosybuild.system.typed_json import to_json

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array
    from cosybuild.precision.failing_part import Cut

FAILURE_ARCHIVE = "capsule.tar.gz"
FORM = Form(
    "capsule", "capsule.json", ("inputs", "cut", "artifacts"), "run the failed command again; it writes a new archive"
)
CARRIED = 64 * 2**20
"""The largest total size, in bytes, of artifacts that are copied into a failure archive."""

LOWERED_INPUTS = ("lowered", "graph")


class FailedCaseRecorder:
    """Event sink that keeps, for each step, the facts and the files of the case that failed.

    Attributes:
        notes: label of the step -> the facts of its last `note` event.
        files: label of the step -> name of each file of evidence -> its content.
    """

    def __init__(self) -> None:
        self.notes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}

    def __call__(self, event: Event) -> None:
        if event.step is None:
            return
        if event.kind == "note":
            self.notes[event.step] = dict(event.facts)
        elif event.kind == "evidence":
            path = Path(event.facts["path"])
            # The directory of a failed step is removed, so the content is read at once.
            self.files.setdefault(event.step, {})[path.name] = path.read_bytes()


def is_gate(outcome: Outcome) -> bool:
    """Return True if a run ended because a gate failed."""
    return outcome.failure is not None and outcome.failure.kind == VerificationError.kind


def write_failure_archive(
    target: Path,
    request: Request,
    plan: Plan,
    outcome: Outcome,
    sources: Mapping[str, Artifact],
    facts: Mapping[str, Any],
    witness: FailedCaseRecorder,
) -> dict[str, Any]:
    """Write the archive of a run that a failed gate ended, and return its facts for the report.

    Args:
        target: the file to write.
        request: the request of the run.
        plan: the plan of the run.
        outcome: the records of the steps, with the failure.
        sources: the result of `prepare.sources_of`.
        facts: the facts of the run, as in its report.
        witness: the recorder that has seen the events of the run.
    """
    failure = outcome.failure
    assert failure is not None
    step = plan.step(failure.step)
    request = request.of(step.stage.part)
    given = dict(_given(step.wires, outcome, sources))
    note = witness.notes.get(failure.step, {})
    with tempfile.TemporaryDirectory(prefix="cosybuild-failure-") as temporary:
        place = Path(temporary)
        files: dict[str, Path] = {}
        inputs = _case_inputs(request, note)
        if inputs is not None:
            real = _batch_of(request, note)
            # The case names real inputs by the digest of their file, so the file must be copied without a change.
            files["inputs/case.npz"] = _save(place / "case.npz", inputs) if real is None else real.path
        cut: dict[str, Any] | None = None
        profile: dict[str, Any] | None = None
        if inputs is not None and set(LOWERED_INPUTS) <= set(given):
            found, profile = _lowering(request, given, inputs, str(note["message"]))
            cut = None if found is None else _write_cut(place, found, files)
        carried = sum(artifact.size for artifact in given.values()) <= CARRIED
        if carried:
            files.update({f"artifacts/{slot}/{f.name}": f.path for slot, a in given.items() for f in a.files})
        cause = to_json(match(_signs(request, step.stage.name, failure.message, note, cut)))
        pack(
            FORM,
            target,
            {
                "cosybuild": facts["cosybuild"],
                "step": step.stage.step,
                "stage": step.stage.name,
                "command": ["python", "-m", "cosybuild", *facts["overrides"]],
                "failure": to_json(failure),
                "cause": cause,
                "environment": facts["environment"],
                "config": to_json(request.settings),
                "subject": to_json(_subject_facts(request)),
                "case": note.get("case"),
                "cut": cut,
                "artifacts": {
                    slot: [to_json(Given(f.name, f.digest, f.size, carried)) for f in a.files]
                    for slot, a in given.items()
                },
            },
            files,
        )
    return {
        "path": target.name,
        "size": target.stat().st_size,
        "cause": cause,
        "cut": cut,
        "complete": carried,
        "profile": profile,
        **({"voice": _voice(note)} if "losses" in note else {}),
    }


def _voice(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a voice that failed verification, in the fields of the metrics of a step that passed."""
    return {"cases": [], "notes": [], "rows": note["rows"], "losses": note["losses"]}


def _subject_facts(request: Request) -> SubjectFacts:
    subject = request.subject
    return SubjectFacts(
        subject.family,
        subject.spec,
        {name: v for name, v in subject.hyperparameters.items() if isinstance(v, int | float | list | str)},
        subject.streaming,
        subject.stem,
        subject.solver,
        subject.graph is not None,
    )


def _given(wires: Any, outcome: Outcome, sources: Mapping[str, Artifact]) -> Iterator[tuple[str, Artifact]]:
    for wire in wires:
        made = sources if wire.producer == SOURCE else outcome.record(wire.producer).outputs
        if wire.origin in made:
            yield wire.slot, made[wire.origin]


def _case_inputs(request: Request, note: Mapping[str, Any]) -> dict[str, Array] | None:
    if not isinstance(note.get("case"), Mapping):
        return None
    from cosybuild.verification.cases import case_from_facts, with_batch

    return with_batch(case_from_facts(note["case"]), request.given).inputs(request.subject.spec)


def _batch_of(request: Request, note: Mapping[str, Any]) -> GivenBatch | None:
    """Return the batch of real inputs that failed; None if the inputs of the failed case were generated."""
    return next((batch for batch in request.given if batch.digest == note["case"].get("given")), None)


def _lowering(
    request: Request, given: Mapping[str, Artifact], inputs: Mapping[str, Array], case: str
) -> tuple[Cut | None, dict[str, Any] | None]:
    """Return the smallest failing part of the lowered graph, and the noise profile.

    The part is None if only the whole graph fails. Both are None if they cannot be computed.
    """
    import onnx_ir as ir

    from cosybuild.backends.session import InferenceFailed
    from cosybuild.onnxgraph.files import load_model
    from cosybuild.precision.failing_part import smallest_cut
    from cosybuild.precision.graph import prepare
    from cosybuild.precision.noise_profile import profile, profile_facts
    from cosybuild.precision.storage import storage_of
    from cosybuild.verification.lowered_gates import fault_of, to_float32, typed_inputs

    storage = storage_of(request.settings.precision.target)
    assert storage is not None
    threads = request.settings.verify.threads if request.settings.verify else 1
    lowered, reference = (ir.from_proto(load_model(given[slot].path)) for slot in LOWERED_INPUTS)
    try:
        prepare(reference, storage)
        taken = {name: to_float32(values) for name, values in typed_inputs(inputs, lowered).items()}
        points = profile(lowered, reference, taken, threads)
        cut = smallest_cut(lowered, reference, points, taken, fault_of(request), threads)
    except (CosybuildError, InferenceFailed):
        # An error here must not replace the failure that the archive is about.
        return None, None
    return cut, profile_facts(points, case)


def _write_cut(place: Path, cut: Cut, files: dict[str, Path]) -> dict[str, Any]:
    import onnx_ir as ir

    from cosybuild.onnxgraph.files import save_model
    from cosybuild.precision.noise_profile import decibels

    for name, model in (("lowered.onnx", cut.lowered), ("reference.onnx", cut.reference)):
        files[f"cut/{name}"] = save_model(ir.to_proto(model), place / name)[0]
    # The name of a tensor is not always valid as the name of a file, so the arrays are numbered.
    files["cut/inputs.npz"] = _save(place / "inputs.npz", dict(zip(_keys(cut), cut.inputs.values(), strict=True)))
    ratio = decibels(cut.point.noise)
    return {
        "nodes": list(cut.nodes),
        "op": cut.point.op,
        "module": cut.point.module,
        "missed": cut.missed,
        "finite": ratio != float("-inf"),
        "snr_db": figure.plain(ratio),
        "reference_max": _largest(cut),
        "inputs": dict(zip(cut.inputs, _keys(cut), strict=True)),
    }


def _keys(cut: Cut) -> list[str]:
    return [f"input{index}" for index in range(len(cut.inputs))]


def _largest(cut: Cut) -> float:
    import numpy as np

    from cosybuild.precision.probe import Probe

    values = Probe(cut.reference).run(cut.inputs)
    return max((float(np.max(np.abs(v), initial=0.0, where=np.isfinite(v))) for v in values.values()), default=0.0)


def _save(path: Path, arrays: Mapping[str, Array]) -> Path:
    from cosybuild.numerics.npz import save_arrays

    return save_arrays(path, arrays)


def _signs(request: Request, stage: str, message: str, note: Mapping[str, Any], cut: Mapping[str, Any] | None) -> Signs:
    from cosybuild.precision.storage import storage_of

    storage = storage_of(request.settings.precision.target)
    largest = float("inf") if storage is None else storage.max
    return Signs(stage, request.subject.family.value, message, note, cut or {}, largest)
