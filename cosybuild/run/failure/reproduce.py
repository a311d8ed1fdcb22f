"""The reproduction of a failure from its archive: run the failed step and the smallest failing part of the graph.

Only the ONNX graphs of the archive are run, by ONNX Runtime. The model's own code is not needed and not imported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cosybuild.building.record import Failure
from cosybuild.building.stage import Emit, RunContext
from cosybuild.config.parse import settings_from_plain
from cosybuild.errors import BuildError, ConfigurationError, CosybuildError, OutOfMemory, VerificationError
from cosybuild.models.real_inputs import given_batches
from cosybuild.models.subject import Subject
from cosybuild.report.metrics_check import MISFIT
from cosybuild.request import Request
from cosybuild.run.failure.archive import FORM
from cosybuild.run.failure.archived_files import find_artifacts, in_one_directory, read_arrays, refuse_foreign_weights
from cosybuild.run.failure.causes import Diagnosis
from cosybuild.run.failure.index import FailureIndex, Part
from cosybuild.run.imported_run import without_local
from cosybuild.run.limits import ProcessLimits, call_limited
from cosybuild.run.safe_archive import Bounds, unpack_archive
from cosybuild.stages.pipeline import stages_for
from cosybuild.store.artifact import Artifact
from cosybuild.system.environment import Environment
from cosybuild.verification.cases import batch_name

_REPRODUCIBLE = ("verify", "verify_lowered")
"""Stages that only run ONNX graphs. Other stages load an engine, which is machine code, or the model's own code."""


@dataclass(frozen=True)
class Reproduction:
    """The result of reproducing a failure.

    Attributes:
        recorded: the failure in the record.
        cause: the known cause that matched; None if none did.
        part: the failure, on this machine, of the part of the graph that the archive has; None if the archive has none,
            or if the part passes here. It is the smallest part that failed in the recorded run.
        has_part: True if the archive has a part of the graph.
        error: the failure of the step on this machine; None if the step passes or was not run.
        lacking: the files that the archive names by digest and that were not found. If there are any, the step was not
            run.
        versions: package -> (recorded version, version here) for each package whose versions differ.
    """

    recorded: Failure
    cause: Diagnosis | None
    part: str | None
    has_part: bool
    error: VerificationError | None
    lacking: tuple[str, ...]
    versions: Mapping[str, tuple[str, str]]

    @property
    def shown(self) -> bool:
        """True if the failure occurs again: in the step or, if the step was not run, in the part of the graph."""
        return self.error is not None or (bool(self.lacking) and self.part is not None)

    @property
    def same(self) -> bool:
        """True if the step fails here, and the message is the same as in the record."""
        return self.error is not None and self.error.message == self.recorded.message


def reproduce(
    archive: Path, elsewhere: Path | None, tell: Callable[[str], None], limits: ProcessLimits | None = None
) -> Reproduction:
    """Reproduce the failure in a failure archive.

    Args:
        archive: the failure archive.
        elsewhere: a directory to search for files that the archive names by digest only; None for none.
        tell: called with one line before each action.
        limits: the limits of the process that runs the graphs; None for the default limits.

    Raises:
        ConfigurationError: the file is not a failure archive or is damaged, its graphs do not end within the limits, or
            none of them can be run without further files.
    """
    with unpack_archive(FORM, archive, Bounds(), FailureIndex) as (place, index):
        request = _request(archive, place, index)
        artifacts, lacking = find_artifacts(place, index, elsewhere)
        if lacking and index.cut is None:
            raise ConfigurationError(
                f"{archive} names {', '.join(lacking)} by digest only, and {elsewhere or 'no directory'} does not have "
                "these files.",
                hint="Next: replay ARCHIVE --files DIR, where DIR is the store of the failed run.",
            )
        taken = None if lacking else artifacts
        case = _Case(archive, place, index, request, taken)
        part, error = call_limited(
            archive, limits or ProcessLimits(), _run, case, emit=lambda kind, **facts: tell(str(facts["line"]))
        )
        return Reproduction(
            index.failure, index.cause, part, index.cut is not None, error, tuple(lacking), dict(_versions(index))
        )


@dataclass(frozen=True)
class _Case:
    """The part of the graph and the step to run. `artifacts` is None if files of the step are missing."""

    archive: Path
    place: Path
    index: FailureIndex
    request: Request
    artifacts: Mapping[str, Artifact] | None


def _run(case: _Case, emit: Emit) -> tuple[str | None, VerificationError | None]:
    part, error = None, None
    try:
        if case.index.cut is not None:
            emit("note", line="running the smallest failing part of the graph")
            part = _part(case.place, case.index.cut, case.request, case.archive)
        if case.artifacts is not None:
            emit("note", line=f"running the step '{case.index.step}'")
            error = _step(case.archive, case.index, case.request, case.artifacts)
    except BuildError as fault:
        if isinstance(fault, OutOfMemory):
            raise
        raise FORM.refused(case.archive, f"its graphs cannot be run: {fault.message}") from fault
    except (CosybuildError, MemoryError):
        raise
    except Exception as fault:
        if _is_ours(fault) and not isinstance(fault, MISFIT):
            raise
        # The error comes from a library that ran a graph of the archive, or from a fact of the archive that the code
        # of the step does not expect, so the archive is at fault.
        raise FORM.refused(case.archive, f"its graphs cannot be run: {type(fault).__name__}: {fault}") from fault
    return part, error


def _is_ours(error: BaseException) -> bool:
    """Return True if code of this package raised the error, False if a library that it calls raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == __name__.partition(".")[0]


def _request(archive: Path, place: Path, index: FailureIndex) -> Request:
    """Return the request of the failed step, without settings that could name code or files of this machine."""
    try:
        settings = settings_from_plain(without_local(index.config)[0])
    except ConfigurationError as error:
        raise FORM.refused(archive, f"its description of the build is not valid: {error.message}") from error
    facts = index.subject
    subject = Subject(
        facts.family,
        facts.spec,
        facts.hyperparameters,
        facts.streaming,
        graph=Path("graph.onnx") if facts.existing_graph else None,
        stem=facts.stem,
        solver=facts.solver,
    )
    case = index.case or {}
    if not case.get("given"):
        return Request(settings, subject)
    # The archive has only the batch of real inputs that failed.
    try:
        batches = given_batches([place / "inputs" / "case.npz"], subject.spec)
    except ConfigurationError as error:
        raise FORM.refused(archive, f"its inputs are not those of its description: {error.message}") from error
    if [batch.digest for batch in batches] != [case["given"]]:
        raise FORM.refused(archive, "its inputs are not those of its description: they have another digest")
    # The message of a failure names the file of the user, which has another name in the archive.
    return Request(settings, subject, given=tuple(replace(one, name=batch_name(case)) for one in batches))


def _part(place: Path, cut: Part, request: Request, archive: Path) -> str | None:
    import onnx_ir as ir

    from cosybuild.backends.session import InferenceFailed
    from cosybuild.onnxgraph.files import load_model
    from cosybuild.precision.failing_part import part_fault
    from cosybuild.verification.lowered_gates import fault_of

    paths = [place / "cut" / name for name in ("lowered.onnx", "reference.onnx")]
    for path in paths:
        refuse_foreign_weights(path, set(), archive)
    lowered, reference = (ir.from_proto(load_model(path)) for path in paths)
    arrays = read_arrays(place / "cut" / "inputs.npz", archive)
    if set(cut.inputs.values()) != set(arrays):
        raise FORM.refused(archive, "the inputs of its part differ from those in its index")
    try:
        return part_fault(
            lowered, reference, {name: arrays[key] for name, key in cut.inputs.items()}, fault_of(request)
        )
    except InferenceFailed as error:
        raise FORM.refused(archive, f"its part cannot be run: {error}") from error


def _step(path: Path, index: FailureIndex, request: Request, given: Mapping[str, Artifact]) -> VerificationError | None:
    """Run the failed step and return its error; None if the step passes."""
    stage = next((s for s in stages_for(request) if s.label == index.step), None)
    if stage is None or stage.name not in _REPRODUCIBLE or not set(given) <= {n.removesuffix("?") for n in stage.needs}:
        raise FORM.refused(
            path,
            f"its step '{index.step}' cannot be run from a failure archive, which runs graphs only; the failed "
            "command is "
            f"{' '.join(index.command)}",
        )
    if lacking := [need for need in stage.needs if not need.endswith("?") and need not in given]:
        raise FORM.refused(path, f"it lacks what the step '{stage.label}' needs: {', '.join(lacking)}")
    with in_one_directory(given, path) as inputs, tempfile.TemporaryDirectory(prefix="cosybuild-replay-") as workdir:
        context = RunContext(request, inputs, Path(workdir), lambda kind, /, **facts: None)
        try:
            stage.run(context)
        except VerificationError as error:
            return error
    return None


def _versions(index: FailureIndex) -> Iterator[tuple[str, tuple[str, str]]]:
    here = Environment()
    for name, there in index.environment.versions.items():
        now = here.version(name) or "absent"
        if now != there:
            yield name, (there, now)
