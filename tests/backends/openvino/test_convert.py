"""IRs of tiny models: bounds of the profiles, the types that are computed, and the operators that stay in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.openvino.convert import IrTask, convert, convert_in_subprocess
from cosybuild.backends.openvino.requirements import lacking_instructions
from cosybuild.backends.openvino.session import OpenVinoSession, load
from cosybuild.backends.session import InferenceFailed
from cosybuild.config.groups.openvino import OvPrecision, OvSettings, OvWeights
from cosybuild.errors import ConfigurationError, OpenVinoError
from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.system.environment import Environment
from tests.backends.openvino.making import PROFILE, SPEC, ignore, inputs, make_ir, snr_db
from tests.runtime.tiny import write_graph

pytest.importorskip("openvino")

VERSIONS = (1, 2, 3)
needs_bf16 = pytest.mark.skipif(
    lacking_instructions("bf16", Environment()) is not None, reason="OpenVINO would emulate bfloat16 here"
)
needs_fp16 = pytest.mark.skipif(
    lacking_instructions("fp16", Environment()) is not None, reason="OpenVINO would compute float16 in float32 here"
)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    directory = tmp_path_factory.mktemp("graphs")
    return {version: write_graph(directory / f"{version}.onnx", version) for version in VERSIONS}


def expected(graph: Path, given: dict[str, Any]) -> Any:
    return onnxruntime_backend.load(graph).infer(given)["estimator_out"]


def computed(session: OpenVinoSession, given: dict[str, Any]) -> Any:
    return session.infer(given)["estimator_out"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_float32_ir_computes_in_float32_also_where_openvino_prefers_bfloat16(
    graphs: dict[int, Path], version: int, tmp_path: Path
) -> None:
    report = make_ir(graphs[version], tmp_path / "m.xml")
    assert list(report["executed"]["products"]) == ["f32"]
    assert report["unmet"] == []
    assert report["kept_operators"] == 0
    session = load(tmp_path / "m.xml", "fp32")
    for frames in (4, 24, 64):
        given = inputs(frames, seed=frames)
        assert snr_db(computed(session, given), expected(graphs[version], given)) > 100


@needs_bf16
@pytest.mark.parametrize("version", VERSIONS)
def test_in_bf16_products_compute_in_bfloat16_and_other_arithmetic_in_float32(
    graphs: dict[int, Path], version: int, tmp_path: Path
) -> None:
    report = make_ir(graphs[version], tmp_path / "m.xml", "bf16", keep=("arithmetic", "phases"))
    assert list(report["executed"]["products"]) == ["bf16"]
    assert report["unmet"] == []
    assert set(report["executed"]["layers"]["MVN"]) == {"f32"}
    session = load(tmp_path / "m.xml", "bf16")
    given = inputs(24)
    assert 20 < snr_db(computed(session, given), expected(graphs[version], given)) < 70


@needs_bf16
def test_without_phases_the_time_embedding_is_wrong(graphs: dict[int, Path], tmp_path: Path) -> None:
    """bfloat16 rounds 1000 t, of which the embedding takes the sine, by up to 2."""
    plain, kept = tmp_path / "plain.xml", tmp_path / "kept.xml"
    make_ir(graphs[2], plain, "bf16", keep=("arithmetic",), on_unmet="warn")
    make_ir(graphs[2], kept, "bf16", keep=("arithmetic", "phases"))
    # The same inputs but for the time, so that only the embedding changes.
    given = [inputs(24, t=t) for t in (0.7, 0.7016)]
    moved = [np.subtract(*(computed(load(path, "bf16"), one) for one in given)) for path in (kept, plain)]
    exact = np.subtract(*(expected(graphs[2], one) for one in given))
    right, wrong = (snr_db(one, exact) for one in moved)
    assert right > wrong + 6


@needs_fp16
@pytest.mark.parametrize("version", VERSIONS)
def test_half_precision_keeps_only_the_arguments_of_sines(
    graphs: dict[int, Path], version: int, tmp_path: Path
) -> None:
    report = make_ir(graphs[version], tmp_path / "m.xml", "fp16", keep=("phases",))
    assert list(report["executed"]["products"]) == ["f16"]
    assert report["unmet"] == []
    assert set(report["executed"]["layers"]["Math"]) == {"f32"}  # sine and cosine
    given = inputs(24)
    assert snr_db(computed(load(tmp_path / "m.xml", "fp16"), given), expected(graphs[version], given)) > 40


def test_weights_are_halved_but_for_the_frequencies_of_the_time_embedding(
    graphs: dict[int, Path], tmp_path: Path
) -> None:
    whole, half, rounded = (tmp_path / f"{name}.xml" for name in ("whole", "half", "rounded"))
    make_ir(graphs[2], whole)
    make_ir(graphs[2], half, "bf16", keep=("phases",), weights=OvWeights.fp16, on_unmet="warn")
    sizes = [path.with_suffix(".bin").stat().st_size for path in (whole, half)]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    assert {path.name for path in tmp_path.iterdir()} == {"whole.xml", "whole.bin", "half.xml", "half.bin"}
    make_ir(graphs[2], rounded, "bf16", weights=OvWeights.fp16, on_unmet="warn")
    # Computed in float32, only the stored numbers differ.
    given = inputs(24, t=0.97)
    right, wrong = (snr_db(computed(load(ir, "fp32"), given), expected(graphs[2], given)) for ir in (half, rounded))
    assert right > wrong + 6


def test_sizes_outside_the_profiles_are_refused(graphs: dict[int, Path], tmp_path: Path) -> None:
    later = {"seq_len": SizeRange(80, 90, 96)}
    make_ir(graphs[2], tmp_path / "m.xml", profiles=(PROFILE, later))
    session = load(tmp_path / "m.xml", "fp32")
    assert computed(session, inputs(96)).shape == (2, 8, 96)
    for frames in (3, 97):
        with pytest.raises(InferenceFailed, match=r"incompatible"):
            session.infer(inputs(frames))
    assert computed(session, inputs(4)).shape == (2, 8, 4)


def test_two_conversions_give_the_same_bytes(graphs: dict[int, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        settings = OvSettings(precision=OvPrecision.fp32, weights=OvWeights.fp16)
        convert_in_subprocess(IrTask(graphs[3], tmp_path / name / "m.xml", settings, (PROFILE,), SPEC), ignore)
    for name in ("m.xml", "m.bin"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_pattern_that_matches_nothing_is_refused(graphs: dict[int, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the pattern 'Mathmul', which matches no operator") as caught:
        make_ir(graphs[2], tmp_path / "m.xml", "bf16", keep=("Mathmul",))
    assert "MatMul" in (caught.value.hint or "")


def test_a_graph_with_another_interface_is_refused(graphs: dict[int, Path], tmp_path: Path) -> None:
    renamed = replace(SPEC, outputs=(TensorSpec("velocity", (2, 8, "seq_len")),))
    with pytest.raises(OpenVinoError, match=r"outputs of the IR are estimator_out .*; velocity .* are expected"):
        convert(IrTask(graphs[2], tmp_path / "m.xml", OvSettings(), (PROFILE,), renamed), ignore)


def test_a_file_that_is_no_graph_is_refused_by_the_subprocess(tmp_path: Path) -> None:
    graph = tmp_path / "m.onnx"
    graph.write_bytes(b"no graph")
    task = IrTask(graph, tmp_path / "m.xml", OvSettings(precision=OvPrecision.fp32), (PROFILE,), SPEC)
    with pytest.raises(OpenVinoError, match=r"does not compile m\.onnx in fp32") as caught:
        convert_in_subprocess(task, ignore)
    assert "Next:" in (caught.value.hint or "")


def test_a_graph_without_constants_has_a_file_of_weights_too(tmp_path: Path) -> None:
    """An artifact has no empty file."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    spec = ModelSpec((TensorSpec("x", (2, 3)),), (TensorSpec("y", (2, 3)),))
    convert(IrTask(tmp_path / "m.onnx", tmp_path / "m.xml", OvSettings(), (), spec), ignore)
    assert (tmp_path / "m.bin").stat().st_size > 0
    given = {"x": np.array([[-1, 0, 1], [2, -2, 3]], np.float32)}
    assert load(tmp_path / "m.xml", "fp32").infer(given)["y"].tolist() == [[0, 0, 1], [2, 0, 3]]
