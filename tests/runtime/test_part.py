"""A built part refuses what its graph could not report: token ids outside the vocabulary, other inputs and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cosybuild.errors import ArtifactRefused, ServingError, ShapeRefused
from cosybuild.manifest import write_manifest
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.run.facts import _tensor
from cosybuild.runtime import BuiltPart, load_part
from tests.models.cosyvoice.vocoder.vocoders import published
from tests.models.front_ends import front_end_subject

GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
g (int64[1, N] token, float[1, 2] embedding, float[5, 2] table) => (float[1, N, 2] y)
{
    rows = Gather(table, token)
    y = Add(rows, embedding)
}
"""
VOCABULARY = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(GRAPH)
    model.graph.input.pop()
    table = np.arange(2 * VOCABULARY, dtype=np.float32).reshape(VOCABULARY, 2)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    file = tmp_path / "flow.frontend.fp32.onnx"
    onnx.save(model, file)
    token = {"name": "token", "shape": [1, "N"], "dtype": "int64", "range": [0, VOCABULARY]}
    write_manifest(file, {"verified": True, "model": {"streaming": False, "inputs": [token]}})
    return file


def call(part: BuiltPart, *tokens: int, **more: Any) -> np.ndarray[Any, Any]:
    given = {"token": np.array([tokens], np.int64), "embedding": np.zeros((1, 2), np.float32), **more}
    return part(**given)["y"]


def test_ids_of_the_vocabulary_are_looked_up(path: Path) -> None:
    part = load_part(path, threads=1)
    assert call(part, 0, 4).tolist() == [[[0, 1], [8, 9]]]
    assert call(part, 1, token=np.array([[3]], np.uint8), embedding=np.ones((1, 2))).tolist() == [[[7, 8]]]
    assert call(part, token=np.zeros((1, 0), np.int64)).shape == (1, 0, 2)


@pytest.mark.parametrize(("tokens", "place"), [((0, 5), r"token\[0, 1\] is 5"), ((-1, 9), r"token\[0, 0\] is -1")])
def test_other_ids_are_refused_with_their_place_and_the_range(tokens: tuple[int, ...], place: str, path: Path) -> None:
    with pytest.raises(ServingError, match=rf"{place}; whole numbers from 0 to 4 are expected"):
        call(load_part(path), *tokens)


def test_an_id_that_wraps_in_the_graphs_type_is_refused(path: Path) -> None:
    with pytest.raises(ServingError, match="is 18446744073709551615"):
        call(load_part(path), token=np.array([[2**64 - 1]], np.uint64))


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"token": np.zeros((1, 2), np.float32)}, ServingError, "token is float32; int64 is expected"),
        ({"token": np.zeros(2, np.int64)}, ShapeRefused, r"token has the shape \(2,\); \(1, any\) is expected"),
        ({"embedding": np.zeros((1, 3), np.float32)}, ShapeRefused, r"embedding has the shape \(1, 3\)"),
        (
            {"speaker": np.zeros(1)},
            ServingError,
            "called with embedding, speaker, token; expected are token, embedding",
        ),
    ],
)
def test_other_inputs_are_refused(more: dict[str, Any], error: type[Exception], message: str, path: Path) -> None:
    with pytest.raises(error, match=message):
        call(load_part(path), 1, **more)


def test_a_file_without_manifest_needs_trust(path: Path) -> None:
    (path.parent / f"{path.name}.manifest.json").unlink()
    with pytest.raises(ArtifactRefused, match="there is no manifest"):
        load_part(path)
    assert load_part(path, trust=True).ranges == {}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_record_of_a_vocoder_limits_no_offset(version: int) -> None:
    """The ranges of offsets and frames are those of the tests; an utterance has larger ones."""
    assert not [tensor.name for tensor in vocoder_spec(published(version)).inputs if "range" in _tensor(tensor)]


def test_the_record_of_a_front_end_has_the_size_of_its_vocabulary() -> None:
    subject = front_end_subject(2)
    ranges = {tensor.name: _tensor(tensor).get("range") for tensor in subject.spec.inputs}
    size = subject.hyperparameters["vocab_size"]
    assert ranges == {
        **{name: [0, size] for name in ("token", "prompt_token", "lookahead_token")},
        "prompt_feat": None,
        "embedding": None,
    }
