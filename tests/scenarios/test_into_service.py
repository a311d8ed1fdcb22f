"""One command builds a model directory or a speaker model's graph, and one command deploys it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cosybuild.onnxgraph.header import read_header
from tests.runtime.tiny import golden_run, solve_as_upstream

DATA = Path(__file__).resolve().parents[1] / "data"
SERVICE = ("deploy.dir=service", "deploy.create=true")
E = "flow.decoder.estimator"


def cosybuild(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cosybuild", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def speaker_graph(path: Path) -> Path:
    """Write a small network like CAM++: dilated convolutions over T, pooled statistics, 192 outputs."""
    random = torch.Generator().manual_seed(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((torch.randn(*shape, generator=random) * 0.05).numpy(), name)

    weights = [weight("w1", 32, 80, 3), weight("w2", 32, 32, 3), weight("w3", 64, 192), weight("w4", 192)]
    axes = numpy_helper.from_array(torch.tensor([2]).numpy(), "axes")
    nodes = [
        helper.make_node("Transpose", ["input"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["frames", "w1"], ["a"], pads=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], dilations=[2], pads=[2, 2]),
        helper.make_node("ReduceMean", ["c", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceL2", ["c", "axes"], ["norm"], keepdims=0),
        helper.make_node("Concat", ["mean", "norm"], ["statistics"], axis=1),
        helper.make_node("Gemm", ["statistics", "w3", "w4"], ["output"]),
    ]
    ports = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, "T", 80]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 192]),
    ]
    graph = helper.make_graph(nodes, "campplus", ports[:1], ports[1:], [*weights, axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_deployed_estimator_gives_the_golden_solver_run(tmp_path: Path, version: int) -> None:
    from cosybuild.runtime import load_estimator

    # The builder has no kernels for some of the tiny shapes, so the graph is deployed.
    words = (
        f"model_dir={DATA}/cosyvoice{version}_tiny",
        "trt=none",
        "deploy=cosyvoice",
        *SERVICE,
    )
    answer = cosybuild(tmp_path, *words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"  {E}.fp32.onnx" in answer.stdout.splitlines()
    report = json.loads(next(tmp_path.glob("outputs/runs/*/report.json")).read_text())
    assert list(report["deployment"]["files"]) == [f"{E}.fp32.onnx"]
    given, expected = golden_run(version)
    expected.check(solve_as_upstream(load_estimator(tmp_path / "service"), *given))
    assert cosybuild(tmp_path, "check", "service").returncode == 0


def test_the_speaker_model_is_deployed_into_a_model_directory(tmp_path: Path) -> None:
    path = speaker_graph(tmp_path / "campplus.onnx")
    answer = cosybuild(tmp_path, "model=campplus", f"model.path={path}", "deploy=cosyvoice", *SERVICE)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    header = read_header(tmp_path / "service" / "campplus.onnx")
    ports = [(port.name, port.dtype, port.shape) for port in (*header.inputs, *header.outputs)]
    # The axis keeps its name in the given file.
    assert ports == [("input", "float32", (1, "T", 80)), ("output", "float32", (1, 192))]


def test_random_weights_are_not_deployed(tmp_path: Path) -> None:
    tiny = "model.hyperparameters={channels:[16],num_mid_blocks:1,n_blocks:1,num_heads:2,attention_head_dim:8}"
    words = ["model=cosyvoice2", tiny, "deploy=cosyvoice", *SERVICE]
    answer = cosybuild(tmp_path, *words)
    assert answer.returncode == 10, answer.stdout + answer.stderr
    assert "deploy=cosyvoice is refused: flow.decoder.estimator has random weights" in answer.stderr
    assert list(tmp_path.iterdir()) == []  # refused before the first step


def test_a_deployment_needs_a_directory(tmp_path: Path) -> None:
    answer = cosybuild(tmp_path, "deploy=triton")
    assert answer.returncode == 2
    assert "deploy=triton needs deploy.dir" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_of_a_finished_build_keeps_its_record(tmp_path: Path) -> None:
    words = (f"model_dir={DATA}/cosyvoice2_tiny", "trt=none", "verify=upstream")
    assert cosybuild(tmp_path, *words).returncode == 0
    (path,) = tmp_path.glob("outputs/runs/*/report.json")
    before = json.loads(path.read_text())
    deployed = cosybuild(tmp_path, *words, "deploy=cosyvoice", *SERVICE)
    assert deployed.returncode == 0, deployed.stderr
    assert "Nothing to do: " in deployed.stdout
    assert "deployed to service" in deployed.stdout
    after = json.loads(path.read_text())
    assert after["deployment"]["changed"] is True
    assert (after["started"], after["steps"]) == (before["started"], before["steps"])
    assert "Deployed to `service`" in path.with_name("report.md").read_text()
    assert cosybuild(tmp_path, *words).stdout.startswith("Nothing to do: ")
    planned = cosybuild(tmp_path, *words, "deploy=cosyvoice", *SERVICE, "dry_run=true")
    assert "The build would then deploy to service (cosyvoice)." in planned.stdout
    (shown,) = cosybuild(tmp_path, "rollback", "service", "--list").stdout.splitlines()
    assert shown.endswith(f"UTC  before a deploy of {E}.fp32.onnx")
    assert f"  {E}.fp32.onnx is removed; it was not there before" in cosybuild(tmp_path, "rollback", "service").stdout
    assert "All deployments of service are undone" in cosybuild(tmp_path, "rollback", "service").stderr
