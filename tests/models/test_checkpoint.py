"""Reading weights: every layout in use, and a clear error for every other file."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cosybuild.errors import CheckpointError
from cosybuild.models.checkpoint import Weights, read_weights
from cosybuild.models.cosyvoice.families import PREFIXES

PREFIX = "decoder.estimator."


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.randn(3, generator=generator)}


def flow() -> dict[str, Tensor]:
    """Return a flow model's state dict, which has other parts besides the estimator."""
    return {"input_embedding.weight": torch.zeros(9), **{PREFIX + name: value for name, value in state().items()}}


def read(path: Path) -> Weights:
    return read_weights(path, state(), PREFIXES)


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert str(path) in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Next: ")
    assert "weights_only" not in str(caught.value)
    assert "trusted source" not in str(caught.value)
    return caught.value.message


def same(weights: Weights) -> bool:
    return set(weights.tensors) == set(state()) and all(
        torch.equal(weights.tensors[name], value) for name, value in state().items()
    )


LAYOUTS = {
    "flow": flow(),
    "whole": {f"flow.{name}": value for name, value in flow().items()},
    "bare": state(),
    "state_dict": {"state_dict": flow(), "epoch": 7},
    "model": {"model": state()},
    "with counters": {**flow(), "epoch": 3, "step": 12},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_in_every_layout_are_read(tmp_path: Path, layout: str, zipped: bool) -> None:
    path = tmp_path / "flow.pt"
    torch.save(LAYOUTS[layout], path, _use_new_zipfile_serialization=zipped)
    weights = read(path)
    assert same(weights)
    place = f"the weights of this model are those under '{layout}' of flow.pt"
    assert weights.notes == ((place,) if layout in ("state_dict", "model") else ())


@pytest.mark.parametrize("layout", ["flow", "bare"])
def test_safetensors_files_in_every_layout_are_read(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "flow.safetensors"
    save_file(LAYOUTS[layout], path)
    assert same(read(path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_reported(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "flow.pt"
    torch.save({name: value.to(dtype) for name, value in flow().items()}, path)
    weights = read(path)
    assert all(tensor.dtype is torch.float32 for tensor in weights.tensors.values())
    assert len(weights.notes) == 1
    assert weights.notes[0].startswith(f"2 tensors of flow.pt were converted from {str(dtype).removeprefix('torch.')}")


def test_a_zip_file_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save(flow(), path)
    tensors = read(path).tensors
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not list mappings")
    mapped = [line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(str(path))]
    spans = [(int(low, 16), int(high, 16)) for low, high in mapped]
    assert all(any(low <= address < high for low, high in spans) for address in storages)


def test_compressed_records_are_read_and_not_mapped(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.pt", tmp_path / "flow.pt"
    torch.save(flow(), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert same(read(path))


def zipped_pickle(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")


def test_a_pickle_that_ends_inside_a_number_is_refused(tmp_path: Path) -> None:
    zipped_pickle(tmp_path / "flow.pt", b"\x80\x02G\0\0")
    assert "cannot be read as PyTorch weights" in refused(tmp_path / "flow.pt")


def test_an_old_file_with_an_unknown_storage_is_refused(tmp_path: Path) -> None:
    parts: tuple[Any, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, {}, ["unknown"])
    (tmp_path / "flow.pt").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    assert "cannot be read as PyTorch weights" in refused(tmp_path / "flow.pt")


def test_a_type_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    weights = {**state(), "a.bias": torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}
    torch.save(weights, tmp_path / "flow.pt")
    assert "'a.bias' is float4_e2m1fn_x2, which cannot be converted to float32" in refused(tmp_path / "flow.pt")


def test_missing_files_are_refused(tmp_path: Path) -> None:
    assert "no weights file" in refused(tmp_path / "flow.pt")
    assert "not a file" in refused(tmp_path)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "flow.pt"
    torch.save({name: value.repeat(50, *[1] * (value.dim() - 1)) for name, value in flow().items()}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    cut(path)
    assert "PyTorch" in refused(path)


def test_the_content_decides_the_format_and_not_the_suffix(tmp_path: Path) -> None:
    save_file(flow(), tmp_path / "flow.pt")
    torch.save(flow(), tmp_path / "flow.safetensors")
    assert same(read(tmp_path / "flow.pt"))
    assert same(read(tmp_path / "flow.safetensors"))


def test_truncated_safetensors_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.safetensors"
    save_file(flow(), path)
    cut(path)
    assert "safetensors" in refused(path)


CONTENTS = {
    "empty": (b"", "is empty"),
    "web page": (b"<html>not found</html>", "not a PyTorch file"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "not a PyTorch file"),
    "zeros": (bytes(4096), "not a PyTorch file"),
    "zip of something": (b"PK\x05\x06" + bytes(18), "cannot be read as PyTorch weights"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_files_of_other_content_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "flow.pt"
    path.write_bytes(CONTENTS[content][0])
    assert CONTENTS[content][1] in refused(path)


class Dangerous:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.attack("execute", "the weights are refused, nothing runs")
def test_a_pickle_with_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    saved, pickled = tmp_path / "saved.pt", tmp_path / "pickled.pt"
    torch.save({**flow(), "extra": Dangerous(marker)}, saved)
    pickled.write_bytes(pickle.dumps(Dangerous(marker), protocol=2))
    for path in (saved, pickled):
        assert "does not run code from a weights file" in refused(path)
    assert not marker.exists()


@pytest.mark.attack("execute", "the weights are refused, nothing runs")
def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    assert "other objects than tensors" in refused(path)


@pytest.mark.parametrize("value", [torch.zeros(3), [1, 2], 5, {"decoder": 3}, {}])
def test_other_objects_that_torch_saved_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "flow.pt"
    torch.save(value, path)
    message = refused(path)
    assert "not a state dict" in message or "no tensors at all" in message


def test_the_error_lists_the_tensors_of_foreign_weights(tmp_path: Path) -> None:
    path = tmp_path / "llm.pt"
    torch.save({f"llm.layers.{i}.weight": torch.zeros(2) for i in range(5)} | {"speech.head": torch.zeros(1)}, path)
    message = refused(path)
    assert "llm.layers.* (5)" in message
    assert "speech.head.* (1)" in message
    assert "decoder.estimator." in message


def test_the_error_lists_tensors_that_do_not_fit_briefly(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    broken = flow()
    del broken[PREFIX + "a.bias"]
    broken[PREFIX + "a.weight"] = torch.zeros(3, 5)
    broken |= {f"{PREFIX}extra.{i}": torch.zeros(1) for i in range(20)}
    torch.save(broken, path)
    message = refused(path)
    assert "1 missing:\n    a.bias" in message
    assert "a.weight: (3, 5), expected (3, 4)" in message
    assert "20 unexpected" in message
    assert "... and 12 more" in message
    assert message.count("extra.") == 8


def test_the_error_names_adapters(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save(flow() | {f"{PREFIX}a.lora_A.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert "merge the adapter" in str(caught.value.hint)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float, dtype: torch.dtype) -> None:
    path = tmp_path / "flow.pt"
    broken = {name: value.to(dtype) for name, value in flow().items()}
    broken[PREFIX + "a.weight"][1, :2] = bad
    torch.save(broken, path)
    assert "2 of 12 values in 'a.weight' are NaN or infinite" in refused(path)


def test_a_float64_value_beyond_float32_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    broken = {name: value.double() for name, value in flow().items()}
    broken[PREFIX + "a.bias"][0] = 1e300
    torch.save(broken, path)
    assert "1 of 3 values in 'a.bias'" in refused(path)


def test_integers_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    broken = flow()
    broken[PREFIX + "a.bias"] = torch.zeros(3, dtype=torch.int64)
    torch.save(broken, path)
    assert "'a.bias' is int64" in refused(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Tensor.to_sparse, "a.weight' is a sparse_coo tensor; a dense tensor is expected"),
        (Tensor.to_sparse_csr, "a.weight' is a sparse_csr tensor"),
        (
            lambda tensor: tensor.to("meta"),
            "a.weight' has a shape but no values, because it was saved from the meta device",
        ),
        (lambda tensor: torch.nested.nested_tensor(list(tensor)), "a.weight' is a nested tensor"),
        (lambda tensor: torch.complex(tensor, tensor), "'a.weight' is complex64; float32 is expected"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:The PyTorch API of nested:UserWarning")
def test_tensors_without_one_value_for_each_element_are_refused(
    tmp_path: Path, spoil: Callable[[Tensor], Tensor], says: str
) -> None:
    path = tmp_path / "flow.pt"
    spoiled = {**flow(), f"{PREFIX}a.weight": spoil(state()["a.weight"])}
    torch.save(spoiled, path)
    assert says in refused(path)
    # Tensors of other parts of the model are not checked.
    torch.save({**flow(), "input_embedding.weight": spoiled[f"{PREFIX}a.weight"]}, path)
    assert same(read(path))
