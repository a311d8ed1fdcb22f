"""Objections to a deployment, `deploy.force`, and the retirement of older plans."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy, facts_text
from cosybuild.deploy.rollback import backups, rollback
from cosybuild.errors import DeployError
from cosybuild.system.environment import Environment, Gpu
from tests.deploy.delivering import estimator_shapes, put_graph, put_plan, tree

E = "flow.decoder.estimator"
HERE = Environment(gpu_list=())


def artifacts(root: Path, seed: int = 0, *, plan: bool = True, sms: tuple[int, ...] = (89,), **facts: Any) -> Path:
    root.mkdir()
    put_graph(root / f"{E}.fp32.onnx", estimator_shapes(), seed=seed, **facts)
    for sm in sms if plan else ():
        put_plan(root / f"{E}.fp16.sm{sm}.plan", estimator_shapes(), dtype="float16", seed=seed + sm, sm=sm, **facts)
    return root


def settings(target: Path, **more: Any) -> DeploySettings:
    return DeploySettings(service=Service.cosyvoice, dir=str(target), **{"target_sm": 89, **more})


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"verified": None}, "was not verified"),
        (
            {"verified": None, "pending": ["verify engine: needs a GPU"]},
            r"was not verified \(verify engine: needs a GPU\)",
        ),
        ({"verified": False}, "failed its verification"),
        ({"model": {"random_weights": True}}, "was made from random weights"),
    ],
)
def test_objections_are_listed_and_nothing_is_changed(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    made = artifacts(tmp_path / "artifacts", **facts)
    target = tmp_path / "service"
    target.mkdir()
    with pytest.raises(DeployError, match=words) as caught:
        deploy(made, settings(target), HERE)
    assert caught.value.exit_code == 10
    assert list(target.iterdir()) == []
    forced = deploy(made, settings(target, force=True), HERE)["forced"]
    manifest = json.loads((target / f"{E}.fp32.onnx.manifest.json").read_text())
    assert manifest["deployment"]["forced"] == forced != []


def test_a_pending_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="the run is pending: engine sm_90 needs a GPU"):
        deploy(artifacts(tmp_path / "a"), settings(tmp_path / "s"), HERE, pending=["engine sm_90 needs a GPU"])


def test_an_engine_for_another_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="built for sm_89, and the target is sm_120"):
        deploy(artifacts(tmp_path / "a"), settings(tmp_path / "s", target_sm=120), HERE)


def test_without_a_target_the_gpu_of_this_machine_is_used(tmp_path: Path) -> None:
    made = artifacts(tmp_path / "a")
    with pytest.raises(DeployError, match="does not name the GPU"):
        deploy(made, settings(tmp_path / "s", target_sm=None), HERE)
    deploy(made, settings(tmp_path / "s", target_sm=None), Environment(gpu_list=(Gpu(0, "L20", 89, 2**30),)))


def test_the_engine_of_the_target_is_taken_from_several(tmp_path: Path) -> None:
    made = artifacts(tmp_path / "a", sms=(86, 89, 120))
    deploy(made, settings(tmp_path / "s", target_sm=120), HERE)
    expected = (made / f"{E}.fp16.sm120.plan").read_bytes()
    assert (tmp_path / "s" / f"{E}.fp16.mygpu.plan").read_bytes() == expected


@pytest.mark.attack("stale", "the old plan is retired")
def test_a_plan_of_an_older_graph_is_retired(tmp_path: Path) -> None:
    target = tmp_path / "service"
    deploy(artifacts(tmp_path / "old"), settings(target), HERE)
    (target / f"{E}.fp32.mygpu.plan").write_bytes(b"made by the runtime itself")
    (target / "llm.pt").write_bytes(b"of no concern")
    before = tree(target)
    facts = deploy(artifacts(tmp_path / "new", 1, plan=False), settings(target), HERE)
    assert facts["retired"] == [f"{E}.fp16.mygpu.plan", f"{E}.fp32.mygpu.plan"]
    assert set(tree(target)) == {f"{E}.fp32.onnx", f"{E}.fp32.onnx.manifest.json", "llm.pt"}
    rollback(target)
    assert tree(target) == before


def test_rollback_goes_back_one_deployment_at_a_time_and_to_any(tmp_path: Path) -> None:
    target, states = tmp_path / "service", []
    for seed in range(4):
        states.append(tree(target) if target.exists() else {})
        deploy(artifacts(tmp_path / f"a{seed}", seed, plan=seed != 2), settings(target), HERE)
    latest = tree(target)
    assert [backup.number for backup in backups(target)] == [1, 2, 3, 4]
    for expected in reversed(states):
        rollback(target)
        assert tree(target) == expected
    with pytest.raises(DeployError, match=r"All deployments of .* are undone"):
        rollback(target)
    rollback(target, 5)  # before the first rollback
    assert tree(target) == latest
    rollback(target, 2)
    assert tree(target) == states[1]
    with pytest.raises(DeployError, match="has no backup 99"):
        rollback(target, 99)


@pytest.mark.attack("forge", "the deployment is refused")
def test_a_file_that_was_damaged_after_the_build_is_refused(tmp_path: Path) -> None:
    made = artifacts(tmp_path / "a")
    (made / f"{E}.fp32.onnx").write_bytes(b"x")
    with pytest.raises(DeployError, match="is not the file that was built"):
        deploy(made, settings(tmp_path / "s"), HERE)


def test_deployed_files_share_no_blocks_with_the_run(tmp_path: Path) -> None:
    made = artifacts(tmp_path / "a")
    deploy(made, settings(tmp_path / "s"), HERE)
    content = (made / f"{E}.fp32.onnx").read_bytes()
    (tmp_path / "s" / f"{E}.fp32.onnx").write_bytes(b"the service overwrites it")
    assert (made / f"{E}.fp32.onnx").read_bytes() == content


def test_weights_of_another_model_in_the_directory_are_an_objection(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    weights = target / "flow.pt"
    weights.write_bytes(b"these weights")
    facts = {"weights": "flow.pt", "weights_digest": hashlib.sha256(b"these weights").hexdigest()}
    made = artifacts(tmp_path / "a", plan=False, model=facts)
    deploy(made, settings(target), HERE)
    weights.write_bytes(b"other weights")
    with pytest.raises(DeployError, match=r"flow\.pt has other weights"):
        deploy(made, settings(target), HERE)
    assert len(deploy(made, settings(target, force=True), HERE)["forced"]) == 1


def test_artifacts_that_the_service_does_not_read_are_named(tmp_path: Path) -> None:
    made = artifacts(tmp_path / "a", plan=False)
    put_graph(made / f"{E}.fp16.onnx", estimator_shapes(), dtype="float16")
    facts = deploy(made, settings(tmp_path / "s"), HERE)
    assert facts["left"] == [f"{E}.fp16.onnx"]
    assert f"not deployed: {E}.fp16.onnx, because deploy=cosyvoice has no place for it" in facts_text(facts)
