from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from cosybuild.backends import onnxruntime_backend
from cosybuild.backends.onnxruntime_backend import Level
from cosybuild.backends.session import InferenceFailed
from cosybuild.config.groups.verify import Provider
from cosybuild.errors import ExportError, MissingRequirement
from tests.backends.graphs import endless, written


@pytest.mark.parametrize("level", list(Level))
def test_a_session_computes_the_graph(tmp_path: Path, level: Level) -> None:
    session = onnxruntime_backend.load(written(tmp_path), level=level)
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
    endless(tmp_path)
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
