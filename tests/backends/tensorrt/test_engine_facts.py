"""Facts of an opened engine. Engines open on a GPU only, so the test replays recorded calls."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cosybuild.backends.tensorrt import execution
from cosybuild.backends.tensorrt.builder import BuiltEngine, build_engine
from cosybuild.backends.tensorrt.builder_config import shapes_from_profile
from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.engine_facts import OpenedFacts, inspect_engine, layer_types
from cosybuild.backends.tensorrt.inspection import TensorFact
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.log import BuilderLog
from cosybuild.backends.tensorrt.report import engine_report
from cosybuild.backends.tensorrt.timing_cache import TimingCache, timing_path
from cosybuild.config.groups.trt import TrtSettings, Typing
from cosybuild.errors import EngineError
from cosybuild.models.shape_profile import SizeRange
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.system.environment import Environment, Gpu
from tests.backends.tensorrt.graphs import SPEC, WIDTH, attention_graph
from tests.backends.tensorrt.modules import trt

HAS_GPU = bool(Environment().gpus)

# As written by the inspectors of TensorRT 10 ("Format/Datatype") and 11 (two fields).
TEN = {
    "Layers": [
        {"Name": "a", "Outputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}]},
        {"Name": "b", "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP32"}]},
        {
            "Name": "c",
            "Outputs": [{"Name": "z", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
        },
        {"Name": "d", "Outputs": []},
    ]
}
ELEVEN = {
    "Layers": [
        {"Name": "FP32 in a name", "Outputs": [{"Name": "FP32", "Format": "Row major linear", "Datatype": "Half"}]},
        {"Name": "b", "Outputs": [{"Name": "y", "Format": "Row major linear", "Datatype": "BFloat16"}]},
    ]
}


@pytest.mark.parametrize(("told", "types"), [
    (TEN, {"HALF": 2, "FLOAT": 1}),
    (ELEVEN, {"HALF": 1, "BF16": 1}),
    ({"Layers": ["conv1", "conv2"]}, {}),
    ({}, {}),
])  # fmt: skip
def test_layer_types_are_read_from_the_inspector(told: dict[str, Any], types: dict[str, int]) -> None:
    assert layer_types(told) == types


class Engine:
    """The answers of an engine with two tensors to the calls of the inspection."""

    num_io_tensors = 2
    num_optimization_profiles = 1

    def get_tensor_name(self, index: int) -> str:
        return ("x", "y")[index]

    def get_tensor_mode(self, name: str) -> Any:
        return {"x": trt.TensorIOMode.INPUT, "y": trt.TensorIOMode.OUTPUT}[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return trt.DataType.HALF

    def get_tensor_shape(self, name: str) -> Any:
        return trt.Dims((2, -1))

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return [trt.Dims((2, size)) for size in (4, 500, 3000)]

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: json.dumps(TEN))


class Ten(Engine):
    def get_device_memory_size_for_profile(self, profile: int) -> int:
        return 10


class TenOne(Ten):
    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return 101


class Old(Engine):
    device_memory_size = 8


@pytest.mark.parametrize(("engine", "activation"), [(Ten(), 10), (TenOne(), 101), (Old(), 8)])
def test_an_opened_engine_gives_its_facts(tmp_path: Path, engine: Engine, activation: int) -> None:
    path = tmp_path / "e"
    path.write_bytes(b"plan")
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine)
    names = ("ILogger", "TensorIOMode", "LayerInformationFormat")
    view = SimpleNamespace(Runtime=lambda logger: runtime, **{name: getattr(trt, name) for name in names})
    facts = inspect_engine(TensorRtLibrary("tensorrt", view, "10.0.0"), path)
    assert facts == OpenedFacts(
        tensors=(TensorFact("x", "input", "HALF", (2, -1)), TensorFact("y", "output", "HALF", (2, -1))),
        profiles=({"x": ((2, 4), (2, 500), (2, 3000))},),
        activation_bytes=(activation,),
        layers={"HALF": 2, "FLOAT": 1},
    )


@pytest.mark.skipif(HAS_GPU, reason="with a GPU it opens")
def test_without_a_gpu_the_error_has_the_reason_of_the_library(fp16_engine: BuiltEngine, rtx: TensorRtLibrary) -> None:
    with pytest.raises(EngineError, match=r"does not load small\.fp16.*CUDA"):
        inspect_engine(rtx, fp16_engine.path)


@pytest.mark.parametrize(("layers", "unmet"), [({"HALF": 90, "FLOAT": 10}, 0), ({"FLOAT": 90, "HALF": 10}, 1), ({}, 0)])
def test_weak_typing_is_judged_by_the_inspector(
    fp16_engine: BuiltEngine, rtx: TensorRtLibrary, layers: dict[str, int], unmet: int
) -> None:
    opened = OpenedFacts((), (), (1000,), layers)
    weak = TrtSettings(typing=Typing.weak)
    report = engine_report(fp16_engine, Target("tensorrt", 89), rtx, weak, "fp16", opened)
    assert len(report["unmet"]) == unmet
    assert report["arithmetic"]["share"] == {}
    assert report["activation_bytes"] == {"value": [1000], "source": "engine inspector"}
    assert report["layers"]["source"] == ("engine inspector" if layers else "network")


def test_figures_are_read_from_the_log() -> None:
    log = BuilderLog(
        [
            (3, "Total Activation Memory: 100 bytes"),
            (3, "Total Activation Memory: 300 bytes"),
            (3, "Total Weights Memory: 7 bytes"),
            (3, "[MemUsageStats] Peak memory usage during Engine building and serialization: CPU: 285 MiB"),
            (2, "once"),
            (2, "once"),
            (1, "what went wrong"),
            (1, "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (cudaError 35: no driver)"),
        ]
    )
    assert (log.activation_bytes, log.weights_bytes, log.peak_host_bytes) == ((100, 300), 7, 285 * 2**20)
    assert (log.warnings, log.errors) == (("once",), ("what went wrong",))
    empty = BuilderLog()
    assert (empty.activation_bytes, empty.weights_bytes, empty.peak_host_bytes) == ((), None, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in RTX the calls exist and do nothing
def test_kernel_times_are_stored_and_given_to_the_next_builder(
    rtx: TensorRtLibrary, fp16_graph: Path, tmp_path: Path
) -> None:
    gpu = Gpu(0, "NVIDIA L40S", 89, 0)
    path = timing_path(tmp_path, "TensorRT 10.13.3", gpu, Environment(gpu_list=(gpu,)))
    assert path.name == "TensorRT_10.13.3-sm89-NVIDIA_L40S-driver_unknown.cache"
    shapes = shapes_from_profile({"seq_len": SizeRange(4, 8, 16)}, SPEC)
    for _ in range(2):
        build_engine(
            rtx, fp16_graph, tmp_path / "e", TrtSettings(), precision="fp16", sm=89, profiles=[shapes],
            timing=TimingCache(path),
        )  # fmt: skip
        assert path.stat().st_size > 0
        assert {each.name for each in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
@pytest.mark.parametrize("in_place", [False, True])
def test_an_engine_computes_the_function_of_the_graph(rtx: TensorRtLibrary, tmp_path: Path, in_place: bool) -> None:
    from cosybuild.backends.onnxruntime_backend import load

    known = [gpu.sm for gpu in Environment().gpus if gpu.sm in rtx.sms]
    if not known:
        pytest.skip(f"{rtx.title} does not run on the GPUs here")
    graph = attention_graph(tmp_path / "g.onnx")
    shapes = shapes_from_profile({"seq_len": SizeRange(4, 64, 128)}, SPEC)
    path = tmp_path / "e"
    build_engine(rtx, graph, path, TrtSettings(), precision="fp32", sm=known[0], profiles=[shapes])
    session = execution.load(rtx, path, in_place={"y": "x"} if in_place else None)
    reference = load(graph)
    for length in (4, 37, 128):
        inputs = draw_inputs(SPEC, Draw({"seq_len": length}))
        np.testing.assert_allclose(
            session.infer(inputs)["y"], reference.infer(inputs)["y"], rtol=1e-3, atol=1e-4, err_msg=str(length)
        )
    with pytest.raises(EngineError, match="outside the optimisation profile"):
        session.infer({"x": np.zeros((2, WIDTH, 129), np.float32), "mask": np.ones((2, 1, 129), np.float32)})
