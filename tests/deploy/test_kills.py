"""A deployment that is killed at any moment leaves the old or the new state: random kills, and a kill at every step."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy import publish
from cosybuild.deploy.service import deploy
from cosybuild.system.environment import Environment

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "deploy_kills.py"


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    specification = importlib.util.spec_from_file_location("deploy_kills", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.SIZE = 1 << 16
    return module


@pytest.mark.attack("interrupt", "the old or the new state")
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_random_kills_leave_the_old_or_the_new_state(kills: ModuleType) -> None:
    counts = kills.run(6, 1)
    assert counts["old"] + counts["new"] == 6


class Killed(BaseException):
    """An exception in place of the end of the process; no code of cosybuild catches it."""


def _deploy(artifacts: Path, service: Path) -> None:
    settings = DeploySettings(service=Service.cosyvoice, dir=str(service), target_sm=89)
    deploy(artifacts, settings, Environment(gpu_list=()))


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
        remaining = [step]

        def counted(original: object, remaining: list[int] = remaining) -> object:
            def call(*arguments: object, **named: object) -> object:
                if remaining[0] == 0:
                    raise Killed
                remaining[0] -= 1
                return original(*arguments, **named)  # type: ignore[operator]

            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "unlink", "mkdir"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            try:
                _deploy(new, service)
                killed = False
            except Killed:
                killed = True
        now = kills.whole(service)
        assert now.get(kills.PLAN, now[kills.GRAPH]) in (1, 2)
        publish.recover(service)
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
