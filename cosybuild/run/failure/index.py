"""The index of a failure archive as typed data. `archive` writes the index, and `reproduce` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.building.record import Failure
from cosybuild.config.groups.model import Family
from cosybuild.errors import DEFECT
from cosybuild.filename import is_plain_name
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Solver
from cosybuild.run.failure.causes import Diagnosis


@dataclass(frozen=True)
class Machine:
    """The part of the recorded environment that the reproduction compares: package -> version."""

    versions: Mapping[str, str]


@dataclass(frozen=True)
class SubjectFacts:
    """The facts of the model that a verifying step needs, without paths and without code.

    Attributes:
        family: the model's family.
        spec: its inputs and outputs.
        hyperparameters: its hyper-parameters that are numbers, texts or lists.
        streaming: True for the streaming variant.
        stem: the beginning of the names of its artifacts.
        solver: the solver that calls the network; None for a network without one.
        existing_graph: True if the build started from an ONNX file, not from weights.
    """

    family: Family
    spec: ModelSpec
    hyperparameters: Mapping[str, Any]
    streaming: bool
    stem: str
    solver: Solver | None
    existing_graph: bool


@dataclass(frozen=True)
class Part:
    """The smallest failing part of the graph.

    Attributes:
        inputs: name of an input of this part -> name of its array in `cut/inputs.npz`.
    """

    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Given:
    """One file of an input artifact of the failed step.

    Attributes:
        name: the file name.
        sha256: the digest of its content.
        size: its size in bytes.
        carried: True if the archive contains the file, False if it has only the digest.
    """

    name: str
    sha256: str
    size: int
    carried: bool


@dataclass(frozen=True)
class FailureIndex:
    """The fields of `capsule.json` that `replay` reads.

    Attributes:
        step: the label of the failed step.
        command: the words of the failed command.
        failure: the recorded failure.
        cause: the known cause that matched; None if none did.
        environment: the recorded versions.
        config: the configuration as plain data.
        subject: the facts of the model.
        cut: the smallest failing part of the graph; None if the archive has none.
        artifacts: slot -> the files of this input of the step.
        case: the facts of the failed case; None if the step reported none.
    """

    step: str
    command: tuple[str, ...]
    failure: Failure
    cause: Diagnosis | None
    environment: Machine
    config: Mapping[str, Any]
    subject: SubjectFacts
    cut: Part | None
    artifacts: Mapping[str, tuple[Given, ...]]
    case: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.failure.exit_code < DEFECT:
            raise ValueError(f"names the exit code {self.failure.exit_code}, which no failure has")
        for slot, files in self.artifacts.items():
            for name in (slot, *(file.name for file in files)):
                if not is_plain_name(name):
                    raise ValueError(f"names {name!a} in artifacts; it should be a plain name")
