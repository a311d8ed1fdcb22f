"""The model repository, read with tritonserver's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.deploy import DeploySettings, InstanceKind, Service, TritonBackend, TritonSettings
from cosybuild.deploy.deliverable import Deliverable
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.deploy.triton import config_text
from cosybuild.errors import ConfigurationError, DeployError
from cosybuild.manifest import read_manifest
from cosybuild.system.environment import Environment
from tests.deploy.delivering import NAMES, campplus_shapes, certify, estimator_shapes, put_graph, put_plan, tree

E = "flow.decoder.estimator"
Shapes = dict[str, list[int | str]]
HERE = Environment(gpu_list=())
PROFILES = [{"batch": (2, 4, 32), "seq_len": (4, 500, 3000)}]


def deployed(artifacts: Path, target: Path, **triton: Any) -> Any:
    """Return the parsed configuration of the deployed model."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    settings = DeploySettings(service=Service.triton, dir=str(target), target_sm=89, triton=TritonSettings(**triton))
    root = Path(deploy(artifacts, settings, HERE, profiles=PROFILES)["dir"])
    return text_format.Parse((root / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def fill(artifacts: Path, batch: int | str = 2, *, plan: bool = False) -> Path:
    artifacts.mkdir()
    put_graph(artifacts / f"{E}.fp32.onnx", estimator_shapes(batch))
    if plan:
        put_plan(artifacts / f"{E}.fp16.mygpu.plan", estimator_shapes(batch), dtype="float16")
    return artifacts


def test_a_fixed_batch_is_served_unchanged(tmp_path: Path) -> None:
    config = deployed(fill(tmp_path / "a"), tmp_path / "repository", instances=3)
    assert (config.name, config.backend) == ("flow_decoder_estimator", "onnxruntime")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [port.name for port in config.input] == list(NAMES)
    assert [list(port.dims) for port in config.input] == [
        [2, 80, -1], [2, 1, -1], [2, 80, -1], [2], [2, 80], [2, 80, -1]
    ]  # fmt: skip
    assert [(port.name, list(port.dims)) for port in config.output] == [("estimator_out", [2, 80, -1])]
    assert {port.data_type for port in (*config.input, *config.output)} == {11}  # TYPE_FP32
    assert [(group.count, group.kind) for group in config.instance_group] == [(3, 1)]  # KIND_GPU
    assert set(tree(tmp_path / "repository")) == {
        f"flow_decoder_estimator/{name}" for name in ("config.pbtxt", "1/model.onnx", "1/model.onnx.manifest.json")
    }


def test_a_dynamic_batch_is_left_to_the_server(tmp_path: Path) -> None:
    config = deployed(fill(tmp_path / "a", "batch", plan=True), tmp_path / "repository", queue_delay_us=500)
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("tensorrt", "model.plan", 32)
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [list(port.dims) for port in config.input] == [[80, -1], [1, -1], [80, -1], [1], [80], [80, -1]]
    assert {port.name for port in config.input if port.HasField("reshape")} == {"t"}
    assert list(config.input[3].reshape.shape) == []
    assert {port.data_type for port in config.input} == {10}  # TYPE_FP16


@pytest.mark.parametrize(("batch", "sizes"), [(2, [1, 1, 1]), ("batch", [2, 4, 32])])
def test_every_input_is_warmed_up_at_the_profiles_sizes(tmp_path: Path, batch: int | str, sizes: list[int]) -> None:
    config = deployed(fill(tmp_path / "a", batch), tmp_path / "repository")
    assert [warmup.batch_size for warmup in config.model_warmup] == sizes
    leading = [2] if batch == 2 else []
    for warmup, frames in zip(config.model_warmup, (4, 500, 3000), strict=True):
        assert {name: list(port.dims) for name, port in warmup.inputs.items()} == {
            **{key: [*leading, 80, frames] for key in ("x", "mu", "cond")},
            "mask": [*leading, 1, frames],
            "t": leading or [1],
            "spks": [*leading, 80],
        }
        assert all(port.random_data for port in warmup.inputs.values())


def test_the_backend_can_be_chosen_and_the_other_model_is_retired(tmp_path: Path) -> None:
    artifacts, repository = fill(tmp_path / "a", plan=True), tmp_path / "repository"
    assert deployed(artifacts, repository).backend == "tensorrt"
    before = tree(repository)
    assert deployed(artifacts, repository, backend=TritonBackend.onnxruntime).backend == "onnxruntime"
    assert "flow_decoder_estimator/1/model.plan" not in tree(repository)
    rollback(repository / "flow_decoder_estimator")
    assert tree(repository) == before


def test_the_user_sets_name_version_and_kind(tmp_path: Path) -> None:
    config = deployed(fill(tmp_path / "a"), tmp_path / "r", model="velocity", version=7, kind=InstanceKind.cpu)
    assert (config.name, list(config.version_policy.specific.versions)) == ("velocity", [7])
    assert config.instance_group[0].kind == 2  # KIND_CPU
    assert (tmp_path / "r" / "velocity" / "7" / "model.onnx").exists()


def test_the_speaker_model_has_a_batch_of_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    put_graph(tmp_path / "a" / "campplus.fp32.onnx", campplus_shapes())
    config = deployed(tmp_path / "a", tmp_path / "r")
    assert (config.name, config.max_batch_size) == ("campplus", 0)
    assert [list(port.dims) for port in (*config.input, *config.output)] == [[1, -1, 80], [1, 192]]


def test_a_plan_that_is_missing_or_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="has no artifact to serve"):
        deployed(fill(tmp_path / "a"), tmp_path / "r", backend=TritonBackend.tensorrt)
    with pytest.raises(ConfigurationError, match="cannot run a TensorRT plan"):
        deployed(fill(tmp_path / "b", plan=True), tmp_path / "r", kind=InstanceKind.cpu)


def config_of(tmp_path: Path, inputs: Shapes, outputs: Shapes, declared: dict[str, Any] | None = None) -> Any:
    """Return the parsed configuration of a graph with these inputs and outputs."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    path = tmp_path / "net.fp32.onnx"
    path.write_bytes(b"graph")
    certify(path, {**inputs, **outputs}, "float32", model={"name": "net", **(declared or {})})
    manifest = read_manifest(path)
    assert manifest is not None
    profile = {"batch": (2, 4, 32), "seq_len": (4, 8, 12)}
    text = config_text(Deliverable(path, manifest), TritonSettings(), profile)
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def ports(shapes: Shapes) -> list[dict[str, Any]]:
    return [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in shapes.items()]


@pytest.mark.attack("deceive", "no requests are joined, and the shapes are those of the file")
@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        pytest.param({"x": ["seq_len", 80]}, ["seq_len", 80], id="the first axis is a length"),
        pytest.param({"x": ["batch", "seq_len"], "w": ["seq_len"]}, ["batch", "seq_len"], id="an input of all rows"),
        pytest.param({"x": ["batch", "seq_len"]}, [1, "seq_len"], id="an output of all rows"),
        pytest.param({"x": ["batch", "batch"]}, ["batch", "batch"], id="another axis is the batch too"),
        pytest.param({"x": ["batch", "2*batch"]}, ["batch", 4], id="another axis follows from the batch"),
    ],
)
def test_requests_of_a_model_without_a_batch_are_not_joined(tmp_path: Path, inputs: Shapes, output: Any) -> None:
    """A server that joined them would give each request the rows, or a mixture with the rows, of another."""
    config = config_of(tmp_path, inputs, {"y": output})
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    sizes = [[axis if isinstance(axis, int) else -1 for axis in shape] for shape in (*inputs.values(), output)]
    assert [list(port.dims) for port in (*config.input, *config.output)] == sizes


@pytest.mark.attack("malformed", "the axes are those of the profile")
@pytest.mark.parametrize("own", [["../b\n#", "seq-len"], ["batch-size", ""], [-1, -1]])
def test_axes_that_a_file_names_otherwise_are_those_of_the_manifest(tmp_path: Path, own: list[Any]) -> None:
    declared = {side: ports({name: ["batch", "seq_len"]}) for side, name in (("inputs", "x"), ("outputs", "y"))}
    config = config_of(tmp_path, {"x": own}, {"y": own}, declared)
    assert config.max_batch_size == 32
    warmed = [(one.batch_size, list(one.inputs["x"].dims)) for one in config.model_warmup]
    assert warmed == [(2, [4]), (4, [8]), (32, [12])]


def test_the_warm_up_computes_an_axis_that_follows_from_another(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"x": ["batch", "seq_len"], "m": ["batch", "2*seq_len + 1"]}, {"y": ["batch", 1]})
    assert [list(one.inputs["m"].dims) for one in config.model_warmup] == [[9], [17], [25]]


def _of_file(artifacts: Path, origin: str, digest: str, name: str = "model") -> Path:
    """Write the artifact of an ONNX file that the user named by its path alone."""
    artifacts.mkdir()
    model = {"family": "onnx", "name": name, "origin": origin, "weights_digest": digest, "weights": "in model.onnx"}
    put_graph(artifacts / f"{name}.onnx", {"x": ["batch", 4], "y": ["batch", 4]}, model=model)
    return artifacts


def test_two_files_of_one_name_do_not_replace_one_another(tmp_path: Path) -> None:
    repository, profiles = tmp_path / "repository", [{"batch": (1, 2, 4)}]
    first = _of_file(tmp_path / "a", "/models/bert/model.onnx", "1" * 64)
    second = _of_file(tmp_path / "b", "/models/whisper/model.onnx", "2" * 64)

    def put(artifacts: Path, **triton: Any) -> None:
        settings = DeploySettings(service=Service.triton, dir=str(repository), triton=TritonSettings(**triton))
        deploy(artifacts, settings, HERE, profiles=profiles)

    put(first)
    before = tree(repository)
    with pytest.raises(DeployError, match=r"serves the model of /models/bert/model.onnx, and this build is of") as said:
        put(second)
    assert "model.name=NAME" in said.value.hint
    assert tree(repository) == before
    put(_of_file(tmp_path / "c", "/models/bert/model.onnx", "3" * 64))  # a later version at the same place
    put(_of_file(tmp_path / "d", "/models/whisper/model.onnx", "2" * 64, name="whisper"))
    assert {path.partition("/")[0] for path in tree(repository)} == {"model", "whisper"}
    put(second, model="model")  # the user says that it replaces the other one
