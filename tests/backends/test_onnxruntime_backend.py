from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.session import InferenceFailed
from cosybuild.config.groups.verify import Provider
from cosybuild.errors import ExportError, MissingRequirement


def written(directory: Path, op: str = "Neg", kind: int = TensorProto.FLOAT, opset: int = 18) -> Path:
    values = [helper.make_tensor_value_info(name, kind, ["n", 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = directory / "graph.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("optimised", [True, False])
def test_it_computes(tmp_path: Path, optimised: bool) -> None:
    session = onnxruntime_backend.load(written(tmp_path), optimised=optimised)
    values = np.float32([[1, -2], [3, 4]])
    assert np.array_equal(session.infer({"x": values})["y"], -values)
    assert session.device.endswith("CPUExecutionProvider")


def test_bfloat16_goes_in_and_out(tmp_path: Path) -> None:
    session = onnxruntime_backend.load(written(tmp_path, "Identity", TensorProto.BFLOAT16))
    values = np.array([[1.5, -2], [3, 4]], ml_dtypes.bfloat16)
    result = session.infer({"x": values})["y"]
    assert result.dtype == values.dtype
    assert np.array_equal(result, values)


def test_a_shape_it_does_not_take_is_one_line(tmp_path: Path) -> None:
    session = onnxruntime_backend.load(written(tmp_path))
    with pytest.raises(InferenceFailed, match="Expected: 2") as caught:
        session.infer({"x": np.zeros((3, 5), np.float32)})
    assert "\n" not in str(caught.value)


def test_a_graph_it_refuses_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not load graph\.onnx") as caught:
        onnxruntime_backend.load(written(tmp_path, "NoSuchOperator"))
    assert "Next:" in str(caught.value)


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ExportError, match="does not load"):
        onnxruntime_backend.load(path)


@pytest.mark.skipif(onnxruntime_backend.cuda_loads(), reason="CUDA works here")
def test_cuda_that_does_not_load_is_found_out(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(MissingRequirement, match="CUDAExecutionProvider"):
        onnxruntime_backend.load(path, provider=Provider.cuda)
    assert "CPU" in onnxruntime_backend.load(path, provider=Provider.auto).device


@pytest.mark.gpu
@pytest.mark.skipif(not onnxruntime_backend.cuda_loads(), reason="CUDA does not load here")
def test_cuda_where_it_loads(tmp_path: Path) -> None:
    assert "CUDA" in onnxruntime_backend.load(written(tmp_path), provider=Provider.auto).device


def test_finding_out_prints_nothing(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from cosybuild.backends.onnxruntime_backend import load; "
        "from cosybuild.config.groups.verify import Provider; "
        f"load(Path({str(written(tmp_path))!r}), provider=Provider.auto)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout + answer.stderr == ""
