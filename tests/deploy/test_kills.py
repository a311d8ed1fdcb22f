"""A deployment that is killed at any moment leaves the old or the new state: random kills, and a kill at every step."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy import transaction
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.system.environment import Environment

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """Return a script of benchmarks/ as a module."""
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    module = script("deploy_kills")
    module.SIZE = 1 << 16
    return module


@pytest.mark.attack("interrupt", "the old or the new state")
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_random_kills_leave_the_old_or_the_new_state(kills: ModuleType) -> None:
    counts = kills.run(6, 1)
    assert counts["old"] + counts["new"] == 6


class Killed(BaseException):
    """An exception in place of the end of the process; no code of cosybuild catches it."""


def _deploy(artifacts: Path, service: Path, kind: Service = Service.cosyvoice) -> None:
    settings = DeploySettings(service=kind, dir=str(service), target_sm=89)
    deploy(artifacts, settings, Environment(gpu_list=()))


def _is_killed(monkeypatch: pytest.MonkeyPatch, step: int, change: Callable[[], object]) -> bool:
    """Make a change that ends before its `step`-th change of a name; return False if it ended by itself."""
    remaining = [step]

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if remaining[0] == 0:
                raise Killed
            remaining[0] -= 1
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "unlink", "mkdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        try:
            change()
        except Killed:
            return True
    return False


@pytest.mark.attack("interrupt", "the old or the new state")
@pytest.mark.parametrize("with_plan", [True, False])
def test_a_kill_before_any_change_of_a_name_leaves_the_old_or_the_new_state(
    tmp_path: Path, kills: ModuleType, monkeypatch: pytest.MonkeyPatch, with_plan: bool
) -> None:
    old, new = kills.make_artifacts(tmp_path / "old", 1, True), kills.make_artifacts(tmp_path / "new", 2, with_plan)
    before = {kills.GRAPH: 1, kills.PLAN: 1}
    after = dict.fromkeys((kills.GRAPH, kills.PLAN) if with_plan else (kills.GRAPH,), 2)
    outcomes = []
    for step in range(100):
        service = tmp_path / f"service{step}"
        service.mkdir()
        _deploy(old, service)
        killed = _is_killed(monkeypatch, step, lambda service=service: _deploy(new, service))
        now = kills.whole(service)
        assert now.get(kills.PLAN, now[kills.GRAPH]) in (1, 2)
        transaction.recover(service)
        now = kills.whole(service)
        assert now in (before, after)
        outcomes.append(now == after)
        if not killed:
            break
        _deploy(new, service)  # and the next deployment succeeds
        assert kills.whole(service) == after
    assert not killed
    # The old state is found until the journal exists, and the new state from then on.
    assert outcomes == sorted(outcomes)
    assert False in outcomes
    assert outcomes.count(True) > 3


@pytest.mark.attack("interrupt", "the old or the new voice")
@pytest.mark.parametrize(
    ("kind", "change"), [(Service.bundle, "deploy"), (Service.bundle, "rollback"), (Service.triton, "deploy")]
)
def test_a_kill_before_any_change_of_a_name_leaves_the_old_or_the_new_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Service, change: str
) -> None:
    """The old voice has both kinds of attention, of which the new one replaces one and retires the other."""
    voices = script("numbered_voice")
    runs = [voices.make_run(tmp_path / variant, variant, 3) for variant in voices.VARIANTS]
    new = voices.make_run(tmp_path / "new", "full", 6)
    old_answers, new_answers = {"full": 3, "streaming": 3}, {"full": 6}
    outcomes = []
    for step in range(200):
        service = tmp_path / f"service{step}"
        service.mkdir()
        for run in runs:
            _deploy(run, service, kind)
        before, after = old_answers, new_answers
        if change == "rollback":
            _deploy(new, service, kind)
            before, after = new_answers, old_answers
        killed = _is_killed(
            monkeypatch,
            step,
            lambda service=service: rollback(service) if change == "rollback" else _deploy(new, service, kind),
        )
        root, place = (service / "token2wav", "1") if kind is Service.triton else (service, "")
        now = voices.answers(root / place)
        assert now in (before, after)
        transaction.recover(root)
        assert voices.answers(root / place) == now, "the repair does not change which voice answers"
        outcomes.append(now == after)
        if not killed:
            break
    assert not killed
    assert outcomes == sorted(outcomes)
    assert False in outcomes
    assert outcomes.count(True) > 3
