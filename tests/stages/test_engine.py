"""The engine step: the engines that it builds, the causes of a rebuild, and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorrt_rtx")

from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.library import RTX, TENSORRT, import_library
from cosybuild.backends.tensorrt.loadability import check_plan
from cosybuild.building.events import EventBus
from cosybuild.building.plan import make_plan
from cosybuild.building.record import Outcome
from cosybuild.building.runner import execute
from cosybuild.building.stage import RunContext
from cosybuild.building.status import Blocked, Hit, Stale
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import InputOutput, PrecisionSettings
from cosybuild.config.groups.precision import Target as Precision
from cosybuild.config.groups.trt import Refit, TrtBackend, TrtSettings, Typing, Unmet
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, EngineError
from cosybuild.manifest import read_manifest
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from cosybuild.stages.engine import EngineStage, engine_name, expand_engine_stages, io_dtype
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment, Gpu
from tests.backends.tensorrt.graphs import SPEC, attention_graph

VERSION = import_library(RTX).version
NO_GPU = Environment(gpu_list=())
PROFILE = ProfileSettings(profiles=({"seq_len": RangeSettings(4, "10 s", "60 s")},))
L40S = Gpu(0, "NVIDIA L40S", 89, 48 * 2**30)
H100 = Gpu(0, "NVIDIA H100", 90, 80 * 2**30)


def request_for(graph: Path | None = None, *, precision: Precision = Precision.fp16, **trt: Any) -> Request:
    settings = Settings(
        precision=PrecisionSettings(target=precision), trt_profile=PROFILE, trt=TrtSettings(**trt), store=None
    )
    subject = Subject(Family.onnx, SPEC, {}, graph=graph, stem="small", origin="small.onnx")
    return Request(settings, subject)


def with_settings(request: Request, **changed: Any) -> Request:
    return replace(request, settings=replace(request.settings, **changed))


def on(request: Request, environment: Environment) -> Request:
    return replace(request, environment=environment)


def machine(*gpus: Gpu, **versions: str | None) -> Environment:
    names = {f"{stem}{cuda}": None for stem in ("tensorrt", "tensorrt-rtx") for cuda in ("", "-cu12", "-cu13")}
    given = {name.replace("_", "-"): version for name, version in versions.items()}
    return Environment({**names, **given}, gpus)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attention_graph(tmp_path_factory.mktemp("graph") / "small.fp16.onnx", "float16")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def run(request: Request, store: Store, environment: Environment = NO_GPU) -> Outcome:
    assert request.subject.graph is not None
    request = on(request, environment)
    stages = expand_engine_stages(request)
    sources = {"graph": store.source("graph", request.subject.graph)}
    plan = make_plan(stages, request, sources, environment, store)
    return execute(plan, request, sources, environment, store, EventBus())


def test_an_engine_comes_with_its_report_and_manifest(graph: Path, store: Store, tmp_path: Path) -> None:
    outcome = run(request_for(graph), store)
    assert outcome.failure is None
    (record,) = outcome.records
    (artifact,) = record.outputs.values()
    assert [file.name for file in artifact.files] == [
        "small.fp16.sm89.rtx.engine",
        "small.fp16.sm89.rtx.engine.manifest.json",
    ]
    assert record.metrics["built_for"] == "sm_89"
    assert record.metrics["profiles"] == [{"seq_len": [4, 500, 3000], "seconds": [0.08, 10.0, 60.0]}]
    assert record.metrics["unmet"] == []
    assert record.metrics["rest"].startswith("runtimes that import tensorrt cannot load a TensorRT-RTX engine")
    manifest = read_manifest(store.checkout(artifact, tmp_path / "out")[0])
    assert manifest is not None
    assert manifest["file"]["sha256"] == artifact.files[0].digest
    assert manifest["built_for"] | {"driver": None, "cuda": "13"} == {
        "flavour": "tensorrt_rtx",
        "version": VERSION,
        "cuda": "13",
        "driver": None,
        "sm": 89,
        "gpu": None,
        "hardware_compatibility": "none",
        "version_compatible": False,
    }
    assert manifest["built_from"]["onnx_sha256"] == store.source("graph", graph).digest
    assert [t["name"] for t in manifest["tensors"]] == ["x", "mask", "y"]
    assert manifest["settings"]["profiles"] == [{"seq_len": [4, 500, 3000]}]


def test_the_second_command_builds_nothing(graph: Path, store: Store) -> None:
    run(request_for(graph), store)
    assert [record.action for record in run(request_for(graph), store).records] == ["hit"]


def test_a_changed_list_of_sms_builds_the_new_ones_only(graph: Path, store: Store) -> None:
    run(request_for(graph, sm=(86, 89)), store)
    outcome = run(request_for(graph, sm=(89, 120, 86)), store)
    assert {r.label: r.action for r in outcome.records} == {
        "engine sm_89": "hit",
        "engine sm_120": "built",
        "engine sm_86": "hit",
    }
    assert {name for record in outcome.records for name in record.outputs} == {
        "engine_sm86",
        "engine_sm89",
        "engine_sm120",
    }


@pytest.mark.parametrize(("changed", "part"), [
    ({"trt_profile": ProfileSettings(profiles=({"seq_len": RangeSettings(4, 500, 5000)},))}, "settings.profiles"),
    ({"trt": TrtSettings(optimization_level=1)}, "settings.optimization_level"),
    ({"trt": TrtSettings(workspace_gib=8.0)}, "settings.workspace_gib"),
    ({"precision": PrecisionSettings(target=Precision.mixed)}, "settings.precision"),
])  # fmt: skip
def test_the_reason_names_a_change_that_rebuilds_the_engine(
    graph: Path, store: Store, changed: dict[str, Any], part: str
) -> None:
    request = request_for(graph)
    run(request, store)
    asked = with_settings(request, **changed)
    sources = {"graph": store.source("graph", graph)}
    (step,) = make_plan(expand_engine_stages(on(asked, NO_GPU)), asked, sources, NO_GPU, store).steps
    assert isinstance(step.status, Stale)
    assert any(reason.part.startswith(part) for reason in step.status.reasons)


@pytest.mark.parametrize("trt", [{"backend": TrtBackend.tensorrt_rtx}, {"sm": (89,)}, {"timing_cache": False}])
def test_a_setting_that_does_not_change_the_engine_gives_a_hit(graph: Path, store: Store, trt: dict[str, Any]) -> None:
    run(request_for(graph), store)
    asked = request_for(graph, **trt)
    sources = {"graph": store.source("graph", graph)}
    (step,) = make_plan(expand_engine_stages(on(asked, NO_GPU)), asked, sources, NO_GPU, store).steps
    assert isinstance(step.status, Hit)


def test_tensorrt_without_a_gpu_is_blocked(graph: Path, store: Store) -> None:
    asked = request_for(graph, backend=TrtBackend.tensorrt, sm=(89, 90))
    outcome = run(asked, store, machine())
    assert [record.planned for record in outcome.records] == [
        Blocked(("a GPU (sm_89)", "tensorrt 10 or 11")),
        Blocked(("a GPU (sm_90)", "tensorrt 10 or 11")),
    ]
    assert outcome.failure is None


def labels(request: Request, environment: Environment) -> list[tuple[str, str]]:
    return [(stage.target.library, stage.label) for stage in expand_engine_stages(on(request, environment))]


@pytest.mark.parametrize(("environment", "expected"), [
    (machine(tensorrt_rtx="1.7.1"), [(RTX, "engine sm_89")]),
    (machine(L40S, tensorrt_rtx="1.7.1"), [(RTX, "engine sm_89")]),
    (machine(H100, tensorrt_rtx="1.7.1"), [(RTX, "engine sm_89")]),
    (machine(H100, tensorrt_cu12="10.13.3.9", tensorrt_rtx="1.7.1"), [(TENSORRT, "engine sm_90")]),
    (machine(tensorrt="11.4.1", tensorrt_rtx="1.7.1"), [(RTX, "engine sm_89")]),
    (machine(), [(TENSORRT, "engine tensorrt")]),
])  # fmt: skip
def test_auto_chooses_the_library_that_can_build_here(
    environment: Environment, expected: list[tuple[str, str]]
) -> None:
    assert labels(request_for(), environment) == expected


def test_trt_none_has_no_engine_step() -> None:
    request = request_for()
    assert expand_engine_stages(on(with_settings(request, trt=None), NO_GPU)) == ()


def test_rtx_refuses_an_sm_while_planning() -> None:
    with pytest.raises(ConfigurationError, match=r"sm_90, which TensorRT-RTX 1\.7\.1 does not build for"):
        expand_engine_stages(on(request_for(sm=(90,)), machine(tensorrt_rtx="1.7.1")))


@pytest.mark.parametrize("version", ["11.4.1", "10.13.3.9"])
def test_weak_typing_is_refused_while_planning_from_11_on(version: str) -> None:
    asked = request_for(typing=Typing.weak, backend=TrtBackend.tensorrt)
    here = machine(L40S, tensorrt=version)
    if version.startswith("10"):
        assert len(expand_engine_stages(on(asked, here))) == 1
    else:
        with pytest.raises(ConfigurationError, match=r"TensorRT 11\.4\.1 does not support it; TensorRT 10\.x does"):
            expand_engine_stages(on(asked, here))


def test_refittable_rtx_engines_wait_for_a_gpu() -> None:
    stage = EngineStage(Target(RTX, 89))
    lacks = stage.missing(request_for(refit=Refit.full), machine(tensorrt_rtx="1.7.1"))
    assert lacks == ("a GPU (TensorRT-RTX compiles refittable engines on one)",)
    assert stage.missing(request_for(refit=Refit.full), machine(L40S, tensorrt_rtx="1.7.1")) == ()


def test_tensorrt_depends_on_device_and_driver_and_rtx_does_not() -> None:
    here = machine(L40S, tensorrt="10.13.3", tensorrt_rtx="1.7.1")
    assert EngineStage(Target(RTX, 89)).environment(here) == {"tensorrt_rtx": "1.7.1"}
    assert EngineStage(Target(TENSORRT, 89)).environment(here) == {
        "tensorrt": "10.13.3",
        "gpu": "NVIDIA L40S",
        "driver": "absent",
    }


@pytest.mark.parametrize(("target", "name"), [
    (Target(TENSORRT, 89), "small.fp16.mygpu.plan"),
    (Target(RTX, 120), "small.fp16.sm120.rtx.engine"),
])  # fmt: skip
def test_engines_have_the_names_that_runtimes_expect(target: Target, name: str) -> None:
    assert engine_name(request_for(), target) == name


@pytest.mark.parametrize(("target", "io", "dtype"), [
    (Precision.fp32, InputOutput.match, "float32"),
    (Precision.tf32, InputOutput.match, "float32"),
    (Precision.fp16, InputOutput.match, "float16"),
    (Precision.bf16, InputOutput.match, "bfloat16"),
    (Precision.mixed, InputOutput.match, "float32"),
    (Precision.fp16, InputOutput.keep, "float32"),
])  # fmt: skip
def test_the_type_of_inputs_and_outputs_follows_precision_and_io(
    target: Precision, io: InputOutput, dtype: str
) -> None:
    assert io_dtype(with_settings(request_for(), precision=PrecisionSettings(target=target, io=io))) == dtype


def test_a_graph_of_another_type_than_the_contract_is_refused(graph: Path, store: Store) -> None:
    outcome = run(request_for(graph, precision=Precision.fp32), store)
    assert outcome.failure is not None
    assert "input 'x' is HALF (2, 32, -1); FLOAT (2, 32, -1) is expected" in outcome.failure.message


def context_for(request: Request, graph: Path, workdir: Path, events: list[tuple[str, dict[str, Any]]]) -> RunContext:
    workdir.mkdir()
    inputs = {"lowered": Store(workdir.parent / "s").source("lowered", graph)}
    return RunContext(on(request, NO_GPU), inputs, workdir, lambda kind, **facts: events.append((kind, facts)))


@pytest.mark.parametrize(("dtype", "shortcoming", "warned", "failed", "says"), [
    ("float16", "unfused", {}, {"on_unfused": Unmet.fail}, "attention is not fused: the engine needs"),
    ("float32", "unmet", {"on_unmet": Unmet.warn}, {}, "precision=fp16 is set, but 100% of the matrix arithmetic"),
])  # fmt: skip
def test_a_shortcoming_of_an_engine_is_an_error_or_a_warning(
    dtype: str, shortcoming: str, warned: dict[str, Unmet], failed: dict[str, Unmet], says: str, tmp_path: Path
) -> None:
    graph = attention_graph(tmp_path / "g.onnx", dtype, scores_used_twice=shortcoming == "unfused")
    stage, inputs = EngineStage(Target(RTX, 89)), PrecisionSettings(target=Precision.fp16, io=InputOutput.keep)
    asked = {
        name: with_settings(request_for(graph, **trt), **({"precision": inputs} if dtype == "float32" else {}))
        for name, trt in (("warned", warned), ("failed", failed))
    }
    with pytest.raises(EngineError, match=f"does not meet its settings: {says}"):
        stage.run(context_for(asked["failed"], graph, tmp_path / "failed", []))
    events: list[tuple[str, dict[str, Any]]] = []
    result = stage.run(context_for(asked["warned"], graph, tmp_path / "warned", events))
    (line,) = result.metrics[shortcoming]
    assert line.startswith(says)
    assert line in [facts["message"] for kind, facts in events if kind == "warning"]


def test_the_check_reads_what_the_step_wrote(graph: Path, store: Store, tmp_path: Path) -> None:
    (record,) = run(request_for(graph), store).records
    (artifact,) = record.outputs.values()
    path = store.checkout(artifact, tmp_path / "out")[0]
    fitting = check_plan(path, machine(L40S, tensorrt_rtx=VERSION))
    assert (fitting.loads, fitting.reasons) == (True, ())
    foreign = check_plan(path, machine(H100, tensorrt_rtx="1.8.0"))
    assert foreign.loads is False
    assert foreign.explain().startswith(
        f"built for sm_89, TensorRT-RTX {VERSION}; here sm_90, TensorRT-RTX 1.8.0; an engine of TensorRT-RTX"
    )


def test_metrics_are_plain_json(graph: Path, store: Store) -> None:
    (record,) = run(request_for(graph), store).records
    assert json.loads(json.dumps(record.metrics)) == record.metrics


def test_planning_an_engine_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from cosybuild.stages.engine import expand_engine_stages\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
