"""What a stage declares of itself; the engine knows stages by this shape only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cosybuild.core.artifact import Artifact
from cosybuild.core.environment import Environment

RequestT = TypeVar("RequestT")
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)

Emit = Callable[..., None]
"""`emit(kind, **facts)`: report an event of the running step. Kinds are listed in `core.events`."""


@dataclass(frozen=True)
class StageResult:
    """What a stage made.

    Attributes:
        outputs: artifact name -> the files written in the working directory, the main one first.
        metrics: plain JSON data for the report; stored with the artifacts, so that a cached step
            still has its figures.
        apart_bytes: largest memory of a process of its own that the stage ran beside this one.
    """

    outputs: Mapping[str, Sequence[Path]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    apart_bytes: int = 0


@dataclass(frozen=True)
class RunContext:
    """All that a running stage may look at.

    Attributes:
        request: what the build was asked for; the same object that `Stage.settings` was given.
        inputs: slot name -> artifact, for each of the stage's `needs` that is present.
        workdir: an empty directory of its own, on the store's file system. Outputs are written here.
        environment: facts of this machine.
        emit: reports progress.
        sources: slot -> digest of what the build starts from, also where the stage does not read it.
    """

    request: Any
    inputs: Mapping[str, Artifact]
    workdir: Path
    environment: Environment
    emit: Emit
    sources: Mapping[str, str] = field(default_factory=dict)


class Stage(Protocol[RequestT_contra]):
    """One kind of step.

    A slot is a name that artifacts are passed under. A stage that makes a slot which already exists
    replaces it for the stages after it (`simplify` needs and makes `graph`).
    """

    @property
    def name(self) -> str:
        """What keys and the store call it, e.g. `engine`. Renaming it empties its cache."""

    @property
    def label(self) -> str:
        """What people read, e.g. `engine sm_89`; the name itself where there is one step only."""

    @property
    def does(self) -> str:
        """What it does, for people, as a phrase that begins with a verb: `builds an engine`."""

    @property
    def version(self) -> int:
        """Raised by hand when the code changes so that the same ingredients give other bytes."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Slots it reads. `a|b` takes the first of them that the plan has, under the name `a`;
        `a?` may be absent; `a@step` is what that step made of it, whoever has replaced it since, and
        `a@source` what the build started from."""

    @property
    def makes(self) -> tuple[str, ...]:
        """Slots it fills."""

    @property
    def cacheable(self) -> bool:
        """False: it runs every time, and its result is not published (a benchmark)."""

    @property
    def deterministic(self) -> bool:
        """True: two builds of one key give the same bytes; `replay` holds it to that."""

    @property
    def device(self) -> str:
        """What it computes on, for people: `cpu`, `gpu`, or a GPU of a kind such as `gpu sm_89`."""

    def settings(self, request: RequestT_contra) -> Mapping[str, Any]:
        """Only what changes the result, as plain data. It becomes part of the key."""

    def environment(self, environment: Environment) -> Mapping[str, str]:
        """Only the versions and devices that change the result. It becomes part of the key."""

    def missing(self, request: RequestT_contra, environment: Environment) -> tuple[str, ...]:
        """What this machine lacks to run the step, one phrase each; empty when it can run here."""

    def run(self, context: RunContext) -> StageResult:
        """Make the outputs.

        Raises:
            CosybuildError: what the user should read; nothing is published then.
        """
