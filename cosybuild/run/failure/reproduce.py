"""A failure shown again from its capsule: the same step on the same artifacts, the same part on the same inputs.

Nothing in a capsule is run but ONNX graphs, by ONNX Runtime; the model's own code is not needed and not imported.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosybuild.building.record import Failure
from cosybuild.building.stage import Emit, RunContext
from cosybuild.building.subprocess import Died, call_apart
from cosybuild.config.parse import settings_from_plain
from cosybuild.digest import digest_of
from cosybuild.errors import ConfigurationError, CosybuildError, VerificationError
from cosybuild.models.subject import Subject
from cosybuild.onnxgraph.external import external_fault
from cosybuild.request import Request
from cosybuild.run.failure.archive import FORM
from cosybuild.run.failure.causes import Diagnosis
from cosybuild.run.failure.index import CapsuleIndex, Part
from cosybuild.run.foreign import without_local
from cosybuild.run.zip_archive import Bounds, unpacked
from cosybuild.stages.pipeline import stages_for
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.system.environment import Environment

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array

_SHOWN = ("verify", "verify_lowered")
"""Steps that run nothing but graphs. An engine is machine code, and other steps load the model's own code."""


@dataclass(frozen=True)
class Recurrence:
    """The result of reproducing a failure.

    Attributes:
        recorded: the failure as it was told where it happened.
        cause: the known cause that was matched, or None.
        part: how the cut part fails here; None where the capsule has none, or it passes.
        has_part: whether the capsule has one.
        error: how the step fails here; None where it passes, or could not be run.
        lacking: files that the capsule names by digest and that were not found; then the step was not run.
        versions: package -> (there, here), those that differ.
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
        """True if the failure occurs again."""
        return self.error is not None or (bool(self.lacking) and self.part is not None)

    @property
    def same(self) -> bool:
        """True if the step fails here with the same message."""
        return self.error is not None and self.error.message == self.recorded.message


@dataclass(frozen=True)
class Limits:
    """The limits of time and memory for the graphs of a capsule.

    Attributes:
        seconds: from the start of the process that runs them.
        memory: bytes of its address space.
    """

    seconds: int = 900
    memory: int = 32 * 2**30


def recur(
    capsule: Path, elsewhere: Path | None, tell: Callable[[str], None], limits: Limits | None = None
) -> Recurrence:
    """Show the failure that a capsule holds.

    Args:
        elsewhere: a directory in which files are looked for that the capsule names by digest only.
        tell: given a line on what is being done.

    Raises:
        ConfigurationError: it is no capsule, damaged, its graphs do not end within the limits, or nothing of it can be
            shown without further files.
    """
    with unpacked(FORM, capsule, Bounds(), CapsuleIndex) as (place, index):
        request = _request(capsule, index)
        artifacts, lacking = _artifacts(place, index, elsewhere)
        if lacking and index.cut is None:
            raise ConfigurationError(
                f"{capsule} names {', '.join(lacking)} by digest only, and {elsewhere or 'no directory'} does not hold "
                "them.",
                hint="Next: replay CAPSULE --files DIR, the store of the run that failed.",
            )
        taken = None if lacking else artifacts
        part, error = _apart(_Case(capsule, place, index, request, taken), limits or Limits(), tell)
        return Recurrence(
            index.failure, index.cause, part, index.cut is not None, error, tuple(lacking), dict(_versions(index))
        )


@dataclass(frozen=True)
class _Case:
    """The part and the step to run. `artifacts` is None if the step cannot run."""

    capsule: Path
    place: Path
    index: CapsuleIndex
    request: Request
    artifacts: Mapping[str, Artifact] | None


def _apart(case: _Case, limits: Limits, tell: Callable[[str], None]) -> tuple[str | None, VerificationError | None]:
    """Return the failures of the part and the step, run in a limited process: a graph may loop or fill the memory."""
    try:
        return call_apart(_run, case, limits, emit=lambda kind, **facts: tell(str(facts["line"]))).value
    except (Died, MemoryError) as error:
        raise FORM.refused(
            case.capsule,
            f"its graphs did not end well within {limits.seconds} s and {limits.memory / 2**30:.0f} GiB: {error}",
        ) from error


def _run(case: _Case, limits: Limits, emit: Emit) -> tuple[str | None, VerificationError | None]:
    _hold_to(limits)
    part, error = None, None
    try:
        if case.index.cut is not None:
            emit("note", line="running the part that fails by itself")
            part = _part(case.place, case.index.cut, case.request, case.capsule)
        if case.artifacts is not None:
            emit("note", line=f"running the step '{case.index.step}'")
            error = _step(case.capsule, case.index, case.request, case.artifacts)
    except (CosybuildError, MemoryError):
        raise
    except Exception as fault:  # what is run, and on what, is all the capsule's
        raise FORM.refused(case.capsule, f"its graphs cannot be run: {type(fault).__name__}: {fault}") from fault
    return part, error


def _hold_to(limits: Limits) -> None:
    """Have the system end this process beyond the limits, even within native code."""
    try:
        import resource  # POSIX only
    except ImportError:
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.seconds)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = limits.memory if most == resource.RLIM_INFINITY else min(limits.memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))


def _request(capsule: Path, index: CapsuleIndex) -> Request:
    """The request of the step, of data alone: what could name code or something of this machine is left out."""
    try:
        settings = settings_from_plain(without_local(index.config)[0])
    except ConfigurationError as error:
        raise FORM.refused(capsule, f"what it says of the build is not understood: {error.message}") from error
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
    return Request(settings, subject)


def _part(place: Path, cut: Part, request: Request, capsule: Path) -> str | None:
    import onnx_ir as ir

    from cosybuild.backends.session import InferenceFailed
    from cosybuild.onnxgraph.files import load_model
    from cosybuild.precision.cut import judge
    from cosybuild.verification.lowered import fault_of

    paths = [place / "cut" / name for name in ("lowered.onnx", "reference.onnx")]
    for path in paths:
        _refuse_external_data(path, set(), capsule)
    lowered, reference = (ir.from_proto(load_model(path)) for path in paths)
    arrays = _arrays(place / "cut" / "inputs.npz", capsule)
    if set(cut.inputs.values()) != set(arrays):
        raise FORM.refused(capsule, "the inputs of its part are not those it lists")
    try:
        return judge(lowered, reference, {name: arrays[key] for name, key in cut.inputs.items()}, fault_of(request))
    except InferenceFailed as error:
        raise FORM.refused(capsule, f"its part cannot be run: {error}") from error


def _arrays(path: Path, capsule: Path) -> dict[str, Array]:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FORM.refused(capsule, f"{path.name} is no file of arrays: {error}") from error


def _artifacts(place: Path, index: CapsuleIndex, elsewhere: Path | None) -> tuple[dict[str, Artifact], list[str]]:
    """Slot -> artifact, and the names of what is not there."""
    found: dict[str, Artifact] = {}
    lacking = []
    for slot, listed in index.artifacts.items():
        files = []
        for file in listed:
            path = place / "artifacts" / slot / file.name if file.carried else _look(elsewhere, file.sha256, file.size)
            if path is None:
                lacking.append(f"{file.name} ({file.sha256[:16]})")
            else:
                files.append(StoredFile(file.name, path, file.sha256, file.size))
        if files:
            found[slot] = Artifact(slot, tuple(files))
    return found, lacking


def _look(directory: Path | None, digest: str, size: int) -> Path | None:
    """The file of this content, wherever in the directory it lies and whatever it is called."""
    for path in sorted(directory.rglob("*")) if directory is not None else ():
        if path.is_file() and path.stat().st_size == size and digest_of(path) == digest:
            return path
    return None


def _step(path: Path, index: CapsuleIndex, request: Request, given: Mapping[str, Artifact]) -> VerificationError | None:
    """Return the error of the step; None if it passes."""
    stage = next((s for s in stages_for(request) if s.label == index.step), None)
    if stage is None or stage.name not in _SHOWN or not set(given) <= {n.removesuffix("?") for n in stage.needs}:
        raise FORM.refused(
            path,
            f"the step '{index.step}' is not run from a capsule, only graphs are; the command that failed is "
            f"{' '.join(index.command)}",
        )
    if lacking := [need for need in stage.needs if not need.endswith("?") and need not in given]:
        raise FORM.refused(path, f"it lacks what the step '{stage.label}' needs: {', '.join(lacking)}")
    with _laid_out(given, path) as inputs, tempfile.TemporaryDirectory(prefix="cosybuild-replay-") as workdir:
        context = RunContext(request, inputs, Path(workdir), Environment(), lambda kind, /, **facts: None)
        try:
            stage.run(context)
        except VerificationError as error:
            return error
    return None


@contextmanager
def _laid_out(artifacts: Mapping[str, Artifact], capsule: Path) -> Iterator[dict[str, Artifact]]:
    """Every artifact with its files side by side under their names, for a graph finds its external data by name."""
    with tempfile.TemporaryDirectory(prefix="cosybuild-replay-") as temporary:
        inputs = {}
        for number, (slot, artifact) in enumerate(artifacts.items()):
            home = Path(temporary) / str(number)
            home.mkdir()
            files = []
            for file in artifact.files:
                _place(file.path, home / file.name)
                if file.name.endswith(".npz"):
                    _arrays(home / file.name, capsule)
                files.append(StoredFile(file.name, home / file.name, file.digest, file.size))
            _refuse_external_data(files[0].path, {file.name for file in files[1:]}, capsule)
            inputs[slot] = Artifact(slot, tuple(files))
        yield inputs


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


def _refuse_external_data(graph: Path, beside: set[str], capsule: Path) -> None:
    """A graph may name files that hold its weights; only those of the same artifact are meant."""
    if not graph.name.endswith(".onnx"):
        return
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types

    from cosybuild.onnxgraph.files import load_structure

    try:
        if (fault := external_fault(graph, beside)) is not None:
            raise FORM.refused(capsule, f"{graph.name} {fault}")
        load_structure(graph)
    except (ValueError, DecodeError) as error:
        raise FORM.refused(capsule, f"{graph.name} is no ONNX graph: {error}") from error


def _versions(index: CapsuleIndex) -> Iterator[tuple[str, tuple[str, str]]]:
    here = Environment()
    for name, there in index.environment.versions.items():
        now = here.version(name) or "absent"
        if now != there:
            yield name, (there, now)
