"""The base class of every stage. The planner and the runner use stages only through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment

RequestT = TypeVar("RequestT")
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)

Emit = Callable[..., None]
"""`emit(kind, **facts)`: report an event of the running step. Kinds are listed in `building.events`."""


@dataclass(frozen=True)
class RunContext:
    """Everything that a running stage may read.

    Attributes:
        request: the request of the build; the same object that `Stage.settings` receives.
        inputs: slot -> artifact, for each of the stage's `needs` that is present.
        workdir: an empty directory of its own, on the store's file system. Outputs are written here.
        emit: reports events such as progress.
        sources: slot -> digest of every source of the stage's part, also of those that the stage does not read.
        metrics: slot -> metrics of the step that made this input. Keys lack them, so outputs must not depend on them.
    """

    request: Any
    inputs: Mapping[str, Artifact]
    workdir: Path
    emit: Emit
    sources: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Stage(ABC, Generic[RequestT_contra]):
    """One kind of step. A subclass defines the abstract members; all others have defaults.

    A slot is the name under which artifacts pass between stages. A stage that makes an existing slot
    replaces it for the stages after it (`simplify` needs and makes `graph`).
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in keys and in the store, e.g. `engine`. Renaming a stage makes its stored results unusable."""

    @property
    def label(self) -> str:
        """The name of the step for people, e.g. `engine sm_89`; needed if the plan has several such steps."""
        return self.name

    @property
    def part(self) -> str:
        """The part of a joint build whose slots and sources the stage sees; empty for the slots of the whole build."""
        return ""

    @property
    def step(self) -> str:
        """The label within the part, to which a need such as `graph@export` refers."""
        return self.label

    @property
    @abstractmethod
    def does(self) -> str:
        """The action of the stage for people, a phrase that begins with a verb: `builds an engine`."""

    @property
    @abstractmethod
    def version(self) -> int:
        """The version. A developer increases it with every change of code that alters the results."""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The slots that the stage reads.

        `a|b` takes the first of them that the plan has, under the name `a`. `a?` may be absent. `a@step` is the
        slot as that step made it, even if a later step replaced it, and `a@source` is the slot as it was before the
        first step.
        """

    @property
    @abstractmethod
    def makes(self) -> tuple[str, ...]:
        """The slots that the stage fills."""

    @property
    def cacheable(self) -> bool:
        """False if the stage runs every time and its result is not published (a benchmark)."""
        return True

    @property
    def deterministic(self) -> bool:
        """True if two builds of one key give the same bytes; `replay` checks that."""
        return True

    @property
    def device(self) -> str:
        """The device that the stage computes on, for people: `cpu`, `gpu`, or a kind of GPU such as `gpu sm_89`."""
        return "cpu"

    @property
    def packages(self) -> tuple[str, ...]:
        """The Python packages whose versions change the result."""
        return ()

    @abstractmethod
    def settings(self, request: RequestT_contra) -> Mapping[str, Any]:
        """Return only the settings that change the result, as plain data. They become parts of the key."""

    def environment(self, environment: Environment) -> Mapping[str, str]:
        """Return only the versions and devices that change the result. They become parts of the key."""
        return {name: environment.version(name) or "absent" for name in self.packages}

    def missing(self, request: RequestT_contra, environment: Environment) -> tuple[str, ...]:
        """Return one phrase for each thing that this machine lacks to run the step; empty if it can run here."""
        return ()

    @abstractmethod
    def run(self, context: RunContext) -> StageResult:
        """Make the outputs.

        Raises:
            CosybuildError: the stage failed, with a message for the user; nothing is published.
        """
