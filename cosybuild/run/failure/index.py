"""The index of a failure archive as typed data, which `archive` writes and `reproduce` reads."""

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
    """The part of the recorded environment that is compared: package -> version."""

    versions: Mapping[str, str]


@dataclass(frozen=True)
class SubjectFacts:
    """The facts of the model that a verifying step needs, without paths or code."""

    family: Family
    spec: ModelSpec
    hyperparameters: Mapping[str, Any]
    streaming: bool
    stem: str
    solver: Solver | None
    existing_graph: bool


@dataclass(frozen=True)
class Part:
    """The smallest failing part of the graph; `inputs` is name of an input -> name of its array in `cut/inputs.npz`."""

    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Given:
    """A file of an input of the step. `carried` is True if the archive has its content."""

    name: str
    sha256: str
    size: int
    carried: bool


@dataclass(frozen=True)
class FailureIndex:
    """The fields of `capsule.json` that `replay` reads."""

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
