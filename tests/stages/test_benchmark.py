"""The benchmark step measures a tiny model; no test depends on the speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.building.stage import RunContext
from cosybuild.config.groups.benchmark import BenchmarkSettings, Point
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.config.groups.trt import TrtBackend, TrtSettings
from cosybuild.config.groups.verify import Provider
from cosybuild.errors import ConfigurationError
from cosybuild.report.benchmark import headline, remarks, rows
from cosybuild.request import Request
from cosybuild.stages.benchmark import BenchmarkStage, expand_benchmark_stages, sizes_of
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment
from tests.stages.building import Bench, artifact, graph_of, tiny

QUICK: dict[str, Any] = {"max_seconds": 0.2, "warmup_seconds": 0.0, "min_rounds": 2, "provider": Provider.cpu}


def asking(request: Request, *, trt: TrtSettings | None = None, **benchmark: Any) -> Request:
    group = BenchmarkSettings(**{**QUICK, **benchmark})
    return replace(request, settings=replace(request.settings, benchmark=group, trt=trt))


def run(request: Request, directory: Path, stage: BenchmarkStage | None = None, **inputs: Artifact) -> StageResult:
    directory.mkdir()
    weights = request.subject.weights
    if weights is not None:
        inputs["weights"] = artifact("weights", [weights])
    asked = replace(request, environment=Environment(gpu_list=()))
    context = RunContext(asked, inputs, directory, lambda kind, **facts: None)
    return (stage or BenchmarkStage()).run(context)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return graph_of(Bench(tiny("cosyvoice2"), tmp_path_factory.mktemp("built")).export())


def test_a_quick_run_writes_every_figure(graph: Artifact, tmp_path: Path) -> None:
    request = asking(tiny("cosyvoice2"), points=(Point.min, Point.opt))
    threads = torch.get_num_threads()
    result = run(request, tmp_path / "w", graph=graph)
    assert torch.get_num_threads() == threads
    record = json.loads(result.outputs["benchmark"][0].read_text())
    assert record["schema"] == 1
    assert [one["name"] for one in record["contestants"]] == ["torch eager", "onnxruntime fp32"]
    assert [case["sizes"] for case in record["cases"]] == [{"seq_len": 4}, {"seq_len": 24}]
    for case in record["cases"]:
        assert set(case["samples"]) == {"torch eager", "onnxruntime fp32"}
        assert {len(samples) for samples in case["samples"].values()} == {case["rounds"]}
        (verdict,) = case["verdicts"]
        assert (verdict["name"], verdict["against"]) == ("onnxruntime fp32", "torch eager")
        for row in case["results"]:
            assert 0 < row["low"] <= row["median"] <= row["high"]
            frames = 2 * case["sizes"]["seq_len"]
            assert row["frames_per_second"] == pytest.approx(frames / row["median"])
            # Two rows are one utterance of T frames at 50 frames a second, and the solver takes ten steps.
            assert row["real_time_factor"] == pytest.approx(10 * row["median"] / (case["sizes"]["seq_len"] / 50))
            assert row["peak_bytes"] is None or row["peak_bytes"] >= 0
    assert all("samples" not in case for case in result.metrics["cases"])
    json.dumps(result.metrics)


def test_the_report_has_the_benchmark(graph: Artifact, tmp_path: Path) -> None:
    result = run(asking(tiny("cosyvoice2")), tmp_path / "w", graph=graph)
    case = result.metrics["cases"][0]
    best = min(case["results"], key=lambda row: row["median"])
    assert headline(result.metrics).startswith(f"{best['name']} ")
    assert "at seq_len=24, real-time factor" in headline(result.metrics)
    assert [row[0] for row in rows(case)] == ["torch eager", "onnxruntime fp32"]
    assert any("torch eager" in line and "onnxruntime fp32" in line for line in remarks(case))


def test_a_lowered_graph_gets_inputs_of_its_own_type(graph: Artifact, tmp_path: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = tmp_path / "half.onnx"
    onnx.save(convert_float_to_float16(onnx.load(str(graph.path))), str(half))
    request = asking(tiny("cosyvoice2"), eager=False)
    request = replace(request, settings=replace(request.settings, precision=PrecisionSettings(target=Target.fp16)))
    result = run(request, tmp_path / "w", graph=graph, lowered=artifact("lowered", [half]))
    names = [row["name"] for row in result.metrics["cases"][0]["results"]]
    assert names == ["onnxruntime fp32", "onnxruntime fp16"]
    assert result.metrics["cases"][0]["refused"] == []


def test_a_size_that_is_refused_does_not_end_the_run(graph: Artifact, tmp_path: Path) -> None:
    import onnx

    frozen = onnx.load(str(graph.path))
    for value in frozen.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = 4
    path = tmp_path / "frozen.onnx"
    onnx.save(frozen, str(path))
    result = run(asking(tiny("cosyvoice2"), points=(Point.min, Point.opt)), tmp_path / "w", graph=artifact("g", [path]))
    small, tuned = result.metrics["cases"]
    assert [row["name"] for row in small["results"]] == ["torch eager", "onnxruntime fp32"]
    assert [row["name"] for row in tuned["results"]] == ["torch eager"]
    assert [row["name"] for row in tuned["refused"]] == ["onnxruntime fp32"]


def test_an_engine_that_cannot_be_opened_is_listed_with_its_reason(graph: Artifact, tmp_path: Path) -> None:
    engine = tmp_path / "x.plan"
    engine.write_bytes(b"ftrt" + bytes(200))
    result = run(
        asking(tiny("cosyvoice2"), eager=False),
        tmp_path / "w",
        graph=graph,
        engine_sm89=artifact("engine_sm89", [engine]),
    )
    (absent,) = result.metrics["absent"]
    assert absent["name"] == "engine sm89"
    assert "no GPU" in absent["reason"]


def test_engines_that_are_not_built_here_do_not_block_the_benchmark() -> None:
    here = Environment(versions={"tensorrt": None, "tensorrt-rtx": "1.7.1"}, gpu_list=())
    plain = asking(tiny("cosyvoice2"))
    assert expand_benchmark_stages(replace(plain, environment=here)) == (BenchmarkStage(),)
    rtx = asking(plain, trt=TrtSettings(sm=(86, 89), optional=False))
    (stage,) = expand_benchmark_stages(replace(rtx, environment=here))
    assert stage.needs[-2:] == ("engine_sm86?", "engine_sm89?")
    absent = asking(plain, trt=TrtSettings(backend=TrtBackend.tensorrt, sm=(90,), optional=False))
    (stage,) = expand_benchmark_stages(replace(absent, environment=here))
    assert stage.engines == ()
    ((name, reason),) = stage.unbuilt
    assert name == "engine sm_90"
    assert "GPU" in reason


def test_benchmark_none_has_no_step() -> None:
    assert expand_benchmark_stages(tiny("cosyvoice2")) == ()


def test_sizes_are_points_lengths_and_batches() -> None:
    fixed = asking(tiny("cosyvoice2"), points=(Point.opt, Point.max), lengths=(24, 7))
    assert fixed.settings.benchmark is not None
    assert sizes_of(fixed, fixed.settings.benchmark) == ({"seq_len": 24}, {"seq_len": 64}, {"seq_len": 7})
    both = asking(
        tiny("cosyvoice2", sizes={"seq_len": (4, 24, 64), "batch": (2, 4, 8)}, dynamic_batch=True),
        lengths=(7,),
        batches=(2, 8),
    )
    assert both.settings.benchmark is not None
    assert sizes_of(both, both.settings.benchmark) == (
        {"seq_len": 7, "batch": 2},
        {"seq_len": 24, "batch": 8},
    )


def test_batches_of_a_fixed_batch_are_refused_while_planning() -> None:
    with pytest.raises(ConfigurationError, match="batch axis of this build is fixed"):
        expand_benchmark_stages(asking(tiny("cosyvoice2"), batches=(2, 4)))
