"""Records of strangers that take hours or gigabytes to read, or that no report can show."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.models.service_lengths import read_lengths
from cosybuild.numerics.npz import save_arrays
from cosybuild.onnxgraph.external import external_fault
from cosybuild.report.metrics_check import fault_of
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.json_records import LARGEST, read_json, read_record
from tests.attacks.ground import Ground
from tests.store.storing import key_of


@pytest.mark.attack("fill or wait", "the record is refused in a time that grows with its size only")
def test_a_name_that_occurs_twice_after_many_others_is_found_quickly(ground: Ground) -> None:
    """A search for each name among all of them takes 20 s for 20,000 names, and days for two million."""
    text = "{" + "".join(f'"{number}":0,' for number in range(200_000)) + '"x":0,"x":0}'
    with (
        gzip.open(ground.directory / "r.tar.gz", "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        info = tarfile.TarInfo("bundle.json")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    begin = time.monotonic()
    said = ground.command("import", "r.tar.gz")
    assert said.code == ConfigurationError.exit_code
    assert "the name 'x' occurs twice" in said.text
    assert time.monotonic() - begin < 60


@pytest.mark.attack("fill or wait", "the record is refused by its size")
def test_a_record_of_many_empty_lists_is_refused(tmp_path: Path) -> None:
    """Such JSON takes thirty times its size in memory."""
    path = tmp_path / "report.json"
    path.write_bytes(b"[" + b"[]," * (LARGEST // 3) + b"[]]")
    with pytest.raises(ConfigurationError, match=f"it has more than {LARGEST:,} bytes"):
        read_record(path, "report")


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.attack("fill or wait", "the graph is refused; the product of its sizes is not computed")
@pytest.mark.parametrize("axes", [100, 400, 100_000])
def test_a_tensor_with_too_many_axes_is_refused_quickly(tmp_path: Path, axes: int) -> None:
    (tmp_path / "w.bin").write_bytes(b"1234")
    tensor = message(1, varint(2**62) * axes) + varint(2 << 3) + varint(1) + message(8, b"w")
    tensor += message(13, message(1, b"location") + message(2, b"w.bin"))
    (tmp_path / "m.onnx").write_bytes(message(7, message(5, tensor)))
    begin = time.monotonic()
    assert (
        external_fault(tmp_path / "m.onnx")
        == f"has the tensor 'w' of {axes} axes, where at most 64 are expected, in 'w.bin'"
    )
    assert time.monotonic() - begin < 60


@pytest.mark.attack("malformed", "the file is refused, with the number of the line")
@pytest.mark.parametrize(
    "line", ["9" * 5000, f"{'9' * 5000} s", f"5,{'9' * 5000}", "5,1" + "0" * 30, "²", "5,²", "2147483648", "٣"]
)
def test_lengths_that_are_not_sizes_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text(f"4\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 2") as refused:
        read_lengths(path, 50.0)
    assert len(refused.value.message) < 500


@pytest.mark.attack("malformed", "the file is refused, because its sums do not fit into 64 bits")
def test_lengths_whose_total_is_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("2000000000,900000000000000000\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="frames together"):
        read_lengths(path, None)


GOOD: dict[str, Any] = {"nodes": 3, "opset": 18, "warnings": ["slow"]}
MADE = {"at": "2026-01-01T00:00:00", "seconds": 1.0, "peak_bytes": 5, "host": "there"}


@pytest.mark.attack("malformed", "the entry counts as damaged, with a warning, and the step is built")
@pytest.mark.parametrize(
    ("stage", "metrics"),
    [
        ("export", {**GOOD, "nodes": "many"}),
        ("export", {"x": 1}),
        ("export", {**GOOD, "warnings": 5}),
        ("export", {**GOOD, "search": 7}),
        ("export", {**GOOD, "hops": [{"own": 1}]}),
        ("export", {**GOOD, "traits": 1}),
        ("export", {**GOOD, "ops": 5}),
        ("export", {**GOOD, "ops": ["Add"]}),
        ("reference", {"rollouts": 3, "cases": 1, "said": "x"}),
        ("verify", {"worst": [1], "cases": 1}),
        ("verify_lowered", {"cases": 1, "worst": {}}),
        ("precision", {"nodes": 1}),
        ("profile", {"nodes": []}),
        ("engine", {"size_bytes": 1}),
        ("benchmark", {"cases": [1]}),
        ("repeat", {"artifacts": 1}),
    ],
)
def test_a_remote_entry_whose_figures_no_report_can_show_is_refused(
    tmp_path: Path, stage: str, metrics: dict[str, Any]
) -> None:
    assert fault_of("export", GOOD, MADE) is None
    key, remote, warnings = key_of(stage, opset="18"), f"file://{tmp_path / 'remote'}", list[str]()
    there = Store(tmp_path / "there")
    with there.building(key), there.workdir(stage) as work:
        (work / "graph").write_bytes(b"graph")
        there.remote = Remote(remote)
        there.push(there.publish(key, StageResult({"graph": [work / "graph"]}, metrics), MADE))
    here = Store(tmp_path / "here", remote=Remote(remote), warn=warnings.append, judge=fault_of)
    assert here.pull(key) is None
    assert "has figures that cannot be shown" in warnings[0]
    assert here.damage(key)
    with here.building(key), here.workdir(stage) as work:  # and it can be built in spite of the entry
        (work / "graph").write_bytes(b"graph")
        here.publish(key, StageResult({"graph": [work / "graph"]}, {}), MADE)
    assert here.find(key) is not None


@pytest.mark.attack("malformed", "the entry counts as damaged, with a warning")
@pytest.mark.parametrize(
    "made",
    [
        '{"seconds": "x"}',
        '{"seconds": 1e999}',
        '{"seconds": NaN}',
        '{"seconds": -1}',
        '{"peak_bytes": [1]}',
        '{"at": 5}',
        '{"host": {}}',
    ],
)
def test_an_entry_with_an_impossible_time_is_not_used(tmp_path: Path, made: str) -> None:
    from cosybuild.system.json_records import checksum_of

    key, warnings = key_of("export", opset="18"), list[str]()
    store = Store(tmp_path, warn=warnings.append)
    with store.building(key), store.workdir("export") as work:
        (work / "graph").write_bytes(b"graph")
        store.publish(key, StageResult({"graph": [work / "graph"]}, GOOD), MADE)
    path = store.entry_path("export", key.digest)
    body = json.loads(path.read_text(encoding="utf-8"))["entry"] | {"made": json.loads(made)}
    text = json.dumps({"sha256": checksum_of(body), "entry": body})
    path.write_text(text, encoding="utf-8")
    assert Store(tmp_path, warn=warnings.append).find(key) is None
    assert "is damaged and cannot be used" in warnings[0]


@pytest.mark.attack("malformed", "the file has the array under its name")
@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "kwds", "a/b"])
def test_an_input_named_like_an_argument_of_numpy_is_archived(tmp_path: Path, name: str) -> None:
    """The failure archive of a model with such an input could not be written."""
    path = save_arrays(tmp_path / "case.npz", {name: np.ones(3, np.float16)})
    with np.load(path) as found:
        assert found.files == [name]
        assert (found[name] == 1).all()


def test_the_same_name_may_occur_in_several_objects() -> None:
    assert read_json('{"a": {"x": 1}, "b": {"x": 2}}') == {"a": {"x": 1}, "b": {"x": 2}}
