"""Model directories of strangers: yaml and weights that fill the memory, or give other weights than they show."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosybuild.errors import CheckpointError, ModelDirectoryError
from cosybuild.models.checkpoint import read_weights
from cosybuild.models.cosyvoice.vocoder.load import load_vocoder
from cosybuild.models.directory.vocoder import read_vocoder
from cosybuild.system.memory import PeakMemory
from tests.models.cosyvoice.vocoder.vocoders import directory
from tests.models.directory.test_vocoder import changed

REFUSED = "the directory is refused before memory of that size is allocated"
MUCH = 400 * 2**20


def ones(count: int) -> str:
    return f"[{', '.join(['1'] * count)}]"


@pytest.mark.attack("fill or wait", REFUSED)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_channels: 32", "base_channels: 1000000"),
        ("cond_channels: 16", "cond_channels: 30000"),
        ("nb_harmonics: 8", "nb_harmonics: 1000000"),
        ("n_fft: 16", "n_fft: 1000000"),
        (r"upsample_rates: \[8, 5, 3\]", "upsample_rates: [1000000, 1000000, 1000000]"),
        (r"upsample_rates: \[8, 5, 3\]", f"upsample_rates: {ones(20_000)}"),
        (r" resblock_dilation_sizes: \[\[1, 3, 5\]", f" resblock_dilation_sizes: [{ones(20_000)}"),
    ],
    ids=["width", "f0", "harmonics", "spectrum", "rates", "stages", "dilations"],
)
def test_a_vocoder_larger_than_its_weights_is_refused_without_much_memory(tmp_path: Path, old: str, new: str) -> None:
    place = changed(tmp_path, 2, (old, new))
    with PeakMemory() as memory, pytest.raises((ModelDirectoryError, CheckpointError)) as refused:
        load_vocoder(read_vocoder(place).parameters, place / "hift.pt")
    assert len(refused.value.message) < 2000
    peak = memory.so_far()
    assert peak is None or peak < MUCH


@pytest.mark.attack("malformed", "the message states the fault, without a number of thousands of digits")
def test_a_vocoder_with_too_many_stages_is_refused(tmp_path: Path) -> None:
    many = [
        (r"upsample_rates: \[8, 5, 3\]", f"upsample_rates: {ones(15_000)}"),
        (r"upsample_kernel_sizes: \[16, 11, 7\]", f"upsample_kernel_sizes: {ones(15_000)}"),
        (r"source_resblock_kernel_sizes: \[7, 7, 11\]", f"source_resblock_kernel_sizes: {ones(15_000)}"),
        (r"source_resblock_dilation_sizes: \[.*\]", f"source_resblock_dilation_sizes: [{', '.join(['[1]'] * 15_000)}]"),
    ]
    with pytest.raises(ModelDirectoryError, match=r"stages have [\d,]+ layers together"):
        read_vocoder(changed(tmp_path, 2, *many))


@pytest.mark.attack("deceive", "the message is short enough to read")
def test_a_value_of_fifty_thousand_numbers_gives_a_short_error(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError) as refused:
        read_vocoder(changed(tmp_path, 2, ("nsf_alpha: 0.1", f"nsf_alpha: {ones(50_000)}")))
    assert len(refused.value.message) < 1000


def with_state(place: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    state = torch.load(directory(2) / "hift.pt", weights_only=True)
    change(state)
    torch.save(state, place / "hift.pt")
    return place / "hift.pt"


@pytest.mark.attack("stale", "the file is refused, because it states two values for one tensor")
def test_weight_norm_in_both_spellings_is_refused(tmp_path: Path) -> None:
    def add(state: dict[str, Tensor]) -> None:
        name = next(name for name in state if name.endswith("original0"))
        state[re.sub(r"parametrizations\.weight\.original0", "weight_g", name)] = 3 * state[name]

    with pytest.raises(CheckpointError, match="two tensors for one name of the model"):
        load_vocoder(read_vocoder(directory(2)).parameters, with_state(tmp_path, add))


@pytest.mark.attack("malformed", "the file is refused; its weights would be NaN")
def test_a_weight_direction_of_length_zero_is_refused(tmp_path: Path) -> None:
    def empty(state: dict[str, Tensor]) -> None:
        next(tensor for name, tensor in state.items() if name.endswith("original1")).zero_()

    with pytest.raises(CheckpointError, match="a direction of length zero"):
        load_vocoder(read_vocoder(directory(2)).parameters, with_state(tmp_path, empty))


@pytest.mark.attack("deceive", "the name is one line of the message, with escapes")
def test_a_tensor_name_with_a_line_break_is_printed_on_one_line(tmp_path: Path) -> None:
    def add(state: dict[str, Tensor]) -> None:
        state["x\x1b[2J\nNothing to do: 4 steps up to date."] = torch.zeros(1)

    with pytest.raises(CheckpointError) as refused:
        load_vocoder(read_vocoder(directory(2)).parameters, with_state(tmp_path, add))
    assert not any(line.startswith("Nothing to do") for line in refused.value.message.splitlines())
    assert r"x\x1b[2J\nNothing to do" in refused.value.message


@pytest.mark.attack("fill or wait", "the file is refused by the sizes in its index")
@pytest.mark.parametrize("record", ["data/0", "data.pkl"], ids=["a tensor", "the pickle"])
def test_a_compressed_checkpoint_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, record: str) -> None:
    torch.save({"a": torch.zeros(2, 2)}, tmp_path / "plain.pt")
    path, zeros = tmp_path / "flow.pt", bytes(2**20)
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in plain.infolist():
            with packed.open(each.filename, "w") as target:
                for block in [zeros] * 400 if each.filename.endswith(record) else [plain.read(each)]:
                    target.write(block)
    assert path.stat().st_size < 2**20
    with PeakMemory() as memory, pytest.raises(CheckpointError, match="is compressed and unpacks to"):
        read_weights(path, {"a": torch.empty(2, 2, device="meta")}, ("",))
    peak = memory.so_far()
    assert peak is None or peak < MUCH / 4


def with_pickle(directory: Path, content: bytes) -> Path:
    """Return a file of torch with this pickle."""
    torch.save({"a": torch.zeros(2, 2)}, directory / "plain.pt")
    path = directory / "flow.pt"
    with zipfile.ZipFile(directory / "plain.pt") as plain, zipfile.ZipFile(path, "w") as target:
        for each in plain.infolist():
            target.writestr(each.filename, content if each.filename.endswith("data.pkl") else plain.read(each))
    return path


def text(value: str) -> bytes:
    """Return the instruction of a pickle that makes a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def read(path: Path) -> None:
    read_weights(path, {"a": torch.empty(2, 2, device="meta")}, ("",))


@pytest.mark.attack("malformed", "the file is refused; the methods of Python's own dictionary are used")
@pytest.mark.parametrize("method", ["items", "keys", "values", "get", "__iter__"])
def test_an_ordered_dictionary_whose_method_is_replaced(tmp_path: Path, method: str) -> None:
    pickled = b"\x80\x02ccollections\nOrderedDict\n)R}(" + text(method) + b"K\x05ub."
    with pytest.raises(CheckpointError, match="has no weights of this model"):
        read(with_pickle(tmp_path, pickled))


@pytest.mark.attack("fill or wait", "the file is refused after a hundred thousand mappings")
def test_one_mapping_in_billions_of_places(tmp_path: Path) -> None:
    pickled = b"\x80\x02}q\x00"
    for level in range(1, 5):
        names = b"".join(text(f"{number:04}") + b"h" + bytes([level - 1]) for number in range(300))
        pickled += b"}q" + bytes([level]) + b"(" + names + b"u"
    with pytest.raises(CheckpointError, match="more than 100,000 nested mappings"):
        read(with_pickle(tmp_path, pickled + b"."))


@pytest.mark.attack("malformed", "the index is refused")
@pytest.mark.parametrize("file", ["m.safetensors.index.json", "x\ny.pt", "x\0", "x" * 300, "..", "a/b.pt"])
def test_an_index_of_weights_that_names_itself_or_no_file(tmp_path: Path, file: str) -> None:
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": file}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="a name without a directory is expected"):
        read(path)
