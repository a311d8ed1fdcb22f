"""A failure shown again from its capsule: the same step on the same artifacts, the same part on the same inputs.

Nothing in a capsule is run but ONNX graphs, by ONNX Runtime; the model's own code is not needed and not imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.model import Family
from cosybuild.config.parse import settings_from_plain
from cosybuild.core.artifact import Artifact, StoredFile
from cosybuild.core.environment import Environment
from cosybuild.core.plain import Plain
from cosybuild.core.stage import RunContext
from cosybuild.errors import ConfigurationError, VerificationError
from cosybuild.filename import is_plain_name
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.subject import Solver, Subject
from cosybuild.onnxgraph.external import external_fault
from cosybuild.run.capsule import FORM, holds_of
from cosybuild.run.packed import Bounds, digest_of, unpacked
from cosybuild.stages.pipeline import stages_for
from cosybuild.stages.request import Request

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array


_SHOWN = ("verify", "verify_lowered")
"""Steps that run nothing but graphs. An engine is machine code, and other steps load the model's own code."""


@dataclass(frozen=True)
class Recurrence:
    """What came of it.

    Attributes:
        recorded: the failure as it was told where it happened: `step`, `kind`, `message`, `hint`, `exit_code`.
        cause: the known cause that was matched, or None.
        part: how the cut part fails here; None where the capsule has none, or it passes.
        has_part: whether the capsule has one.
        error: how the step fails here; None where it passes, or could not be run.
        lacking: files that the capsule names by digest and that were not found; then the step was not run.
        versions: package -> (there, here), those that differ.
    """

    recorded: Mapping[str, Any]
    cause: Mapping[str, Any] | None
    part: str | None
    has_part: bool
    error: VerificationError | None
    lacking: tuple[str, ...]
    versions: Mapping[str, tuple[str, str]]

    @property
    def shown(self) -> bool:
        """Whether the failure shows again."""
        return self.error is not None or (bool(self.lacking) and self.part is not None)

    @property
    def same(self) -> bool:
        """Whether the step says the very same here."""
        return self.error is not None and self.error.message == self.recorded["message"]


def recur(capsule: Path, elsewhere: Path | None, tell: Callable[[str], None]) -> Recurrence:
    """Show the failure that a capsule holds.

    Args:
        elsewhere: a directory in which files are looked for that the capsule names by digest only.
        tell: given a line on what is being done.

    Raises:
        ConfigurationError: it is no capsule, damaged, or nothing of it can be shown without further files.
    """
    with unpacked(FORM, capsule, Bounds()) as (place, index):
        request = _request(capsule, index)
        cut = index.optional_object("cut")
        part = None
        if cut is not None:
            tell("running the part that fails by itself")
            part = _part(place, cut, request, capsule)
        artifacts, lacking = _artifacts(place, index, elsewhere)
        if lacking and cut is None:
            raise ConfigurationError(
                f"{capsule} names {', '.join(lacking)} by digest only, and {elsewhere or 'no directory'} does not hold "
                "them.",
                hint="Next: replay CAPSULE --files DIR, the store of the run that failed.",
            )
        error = None
        if not lacking:
            tell(f"running the step '{index.text('step')}'")
            error = _step(capsule, index, request, artifacts)
        recorded = index.object("failure").raw()
        cause = index.raw().get("cause")
        return Recurrence(recorded, cause, part, cut is not None, error, tuple(lacking), dict(_versions(index)))


def _request(capsule: Path, index: Plain) -> Request:
    """The request of the step, of data alone: what could name code or a path is left out."""
    try:
        settings = settings_from_plain(index.get("config", dict))
        facts = index.get("subject", dict)
        spec = facts["spec"]
        inputs, outputs = (tuple(_tensor(tensor) for tensor in spec[side]) for side in ("inputs", "outputs"))
        solver = facts["solver"]
        subject = Subject(
            family=Family(facts["family"]),
            spec=ModelSpec(inputs, outputs, bool(spec["guidance"]), spec["frames_per_second"]),
            hyperparameters=dict(facts["hyperparameters"]),
            streaming=bool(facts["streaming"]),
            graph=Path("graph.onnx") if facts["existing_graph"] else None,
            stem=str(facts["stem"]),
            solver=None if solver is None else Solver(**solver),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FORM.refused(capsule, f"what it says of the build is not understood: {error!r}") from error
    return Request(settings, subject)


def _tensor(facts: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(**{**facts, "shape": tuple(facts["shape"])})


def _part(place: Path, cut: Plain, request: Request, capsule: Path) -> str | None:
    import onnx_ir as ir

    from cosybuild.backends.session import InferenceFailed
    from cosybuild.onnxgraph.files import load_model
    from cosybuild.precision.cut import judge

    paths = [place / "cut" / name for name in ("lowered.onnx", "reference.onnx")]
    for path in paths:
        _refuse_external_data(path, set(), capsule)
    lowered, reference = (ir.from_proto(load_model(path)) for path in paths)
    keys = cut.object("inputs").text_items()
    arrays = _arrays(place / "cut" / "inputs.npz", capsule)
    if set(keys.values()) != set(arrays):
        raise FORM.refused(capsule, "the inputs of its part are not those it lists")
    try:
        return judge(lowered, reference, {name: arrays[key] for name, key in keys.items()}, holds_of(request))
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


def _artifacts(place: Path, index: Plain, elsewhere: Path | None) -> tuple[dict[str, Artifact], list[str]]:
    """Slot -> artifact, and the names of what is not there."""
    found: dict[str, Artifact] = {}
    lacking = []
    for slot in index.object("artifacts").raw():
        files = []
        for listed in index.object("artifacts").objects(slot):
            name, digest, size = listed.text("name"), listed.text("sha256"), listed.get("size", int)
            if not is_plain_name(name) or not is_plain_name(slot):
                raise listed.wrong("a plain name, in a slot with a plain name", f"{slot}/{name}")
            path: Path | None = place / "artifacts" / slot / name
            if not listed.get("carried", bool):
                path = _look(elsewhere, digest, size)
            if path is None:
                lacking.append(f"{name} ({digest[:16]})")
                continue
            files.append(StoredFile(name, path, digest, size))
        if files:
            found[slot] = Artifact(slot, tuple(files))
    return found, lacking


def _look(directory: Path | None, digest: str, size: int) -> Path | None:
    """The file of this content, wherever in the directory it lies and whatever it is called."""
    for path in sorted(directory.rglob("*")) if directory is not None else ():
        if path.is_file() and path.stat().st_size == size and digest_of(path) == digest:
            return path
    return None


def _step(capsule: Path, index: Plain, request: Request, artifacts: Mapping[str, Artifact]) -> VerificationError | None:
    """How the step fails here; None where it passes."""
    stage = next((s for s in stages_for(request) if s.label == index.text("step")), None)
    if stage is None or stage.name not in _SHOWN or not set(artifacts) <= {n.removesuffix("?") for n in stage.needs}:
        raise FORM.refused(
            capsule,
            f"the step '{index.text('step')}' is not run from a capsule, only graphs are; the command that failed is "
            f"{' '.join(index.texts('command'))}",
        )
    with _laid_out(artifacts, capsule) as inputs, tempfile.TemporaryDirectory(prefix="cosybuild-replay-") as workdir:
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
        fault = external_fault(graph, beside)
        load_structure(graph)
    except (ValueError, DecodeError) as error:
        raise FORM.refused(capsule, f"{graph.name} is no ONNX graph: {error}") from error
    if fault is not None:
        raise FORM.refused(capsule, f"{graph.name} {fault}")


def _versions(index: Plain) -> Iterator[tuple[str, tuple[str, str]]]:
    here = Environment()
    for name, there in index.object("environment").object("versions").text_items().items():
        now = here.version(name) or "absent"
        if now != there:
            yield name, (there, now)
