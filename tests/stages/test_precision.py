"""The precision stage lowers the estimators, gives the same bytes each time, and has a complete key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cosybuild.config.groups.precision import InputOutput, Method, Target
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import ConfigurationError, MissingRequirement
from cosybuild.lazy import is_installed
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.precision.calibration import calibration_files
from cosybuild.stages.precision import PrecisionStage
from cosybuild.system.environment import Environment
from tests.precision.estimators import FAMILIES, estimator, estimator_spec, export, exported
from tests.stages.lowering import lower, request

SPEC = estimator_spec()


@pytest.fixture(scope="module", params=FAMILIES)
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(request.param, tmp_path_factory.mktemp(request.param) / "graph.onnx")


@pytest.mark.parametrize("target", [Target.fp16, Target.bf16, Target.mixed])
def test_estimators_are_lowered_except_for_phases_and_positions(graph: Path, tmp_path: Path, target: Target) -> None:
    result = lower(request(SPEC, target=target), graph, tmp_path / "work")
    metrics = result.metrics
    # Mish and, in CosyVoice 1, one ConvTranspose: TensorRT does not support them in bfloat16.
    refused = [
        node["op"] for group in metrics["kept_fp32"] for node in group["nodes"] if "does not accept" in group["reason"]
    ]
    assert set(refused) <= ({"Mish", "ConvTranspose"} if target is Target.bf16 else set())
    assert metrics["flops_lowered"] == 1.0 or ("ConvTranspose" in refused and metrics["flops_lowered"] > 0.98)
    assert metrics["nodes"]["kept_fp32"] == sum(group["count"] for group in metrics["kept_fp32"])
    operators = {node["op"] for group in metrics["kept_fp32"] for node in group["nodes"]}
    assert {"Sin", "Cos"} <= operators
    assert not operators & {"MatMul", "Gemm", "Conv"}
    if target is not Target.mixed:
        assert not operators & {"Softmax", "LayerNormalization", "Add"}
        assert metrics["casts"] <= 5 + 2 * len(refused)
    wanted = {"fp16": "FLOAT16", "bf16": "BFLOAT16", "mixed": "FLOAT"}[target.value]
    written = onnx.load(str(result.outputs["lowered"][0]))
    for value in (*written.graph.input, *written.graph.output):
        assert onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type) == wanted


def test_t_is_cast_to_float32_before_any_other_node(graph: Path, tmp_path: Path) -> None:
    result = lower(request(SPEC, target=Target.fp16), graph, tmp_path / "work")
    written = onnx.load(str(result.outputs["lowered"][0]))
    readers = [node for node in written.graph.node if "t" in node.input]
    assert [(node.op_type, node.attribute[0].i) for node in readers] == [("Cast", onnx.TensorProto.FLOAT)]


def test_another_directory_gives_the_same_bytes(graph: Path, tmp_path: Path) -> None:
    results = [lower(request(SPEC, target=Target.fp16), graph, tmp_path / name) for name in ("a", "b")]
    first, second = (result.outputs["lowered"][0].read_bytes() for result in results)
    assert first == second


def test_the_report_names_the_nodes_that_large_weights_keep_in_fp32(tmp_path: Path) -> None:
    graph = exported("cosyvoice2", tmp_path / "graph.onnx", excess=3e4)
    metrics = lower(request(SPEC, target=Target.fp16), graph, tmp_path / "work").metrics
    reasons = " ".join(group["reason"] for group in metrics["kept_fp32"])
    assert "above data_max 16384" in reasons
    kept = [node for group in metrics["kept_fp32"] for node in group["nodes"]]
    assert any(node["module"].endswith("ff.net.2") or ".ff" in node["module"] for node in kept)
    assert 0.5 < metrics["flops_lowered"] < 1.0


def test_calibration_files_determine_the_ranges(tmp_path: Path) -> None:
    spec = ModelSpec((TensorSpec("x", (1, "n")),), (TensorSpec("y", (1, "n")),))
    path = tmp_path / "graph.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[1, n] x) => (float[1, n] y) { a = Mul(x, x) y = Sqrt(a) }'
    )
    onnx.save(model, str(path))
    asked = request(spec, target=Target.fp16)
    assert lower(asked, path, tmp_path / "generated").metrics["nodes"]["kept_fp32"] == 0
    np.savez(tmp_path / "loud.npz", x=np.full((1, 7), 250, np.float32))
    np.savez(tmp_path / "quiet.npz", x=np.ones((1, 3), np.float32))
    files = calibration_files(str(tmp_path))
    assert [file.name for file in files] == ["loud.npz", "quiet.npz"]
    metrics = lower(asked, path, tmp_path / "files", *files).metrics
    assert metrics["nodes"]["kept_fp32"] == 2
    assert metrics["calibration"]["inputs"] == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.ones((1, 2), np.float32)}, "holds z; the model takes x, y"),
        ({"x": np.ones((2, 2), np.float32), "y": np.ones(2, np.float32)}, r"x .* has shape \(2, 2\)"),
        ({"x": np.ones((1, 2), np.float32), "y": np.ones(3, np.float32)}, r"y .* has shape \(3,\)"),
    ],
)
def test_calibration_files_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    from cosybuild.precision.calibration import file_samples

    spec = ModelSpec((TensorSpec("x", (1, "n")), TensorSpec("y", ("n",))), ())
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(ConfigurationError, match=message):
        list(file_samples([tmp_path / "c.npz"], spec))


def test_missing_or_unreadable_calibration_files_are_refused(tmp_path: Path) -> None:
    from cosybuild.precision.calibration import file_samples

    with pytest.raises(ConfigurationError, match="neither an"):
        calibration_files(str(tmp_path))
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(file_samples([tmp_path / "c.npz"], SPEC))


def test_the_key_has_only_settings_that_change_the_lowered_graph() -> None:
    stage = PrecisionStage()
    base = stage.settings(request(SPEC, target=Target.fp16))
    changes = {
        "target": Target.bf16, "io": InputOutput.keep, "keep_fp32": ("Softmax",), "data_max": 1.0, "init_max": 2.0,
        "init_min": 0.0, "calibration_sizes": (8,), "calibration_seed": 1,
    }  # fmt: skip
    for name, value in changes.items():
        assert stage.settings(request(SPEC, **{"target": Target.fp16, name: value})) != base, name
    assert stage.settings(request(SPEC, target=Target.fp16, snr_db=10.0)) == base
    # With files, their paths and the sizes of generated inputs are not in the key; the digest of their content is.
    given = stage.settings(request(SPEC, target=Target.fp16, calibration="/a"))
    assert given == stage.settings(request(SPEC, target=Target.fp16, calibration="/b", calibration_seed=5))
    assert "nvidia-modelopt" not in stage.environment(Environment())
    assert "nvidia-modelopt" in PrecisionStage(Method.autocast).environment(Environment())


def test_profiles_that_admit_the_calibration_sizes_share_the_lowered_graph() -> None:
    stage = PrecisionStage()
    keys = [
        stage.settings(request(SPEC, sizes=sizes, target=Target.fp16))
        for sizes in ((4, 500, 3000), (4, 100, 500), (1, 500, 5000))
    ]
    assert keys[0] == keys[1] == keys[2]
    assert keys[0]["calibration"]["sizes"] == [{"seq_len": 4}, {"seq_len": 128}]


@pytest.mark.parametrize(
    ("sizes", "stated", "expected"),
    [
        ((8, 16, 24), (), [8, 24]),  # the nearest size in the profile
        ((8, 8, 8), (), [8]),
        ((200, 300, 400), (), [200]),
        ((8, 16, 24), (60, 101), [60, 101]),  # a stated size is used
    ],
)
def test_calibration_stays_within_the_profile(
    sizes: tuple[int, int, int], stated: tuple[int, ...], expected: list[int]
) -> None:
    settings = PrecisionStage().settings(request(SPEC, sizes=sizes, target=Target.fp16, calibration_sizes=stated))
    assert settings["calibration"]["sizes"] == [{"seq_len": size} for size in expected]


def test_the_batch_of_calibration_is_in_the_key() -> None:
    spec = ModelSpec((TensorSpec("x", ("batch", "n")),), ())
    found = []
    for batch in (RangeSettings(2, 4, 32), RangeSettings(1, 1, 8), RangeSettings(4, 4, 4)):
        asked = request(spec, target=Target.fp16)
        profile = ProfileSettings(profiles=({"n": RangeSettings(4, 128, 200), "batch": batch},))
        asked = replace(asked, settings=replace(asked.settings, trt_profile=profile))
        found.append(PrecisionStage().settings(asked)["calibration"]["sizes"])
    assert found[0] == found[1] == [{"batch": 2, "n": 4}, {"batch": 2, "n": 128}]
    assert found[2] == [{"batch": 4, "n": 4}, {"batch": 4, "n": 128}]


def test_a_streaming_estimator_is_lowered_with_generated_sizes(tmp_path: Path) -> None:
    graph = export(estimator("cosyvoice2"), tmp_path / "graph.onnx", streaming=True)
    asked = request(SPEC, target=Target.fp16, calibration_sizes=(60, 101))
    metrics = lower(asked, graph, tmp_path / "work").metrics
    assert metrics["calibration"] == {"inputs": 2, "from": "generated"}
    assert metrics["flops_lowered"] == 1.0
    assert draw_inputs(SPEC, Draw({"seq_len": 60}))["x"].shape == (2, 80, 60)


@pytest.mark.skipif(is_installed("modelopt"), reason="ModelOpt is installed here")
def test_autocast_without_modelopt_names_the_missing_package(tmp_path: Path) -> None:
    graph = exported("cosyvoice2", tmp_path / "graph.onnx")
    asked = request(SPEC, target=Target.fp16, method=Method.autocast)
    assert "nvidia-modelopt" in PrecisionStage(Method.autocast).missing(asked, Environment())[0]
    with pytest.raises(MissingRequirement, match="modelopt"):
        lower(asked, graph, tmp_path / "work")


@pytest.mark.skipif(not is_installed("modelopt"), reason="needs the extra autocast")
def test_autocast_lowers_most_of_the_arithmetic(tmp_path: Path) -> None:
    graph = exported("cosyvoice2", tmp_path / "graph.onnx")
    asked = request(SPEC, target=Target.fp16, method=Method.autocast)
    metrics = lower(asked, graph, tmp_path / "work").metrics
    assert metrics["method"] == "autocast"
    assert metrics["flops_lowered"] > 0.5
