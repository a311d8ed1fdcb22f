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
def test_a_session_computes_the_graph(tmp_path: Path, optimised: bool) -> None:
    session = onnxruntime_backend.load(written(tmp_path), optimised=optimised)
    values = np.float32([[1, -2], [3, 4]])
    assert np.array_equal(session.infer({"x": values})["y"], -values)
    assert session.device.endswith("CPUExecutionProvider")


def test_bfloat16_inputs_and_outputs_are_supported(tmp_path: Path) -> None:
    session = onnxruntime_backend.load(written(tmp_path, "Identity", TensorProto.BFLOAT16))
    values = np.array([[1.5, -2], [3, 4]], ml_dtypes.bfloat16)
    result = session.infer({"x": values})["y"]
    assert result.dtype == values.dtype
    assert np.array_equal(result, values)


def test_the_error_for_a_refused_shape_is_one_line(tmp_path: Path) -> None:
    session = onnxruntime_backend.load(written(tmp_path))
    with pytest.raises(InferenceFailed, match="Expected: 2") as caught:
        session.infer({"x": np.zeros((3, 5), np.float32)})
    assert "\n" not in str(caught.value)


def test_ctrl_c_ends_a_call_that_takes_long(tmp_path: Path) -> None:
    """The graph counts to 2**60, which no machine waits for."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    scalars = [helper.make_tensor_value_info(name, kind, []) for name, kind in (
        ("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("on", TensorProto.BOOL)
    )]  # fmt: skip
    sums = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("before", "after", "x", "y")]
    steps = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["before", "one"], ["after"])]
    body = helper.make_graph(steps, "body", [*scalars[:2], sums[0]], [scalars[2], sums[1]], [one])
    often = helper.make_tensor("often", TensorProto.INT64, [], [2**60])
    loop = helper.make_node("Loop", ["often", "", "x"], ["y"], body=body)
    model = helper.make_model(
        helper.make_graph([loop], "count", [sums[2]], [sums[3]], [often]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(model, str(tmp_path / "count.onnx"))
    code = (
        "import numpy, threading, signal, os\n"
        "from pathlib import Path\n"
        "from cosybuild.backends import onnxruntime_backend\n"
        "session = onnxruntime_backend.load(Path('count.onnx'))\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    session.infer({'x': numpy.zeros(1, numpy.float32)})\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_a_graph_that_onnx_runtime_refuses_is_an_export_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not load graph\.onnx") as caught:
        onnxruntime_backend.load(written(tmp_path, "NoSuchOperator"))
    assert "Next:" in str(caught.value)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ExportError, match="does not load"):
        onnxruntime_backend.load(path)


@pytest.mark.skipif(onnxruntime_backend.cuda_loads(), reason="CUDA works here")
def test_a_cuda_provider_that_does_not_load_is_detected(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(MissingRequirement, match="CUDAExecutionProvider"):
        onnxruntime_backend.load(path, provider=Provider.cuda)
    assert "CPU" in onnxruntime_backend.load(path, provider=Provider.auto).device


@pytest.mark.gpu
@pytest.mark.skipif(not onnxruntime_backend.cuda_loads(), reason="CUDA does not load here")
def test_cuda_is_used_if_its_provider_loads(tmp_path: Path) -> None:
    assert "CUDA" in onnxruntime_backend.load(written(tmp_path), provider=Provider.auto).device


def test_the_check_of_the_cuda_provider_prints_nothing(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from cosybuild.backends.onnxruntime_backend import load; "
        "from cosybuild.config.groups.verify import Provider; "
        f"load(Path({str(written(tmp_path))!r}), provider=Provider.auto)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout + answer.stderr == ""
