from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from cosybuild.backends import onnxruntime_backend
from cosybuild.onnxgraph.files import load_model, load_structure, save_model
from tests.onnxgraph.graphs import linear, save_split

WEIGHT = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)


def wide() -> onnx.ModelProto:
    model = linear(weight=WEIGHT)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    return model


def test_a_small_model_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    assert save_model(wide(), path) == (path,)
    assert load_model(path) == wide()


def test_a_model_above_the_limit_is_two_files(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    files = save_split(wide(), path, 1000)
    assert [file.name for file in files] == ["a.onnx", "a.onnx.data"]
    assert path.stat().st_size < 400
    back = load_model(path)
    assert np.array_equal(numpy_helper.to_array(back.graph.initializer[0]), WEIGHT)
    onnx.checker.check_model(str(path), full_check=True)
    x = np.ones((2, 4), np.float32)
    assert np.allclose(onnxruntime_backend.load(path).infer({"x": x})["y"], x @ WEIGHT, atol=1e-5)


def test_the_structure_of_a_graph_is_read_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    _, data = save_split(wide(), path, 1000)
    data.unlink()
    assert load_structure(path).graph.initializer[0].name == "w"


def test_equal_graphs_give_equal_bytes_in_any_directory(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "another place"):
        (tmp_path / name).mkdir()
        files = save_split(wide(), tmp_path / name / "a.onnx", 1000)
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_external_tensors_begin_at_pages(tmp_path: Path) -> None:
    model = wide()
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT + 1, "v"))
    path, _ = save_split(model, tmp_path / "a.onnx")
    offsets = [
        int(e.value) for t in load_structure(path).graph.initializer for e in t.external_data if e.key == "offset"
    ]
    assert len(offsets) == 2
    assert all(offset % 4096 == 0 for offset in offsets)
    assert np.array_equal(numpy_helper.to_array(load_model(path).graph.initializer[1]), WEIGHT + 1)
