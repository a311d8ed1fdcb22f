"""The base class of all stages. The planner and the runner know stages only by this interface."""

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
"""A function `emit(kind, **facts)` that reports an event of the running step. `building.events` lists the kinds."""


@dataclass(frozen=True)
class RunContext:
    """Everything that a running stage may read.

    Attributes:
        request: the request of the build, the same object that `Stage.settings` receives.
        inputs: slot -> artifact, for each of the stage's `needs` that is present.
        workdir: an empty directory for this step, on the store's file system. The stage writes its outputs there.
        emit: reports events such as progress.
        sources: slot -> digest of every source of the stage's part, also of those that the stage does not read.
        metrics: slot -> metrics of the step that made this input. They are not in the key, so outputs must not depend
            on them.
    """

    request: Any
    inputs: Mapping[str, Artifact]
    workdir: Path
    emit: Emit
    sources: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Stage(ABC, Generic[RequestT_contra]):
    """One kind of step. A subclass defines the abstract members; all others have defaults.

    A slot is the name under which artifacts pass between stages. If a stage makes a slot that exists already, it
    replaces the slot for the stages after it (`simplify` needs and makes `graph`).
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the stage in keys and in the store, e.g. `engine`. A new name makes stored results unusable."""

    @property
    def label(self) -> str:
        """The name of the step for people, e.g. `engine sm_89`. Two steps of a plan must not have the same label."""
        return self.name

    @property
    def part(self) -> str:
        """In a joint build, the network whose slots and sources the stage uses; else an empty text."""
        return ""

    @property
    def step(self) -> str:
        """The label without the name of the part. A need such as `graph@export` refers to it."""
        return self.label

    @property
    @abstractmethod
    def does(self) -> str:
        """The action of the stage for people, as a phrase that begins with a verb, e.g. `builds an engine`."""

    @property
    @abstractmethod
    def version(self) -> int:
        """The version of the stage. A developer increases it with every change of code that alters the results."""

    @property
    @abstractmethod
    def needs(self) -> tuple[str, ...]:
        """The slots that the stage reads, each as a text.

        `a|b` is the first of these slots that the plan has, received under the name `a`. `a?` may be absent. `a@step`
        is the slot as that step made it, even if a later step replaced it. `a@source` is the slot as it was before the
        first step.
        """

    @property
    @abstractmethod
    def makes(self) -> tuple[str, ...]:
        """The slots that the stage fills."""

    @property
    def cacheable(self) -> bool:
        """False if the stage runs every time and its result is not stored, as for a benchmark."""
        return True

    @property
    def deterministic(self) -> bool:
        """True if two builds of one key give the same bytes. `replay` checks this."""
        return True

    @property
    def device(self) -> str:
        """The device on which the stage computes, for people: `cpu`, `gpu`, or a kind of GPU such as `gpu sm_89`."""
        return "cpu"

    @property
    def packages(self) -> tuple[str, ...]:
        """The Python packages whose versions change the result."""
        return ()

    @abstractmethod
    def settings(self, request: RequestT_contra) -> Mapping[str, Any]:
        """Return the settings that change the result, and no others, as plain data. They become parts of the key."""

    def environment(self, environment: Environment) -> Mapping[str, str]:
        """Return the versions and devices that change the result, and no others. They become parts of the key."""
        return {name: environment.version(name) or "absent" for name in self.packages}

    def missing(self, request: RequestT_contra, environment: Environment) -> tuple[str, ...]:
        """Return one phrase for each requirement that this machine does not meet; empty if the step can run here.

        Args:
            request: the request of the build.
            environment: the facts of this machine.
        """
        return ()

    @abstractmethod
    def run(self, context: RunContext) -> StageResult:
        """Make the outputs in the working directory, and return them with the metrics.

        Raises:
            CosybuildError: the stage failed. It has a message for the user, and nothing is published.
        """
