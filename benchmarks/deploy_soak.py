"""Deploy, kill, roll back and retry on one directory at random; after each step, run its artifacts.

    python benchmarks/deploy_soak.py [steps] [seed] [estimator | voice | triton]

Each build is an estimator whose output is its own number everywhere, or a whole voice, each sample of which has the
numbers of the builds of its three parts (`numbered_voice.py`), in a directory or as a model of a Triton repository.
After every step, before anything is repaired, `load_estimator` or `load_voice` loads the directory and is called: all
answers must come from one build, and must be those of the newest complete change. A killed change counts only if its
journal was written; a retry must then succeed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numbered_voice
import onnx.parser
import torch

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.deploy.state import read_current, read_journal
from cosybuild.deploy.transaction import recover
from cosybuild.deploy.triton_voice import NAME as VOICE_MODEL
from cosybuild.directory_in_service import STATE, view_of
from cosybuild.errors import ArtifactRefused, DeployError, ShapeRefused, VariantRefused
from cosybuild.manifest import write_manifest
from cosybuild.runtime import load_estimator
from cosybuild.system.environment import Environment

STEM = "flow.decoder.estimator"
NAMES = {"full": f"{STEM}.fp32.onnx", "dynamic": f"{STEM}.fp32.dynamic_batch.onnx"}
NAMES["streaming"] = f"{STEM}.streaming.fp32.onnx"
KEPT = 10

State = Mapping[str, int]
"""variant -> build: the expected answers of the directory."""


def make_run(directory: Path, variant: str, build: int) -> Path:
    """Make the artifacts of a run: one estimator whose output is `build` everywhere."""
    directory.mkdir()
    rows = "B" if variant == "dynamic" else "2"
    wide, ports = f"float[{rows},80,T]", ("mask", f"float[{rows},1,T]")
    inputs = {"x": wide, ports[0]: ports[1], "mu": wide, "t": f"float[{rows}]", "spks": f"float[{rows},80]"}
    inputs["cond"] = wide
    text = (
        f'<ir_version: 9, opset_import: ["" : 18]> g ({", ".join(f"{t} {n}" for n, t in inputs.items())}) '
        f"=> ({wide} estimator_out) <float[1] answer = {{{build}.0}}, float[1] zero = {{0.0}}> "
        "{ still = Mul(x, zero) estimator_out = Add(still, answer) }"
    )
    path = directory / NAMES[variant]
    onnx.save(onnx.parser.parse_model(text), path)
    sides = [
        [{"name": name, "dtype": "float32", "shape": [size if size in "BT" else int(size) for size in shape]}
         for name, shape in ((n, t[6:-1].split(",")) for n, t in side.items())]
        for side in (inputs, {"estimator_out": wide})
    ]  # fmt: skip
    model = {"family": "cosyvoice2", "streaming": variant == "streaming", "weights_digest": f"{build:064}"}
    write_manifest(path, {"verified": True, "model": model, "interface": {"inputs": sides[0], "outputs": sides[1]}})
    return directory


def change(service: str, run: str | None, kind: Service) -> None:
    """Deploy a run, or roll back if it is None."""
    if run is None:
        rollback(Path(service))
        return
    # A model's directory is in the repository.
    place = str(Path(service).parent) if kind is Service.triton else service
    settings = DeploySettings(service=kind, dir=place, keep_backups=KEPT)
    deploy(Path(run), settings, Environment(gpu_list=()))


def child(ready: Any, service: str, run: str | None, kind: Service) -> None:
    """Run one change in the process that may be killed."""
    ready.send(None)
    change(service, run, kind)


def answers(service: Path) -> State:
    """Load the directory as it is and call all variants; return variant -> the number in the output."""
    estimator = load_estimator(service, threads=1)
    found = {}
    for variant, batch, streaming in (("full", 2, False), ("dynamic", 3, False), ("streaming", 2, True)):
        mel = torch.ones(batch, 80, 5)
        given = (mel, torch.ones(batch, 1, 5), mel, torch.ones(batch), torch.ones(batch, 80), mel)
        try:
            values = estimator(*given, streaming=streaming).unique()
        except (ShapeRefused, VariantRefused):
            continue
        assert values.numel() == 1, "the output mixes builds"
        found[variant] = int(values)
    return found


@dataclass(frozen=True)
class Subject:
    """The artifacts that a soak deploys.

    Attributes:
        variants: the variants of a build that one directory can hold.
        make_run: makes the artifacts of a run of one variant of a build.
        answers: loads a directory and calls it; variant -> number of the build.
        kind: `bundle`, or `triton` for a model of a repository, whose artifacts are in its first version.
    """

    variants: tuple[str, ...]
    make_run: Callable[[Path, str, int], Path]
    answers: Callable[[Path], State]
    kind: Service = Service.bundle

    @property
    def folder(self) -> str:
        """The directory of the artifacts below the one that deployments change."""
        return "1" if self.kind is Service.triton else ""

    def found(self, service: Path) -> State:
        """Return the answers of the directory as it is; none if it has no artifacts."""
        try:
            found = self.answers(service / self.folder)
        except ArtifactRefused:
            if any(name.endswith(".onnx") for name in view_of(service).below(self.folder).files()):
                raise
            return {}
        assert len(set(found.values())) <= 1, f"the directory answers with {found}"
        return found

    def expected(self, state: State) -> State:
        """Return the expected answers; an estimator with a dynamic batch serves two rows too."""
        return {**({"full": state["dynamic"]} if "dynamic" in state else {}), **state}


SUBJECTS = {
    "estimator": Subject(tuple(NAMES), make_run, answers),
    "voice": Subject(numbered_voice.VARIANTS, numbered_voice.make_run, numbered_voice.answers),
    "triton": Subject(numbered_voice.VARIANTS, numbered_voice.make_run, numbered_voice.answers, Service.triton),
}


@dataclass
class Soak:
    """One directory and its expected state.

    Attributes:
        undo: the states before the changes that are not undone, each with the number of all earlier changes.
    """

    subject: Subject
    base: Path
    chance: random.Random
    state: State = field(default_factory=dict)
    undo: list[tuple[State, int]] = field(default_factory=list)
    changes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    span: float = 0.2

    @property
    def service(self) -> Path:
        place = self.base / "service"
        return place / VOICE_MODEL if self.subject.kind is Service.triton else place

    def step(self, number: int) -> None:
        """Make one deployment or rollback, killed or not; after a kill, perhaps a retry."""
        run, after = self._draw(number)
        is_killed, before = self.chance.random() < 0.5, self._last_change()
        if is_killed:
            self._kill(run)
        else:
            self._do(run)
        self.counts["rollbacks" if run is None else "deployments"] += 1
        interrupted = view_of(self.service).journal is not None
        # Two states can give the same answers, so the records say whether a killed change counts.
        is_new = not is_killed or self._last_change() != before
        found = self.subject.found(self.service)
        wanted = self.subject.expected(after if is_new else self.state)
        assert found == wanted, f"{number}: {found} instead of {wanted}"
        self.counts["killed"] += is_killed
        self.counts["killed between the journal and the end"] += is_killed and interrupted
        if is_new:
            self._note(run, after)
        self.counts["killed, no change"] += not is_new
        if self.chance.random() < 0.5:
            recover(self.service)
        if is_killed and run is not None and self.chance.random() < 0.5:
            self.counts["retries"] += 1
            self._do(run)
            if not is_new:
                self._note(run, after)
        assert self.subject.found(self.service) == self.subject.expected(self.state), f"{number}: after the repair"

    def _last_change(self) -> int:
        """Return the number of the last change that counts: that of the journal, or of the record of the directory."""
        journal = read_journal(self.service)
        return read_current(self.service).number if journal is None else journal.number

    def _draw(self, number: int) -> tuple[str | None, State]:
        if self.undo and self.changes - self.undo[-1][1] < KEPT and self.chance.random() < 0.3:
            return None, self.undo[-1][0]
        builds = set(self.state.values())
        build = builds.pop() if builds and self.chance.random() < 0.4 else number + 1
        variant = self.chance.choice(self.subject.variants)
        run = self.subject.make_run(self.base / f"run{number}", variant, build)
        return str(run), {**(self.state if build in self.state.values() else {}), variant: build}

    def _note(self, run: str | None, after: State) -> None:
        if run is None:
            self.undo.pop()
            self.changes += 1
        elif after != self.state:
            self.undo.append((self.state, self.changes))
            self.changes += 1
        else:
            self.counts["nothing to change"] += 1
        self.state = after

    def _do(self, run: str | None) -> None:
        change(str(self.service), run, self.subject.kind)

    def _kill(self, run: str | None) -> None:
        context = multiprocessing.get_context("forkserver")
        here, there = context.Pipe()
        process = context.Process(target=child, args=(there, str(self.service), run, self.subject.kind))
        process.start()
        here.recv()
        time.sleep(self.chance.uniform(0, self.span))
        process.kill()
        process.join()
        # Adapt the times of the kills to the speed of this machine.
        self.span = max(0.002, self.span * (0.8 if process.exitcode == 0 else 1.25))
        self.counts["finished before the kill"] += process.exitcode == 0


def run(steps: int, seed: int, subject: Subject) -> dict[str, Any]:
    """Make `steps` steps and return how many there were of each kind.

    Raises:
        AssertionError: the answers are not those of the newest complete change.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        soak = Soak(subject, Path(temporary), random.Random(seed))
        soak.service.mkdir(parents=True)
        for number in range(steps):
            soak.step(number)
        backups = [path for path in (soak.service / STATE).glob("[0-9]*") if path.is_dir()]
        if soak.undo and soak.changes - soak.undo[-1][1] < KEPT:
            rollback(soak.service)
            assert subject.found(soak.service) == subject.expected(soak.undo[-1][0])
        counts = {"steps": steps, **sorted_counts(soak.counts), "backups at the end": len(backups)}
    return {**counts, "seconds": round(time.monotonic() - begun, 1)}


def sorted_counts(counts: Counter[str]) -> dict[str, int]:
    """Return the counts in the order of their names."""
    return {name: counts[name] for name in sorted(counts)}


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["__main__"])
    words = sys.argv[1:]
    steps, seed, name = [*words, *("50", "0", "estimator")[len(words) :]]
    try:
        print(json.dumps(run(int(steps), int(seed), SUBJECTS[name])))
    except DeployError as error:
        sys.exit(f"a change that was not killed failed: {error}")
