"""External tensors of an ONNX file are found in every position, and unsafe ones are refused before they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cosybuild.backends import onnxruntime_backend
from cosybuild.errors import ExportError, ModelError
from cosybuild.onnxgraph.external import check_external_data, external_fault, external_tensors
from cosybuild.onnxgraph.files import load_model
from tests.onnxgraph.graphs import linear

WEIGHT = np.arange(12, dtype=np.float32)


def outside(location: str = "w.bin", **entries: str) -> TensorProto:
    """Return a 4 x 3 float32 tensor whose values are in the file `location`."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "48", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse() -> onnx.SparseTensorProto:
    values = outside()
    del values.dims[:]
    values.dims.append(12)
    return onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(np.arange(12)), dims=[20])


def constant(attribute: str = "value") -> onnx.NodeProto:
    """Return a node with the tensor in an attribute."""
    value = sparse() if attribute == "sparse_value" else outside()
    return helper.make_node("Constant", [], ["c"], **{attribute: value})


def within(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.NodeProto:
    """Return a node with a subgraph of these nodes and initializers."""
    branch = helper.make_graph(nodes, "branch", [], [], tensors)
    return helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch)


def in_initializer(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(outside())


def in_sparse_initializer(model: ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse())


def in_training(model: ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(outside())


def in_function(model: ModelProto) -> None:
    model.functions.append(helper.make_function("own", "f", [], ["c"], [constant()], [helper.make_opsetid("", 18)]))


def in_default_of_function(model: ModelProto) -> None:
    function = helper.make_function("own", "f", [], ["c"], [], [helper.make_opsetid("", 18)])
    function.attribute_proto.append(helper.make_attribute("value", outside()))
    model.functions.append(function)


def in_node(node: Callable[[], onnx.NodeProto]) -> Callable[[ModelProto], None]:
    return lambda model: model.graph.node.append(node())


PLACES = {
    "initializer": in_initializer,
    "sparse initializer": in_sparse_initializer,
    "training": in_training,
    "function": in_function,
    "default of a function": in_default_of_function,
    "constant": in_node(constant),
    "sparse constant": in_node(lambda: constant("sparse_value")),
    "subgraph": in_node(lambda: within([], [outside()])),
    "constant of a subgraph": in_node(lambda: within([constant()], [])),
    "subgraph of a subgraph": in_node(lambda: within([within([], [outside()])], [])),
    "list of tensors": in_node(lambda: helper.make_node("Own", [], ["c"], domain="own", values=[outside()])),
}


def write(path: Path, model: ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    path.with_name("w.bin").write_bytes(WEIGHT.tobytes())
    return path


@pytest.mark.attack("read or write", "the tensor is found")
@pytest.mark.parametrize("place", PLACES)
def test_an_external_tensor_is_found_and_checked_in_every_position(tmp_path: Path, place: str) -> None:
    model = linear()
    PLACES[place](model)
    path = write(tmp_path / "a.onnx", model)
    assert {tensor.location for tensor in external_tensors(path)} == {"w.bin"}
    assert check_external_data(path) == ("w.bin",)
    path.write_bytes(path.read_bytes().replace(b"w.bin", b"../ws"))
    with pytest.raises(ModelError, match=r"keeps weights in '\.\./ws'; expected is a file in the directory"):
        check_external_data(path)


def test_a_tensor_with_inline_data_is_not_external(tmp_path: Path) -> None:
    assert external_tensors(write(tmp_path / "a.onnx", linear())) == ()


@pytest.mark.attack("read or write", "the graph is refused")
@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"location": "../w.bin"}, r"keeps weights in '\.\./w\.bin'"),
        ({"location": "/etc/passwd"}, r"keeps weights in '/etc/passwd'"),
        ({"location": "link"}, r"keeps weights in 'link'"),
        ({"location": "pipe"}, r"keeps weights in 'pipe'"),
        ({"location": "sub"}, r"keeps weights in 'sub'"),
        ({"location": "a.onnx"}, r"keeps weights in 'a\.onnx'"),
        ({"location": ""}, r"keeps weights in ''"),
        ({"location": "\x1b[2J\u202e"}, r"keeps weights in '\\x1b\[2J\\u202e'"),
        ({"location": "x" * 100_000}, r"keeps weights in 'x{100}…'"),
        ({"offset": "4"}, r"has the tensor 'w' at bytes 4 to 52 of a file that ends at byte 48, in 'w\.bin'"),
        ({"offset": "100", "length": "0"}, r"at bytes 100 to 100 of a file that ends at byte 48"),
        ({"offset": "-1"}, r"states the offset '-1' for the tensor 'w'"),
        ({"offset": "٣"}, r"states the offset '٣' for the tensor 'w'"),
        ({"length": "1_0"}, r"states the length '1_0' for the tensor 'w'"),
        ({"length": "9" * 5000}, r"states the length '9{100}…'"),
        ({"length": "44"}, r"states 44 bytes for the tensor 'w'; its shape \[4, 3\] and its type need 48"),
    ],
)
def test_a_location_that_must_not_be_read_is_refused(tmp_path: Path, entries: dict[str, str], says: str) -> None:
    model = linear()
    model.graph.initializer[0].CopyFrom(outside(**entries))
    path = write(tmp_path / "a.onnx", model)
    (tmp_path / "link").symlink_to("w.bin")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path.parent / "w.bin").write_bytes(WEIGHT.tobytes())
    with pytest.raises(ModelError, match=says) as caught:
        load_model(path)
    assert len(caught.value.message) < 1000
    with pytest.raises(ExportError, match=says):
        onnxruntime_backend.load(path)


def in_a_hub_cache(root: Path, link: str) -> Path:
    """Write a graph into the cache of a hub; its weights are the link `link`, and its contents are in `blobs`."""
    repository = root / "models--acme--x"
    snapshot, blobs = repository / "snapshots" / "1", repository / "blobs"
    other = root / "models--other--y" / "blobs"
    for place in (snapshot, blobs, other, blobs / "below"):
        place.mkdir(parents=True)
    for place in (blobs, other, blobs / "below", repository, root):
        (place / "content").write_bytes(WEIGHT.tobytes())
    (blobs / "out").symlink_to(root / "content")
    (blobs / "circle").symlink_to("circle")
    os.mkfifo(blobs / "pipe")
    model = linear()
    model.graph.initializer[0].CopyFrom(outside())
    onnx.save_model(model, blobs / "graph")
    (snapshot / "a.onnx").symlink_to("../../blobs/graph")
    (snapshot / "w.bin").symlink_to(link)
    return snapshot / "a.onnx"


def test_links_within_the_cache_of_a_hub_are_accepted(tmp_path: Path) -> None:
    assert external_fault(in_a_hub_cache(tmp_path, "../../blobs/content")) is None


@pytest.mark.attack("read or write", "the graph is refused")
@pytest.mark.parametrize(
    "link",
    [
        "../../content",
        "../../../content",
        "../../blobs/out",
        "../../blobs/below/content",
        "../../blobs/../../models--other--y/blobs/content",
        "../../blobs/missing",
        "../../blobs/circle",
        "../../blobs/pipe",
        "../../blobs",
        "/etc/passwd",
    ],
)
def test_other_links_in_the_cache_of_a_hub_are_refused(tmp_path: Path, link: str) -> None:
    fault = external_fault(in_a_hub_cache(tmp_path, link))
    assert fault is not None
    assert "keeps weights in 'w.bin'; expected is a file in the directory of the graph" in fault


def test_a_missing_length_means_the_rest_of_the_file(tmp_path: Path) -> None:
    model = linear()
    model.graph.initializer[0].CopyFrom(outside())
    del model.graph.initializer[0].external_data[1:]
    path = write(tmp_path / "a.onnx", model)
    assert np.array_equal(numpy_helper.to_array(load_model(path).graph.initializer[0]).ravel(), WEIGHT)
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes()[:40])
    with pytest.raises(ModelError, match="states 40 bytes for the tensor 'w'"):
        load_model(path)


def test_a_repeated_entry_is_refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.initializer[0].CopyFrom(outside())
    model.graph.initializer[0].external_data.add(key="offset", value="8")
    fault = external_fault(write(tmp_path / "a.onnx", model))
    assert fault == "states a property of the location of the tensor 'w' twice, in 'w.bin'"


def test_strings_and_unknown_types_have_no_size(tmp_path: Path) -> None:
    for number in (TensorProto.STRING, 77):
        model = linear()
        tensor = outside()
        tensor.ParseFromString(tensor.SerializeToString().replace(b"\x10\x01", bytes((0x10, number))))
        model.graph.initializer.append(tensor)
        assert "whose size in a file is not known" in str(external_fault(write(tmp_path / "a.onnx", model)))


def test_only_listed_files_belong_to_a_graph(tmp_path: Path) -> None:
    model = linear()
    in_initializer(model)
    path = write(tmp_path / "a.onnx", model)
    assert external_fault(path, {"w.bin"}) is None
    assert external_fault(path, {"v.bin"}) == "keeps weights in 'w.bin', which is not among its files"


def test_a_file_that_the_reader_does_not_understand_is_not_given_to_other_libraries(tmp_path: Path) -> None:
    """A group, an encoding that protobuf's own readers skip, must not hide the fields after it."""
    model = linear()
    in_initializer(model)
    path = write(tmp_path / "a.onnx", model)
    path.write_bytes(b"\xa3\x06\xa4\x06" + path.read_bytes())
    assert onnx.load(str(path), load_external_data=False).graph.initializer[0].external_data
    with pytest.raises(ModelError, match=r"is not a complete ONNX file: .*unknown encoding"):
        load_model(path)
    with pytest.raises(ExportError, match=r"cannot be read: .*unknown encoding"):
        onnxruntime_backend.load(path)


@given(
    st.sampled_from([number for name, number in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING")]),
    st.lists(st.integers(0, 5), max_size=3),
)
def test_the_size_of_every_type_equals_that_of_onnx(
    tmp_path_factory: pytest.TempPathFactory, number: int, shape: list[int]
) -> None:
    try:
        dtype = helper.tensor_dtype_to_np_dtype(number)
    except KeyError:  # a type that onnx knows by number only
        return
    inside = numpy_helper.from_array(np.zeros(shape, dtype), "w")
    tensor = TensorProto(name="w", data_type=inside.data_type, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    model = linear()
    model.graph.initializer.append(tensor)
    path = write(tmp_path_factory.mktemp("size") / "a.onnx", model)
    path.with_name("w.bin").write_bytes(inside.raw_data)
    assert external_fault(path) is None
