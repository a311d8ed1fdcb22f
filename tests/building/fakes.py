"""Very small stages and a clock for the tests of the build, controlled by the test."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.building.events import Event, EventBus
from cosybuild.building.plan import Plan, make_plan
from cosybuild.building.record import Outcome
from cosybuild.building.runner import execute
from cosybuild.building.stage import RunContext
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment

MACHINE = Environment(versions={"exporter": "1.0", "simplifier": "2.0"}, gpu_list=())


class FakeClock:
    """A clock that stands still, except for one second at each call of `elapsed`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def elapsed(self) -> float:
        self.at += 1.0
        return self.at


@dataclass
class FakeStage:
    """A stage made of its declaration; `run` writes its inputs and settings as text, unless `work` is given.

    Attributes:
        reads: names of the request's entries that change the result.
        uses: distributions whose version changes the result.
        lacks: the requirements that the machine lacks.
        work: the function that `run` calls instead, with the context.
        log: a file that gets a line for every run, in any process.
        ran: the number of runs in this process.
    """

    name: str
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    label: str = ""
    does: str = "joins what it is given"
    version: int = 1
    cacheable: bool = True
    deterministic: bool = True
    device: str = "cpu"
    reads: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    work: Callable[[RunContext], StageResult] | None = None
    log: Path | None = None
    ran: int = field(default=0)
    part: str = ""

    def __post_init__(self) -> None:
        self.label = self.label or self.name

    @property
    def step(self) -> str:
        return self.label

    def settings(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: request[name] for name in self.reads if name in request}

    def environment(self, environment: Environment) -> Mapping[str, str]:
        return {name: environment.version(name) or "" for name in self.uses}

    def missing(self, request: Mapping[str, Any], environment: Environment) -> tuple[str, ...]:
        return self.lacks

    def run(self, context: RunContext) -> StageResult:
        self.ran += 1
        if self.log is not None:
            line = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(line, f"{self.label}\n".encode())
            os.close(line)
        return self.work(context) if self.work is not None else self.join(context)

    def join(self, context: RunContext) -> StageResult:
        lines = [self.name, str(dict(self.settings(context.request)))]
        lines += [f"{slot}: {artifact.path.read_text()}" for slot, artifact in sorted(context.inputs.items())]
        return self.write(context, "\n".join(lines))

    def write(self, context: RunContext, text: str, **metrics: Any) -> StageResult:
        """Write `text` and the output's name into every output, so that no two are equal."""
        outputs = {}
        for slot in self.makes:
            path = context.workdir / f"{slot}.txt"
            path.write_text(f"{slot}\n{text}")
            outputs[slot] = [path]
        return StageResult(outputs, metrics)


def pipeline(**changes: dict[str, Any]) -> list[FakeStage]:
    """Return export (weights) -> simplify -> verify, engine; `changes` has other fields by stage name."""
    declared: dict[str, dict[str, Any]] = {
        "export": {"needs": ("weights?",), "makes": ("graph",), "reads": ("opset",), "uses": ("exporter",)},
        "simplify": {"needs": ("graph",), "makes": ("graph",), "reads": ("rounds",), "uses": ("simplifier",)},
        "verify": {"needs": ("graph",), "makes": ("evidence",), "reads": ("rtol", "profile")},
        "engine": {"needs": ("lowered|graph",), "makes": ("engine",), "reads": ("profile",)},
    }
    return [FakeStage(name, **{**fields, **changes.get(name, {})}) for name, fields in declared.items()]


class Bench:
    """A store, a clock and all events, with `plan` and `build` as short calls."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.seen: list[Event] = []
        self.kept: list[Outcome] = []
        self.environment = MACHINE
        self.sources: dict[str, Artifact] = {}

    def plan(self, stages: Sequence[FakeStage], request: Mapping[str, Any] | None = None) -> Plan:
        return make_plan(stages, request or {}, self.sources, self.environment, self.store)

    def build(self, stages: Sequence[FakeStage], request: Mapping[str, Any] | None = None) -> Outcome:
        plan = self.plan(stages, request)
        self.seen.clear()
        self.kept.clear()
        bus = EventBus([self.seen.append], self.clock)
        return execute(
            plan,
            request or {},
            self.sources,
            self.environment,
            self.store,
            bus,
            keep=self.kept.append,
            clock=self.clock,
        )

    def kinds(self, step: str) -> list[str]:
        return [event.kind for event in self.seen if event.step == step]


def complete(outcome: Outcome) -> bool:
    """Return True if every step has its outputs."""
    return outcome.failure is None and all(r.action in ("hit", "pulled", "built") for r in outcome.records)


def actions(outcome: Outcome) -> dict[str, str]:
    """Return label -> action."""
    return {record.label: record.action for record in outcome.records}


def verdicts(plan: Plan) -> dict[str, str]:
    """Return label -> verdict in words."""
    return {step.label: f"{step.status.verdict}: {step.status.explain()}" for step in plan.steps}


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    """Start a thread and return it."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread
