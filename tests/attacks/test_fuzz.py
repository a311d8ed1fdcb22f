"""Readers of foreign data on damaged documents: success or an error for users, and nothing written elsewhere.

A round of the normal tests is short; `scripts/attack fuzz --examples N` makes a long one.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cosybuild.errors import CosybuildError
from cosybuild.manifest import parse_manifest
from cosybuild.models.components.component import Component
from cosybuild.models.components.registry import COMPONENTS
from cosybuild.models.directory.reader import read_model_directory
from cosybuild.onnxgraph.external import external_locations
from cosybuild.run.failure.reproduce import reproduce
from cosybuild.run.limits import ProcessLimits
from cosybuild.run.lock_file import read_lock
from cosybuild.run.recorded import read_run
from cosybuild.run.sharing.import_bundle import read_bundle
from cosybuild.store.entry import DamagedEntry, decode
from cosybuild.store.store import Store
from cosybuild.sweeps.records import CellRecord, write_cell, write_plan
from cosybuild.sweeps.write import write_sweep
from cosybuild.system.json_records import CHECKSUM, record_text
from tests.attacks.filling import failure_archive
from tests.attacks.ground import Ground, write_bundle
from tests.docs.models import make_model_directory
from tests.scenarios.commands import DATA

pytestmark = pytest.mark.attack("malformed", "success or an error for users, whatever the damage")

EXAMPLES = int(os.environ.get("COSYBUILD_FUZZ", "15"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=list(HealthCheck),
)

STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**30, 0, -1]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "..", "../x", "/etc/passwd", "a\0b", "x" * 5000, "${oc.env:HOME}", "\x1b[2J", "\ud800"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every value in a document, except the document itself."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*way, name)
            yield from places(inner, (*way, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield (*way, index)
            yield from places(inner, (*way, index))


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document with some values removed, replaced, nested or copied to another name."""
    result = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(result))
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        node = result
        for step in way:
            node = node[step]
        how = draw(st.sampled_from(["drop", "replace", "replace", "nest", "rename"]))
        if how == "drop":
            del node[last]
        elif how == "replace":
            node[last] = draw(STRANGE)
        elif how == "nest":
            for _ in range(draw(st.sampled_from([1, 3, 70]))):
                node[last] = [node[last]]
        elif isinstance(node, dict):
            node[draw(st.text(max_size=6))] = node.pop(last)
    return result


@st.composite
def flipped(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw truncated bytes, bytes with flipped bits, or bytes with a repeated part."""
    how = draw(st.sampled_from(["cut", "flip", "twice"]))
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if how == "cut":
        return content[:at]
    if how == "twice":
        return content[:at] + content[at // 2 :]
    result = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        result[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(result)


@contextlib.contextmanager
def empty() -> Iterator[Path]:
    """Yield a directory in an empty directory, and check that nothing was written beside it."""
    with tempfile.TemporaryDirectory() as outer:
        place = Path(outer) / "place"
        place.mkdir()
        yield place
        assert [path.name for path in Path(outer).iterdir()] == ["place"]


def holds(read: Callable[[], object], *more: type[Exception]) -> None:
    """Check that a call succeeds or raises an error for users."""
    with contextlib.suppress(CosybuildError, *more):
        read()


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def resealed(kind: str, value: Any) -> bytes:
    """Return a record with a correct checksum, if its form allows one."""
    plain = {name: one for name, one in value.items() if name not in (CHECKSUM, "kind", "schema")}
    try:
        return record_text(kind, plain).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return dumped(value)


@pytest.fixture(scope="session")
def members(stranger: Path) -> dict[str, bytes]:
    with tarfile.open(stranger) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def taken_in(members: dict[str, bytes], index: Any) -> None:
    with empty() as place:
        contents = {name: content for name, content in members.items() if name != "bundle.json"}
        archive = write_bundle(place / "x.tar.gz", {}, contents, lambda listing: replaced(listing, index))
        store = Store(place / "store", warn=lambda message: None)
        holds(lambda: read_bundle(archive, store, place / "runs", trust_results=True))
        left = [path for path in (place / "runs").rglob(".*") if path.name != ".hydra"]
        assert not left


def replaced(listing: dict[str, Any], index: Any) -> None:
    files = listing["files"]
    listing.clear()
    listing.update(index if isinstance(index, dict) else {})
    listing.setdefault("files", files)


@fuzzed
@given(data=st.data())
def test_a_damaged_index_of_a_bundle_causes_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    taken_in(members, data.draw(damaged(json.loads(members["bundle.json"]))))


@pytest.mark.parametrize("name", ["report.json", "plan.json", "cosybuild.lock"])
@fuzzed
@given(data=st.data())
def test_damaged_records_of_a_bundle_cause_no_internal_error(
    members: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    record = json.loads(members[f"run/{name}"])
    content = resealed(record["kind"], data.draw(damaged(record)))
    index = {n: v for n, v in json.loads(members["bundle.json"]).items() if n != "files"}
    taken_in({**members, f"run/{name}": content}, index)


@fuzzed
@given(data=st.data())
def test_a_damaged_archive_causes_no_internal_error(stranger: Path, data: st.DataObject) -> None:
    with empty() as place:
        archive = place / "x.tar.gz"
        archive.write_bytes(data.draw(flipped(stranger.read_bytes())))
        store = Store(place / "store", warn=lambda message: None)
        holds(lambda: read_bundle(archive, store, place / "runs"))


@fuzzed
@given(data=st.data())
def test_damaged_records_of_a_run_cause_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    report, lock = json.loads(members["run/report.json"]), json.loads(members["run/cosybuild.lock"])
    with empty() as place:
        (place / "report.json").write_bytes(resealed("report", data.draw(damaged(report))))
        (place / "cosybuild.lock").write_bytes(resealed("lock", data.draw(damaged(lock))))
        holds(lambda: read_run(str(place)).settings)
        holds(lambda: read_lock(place / "cosybuild.lock"))


@fuzzed
@given(data=st.data())
def test_a_damaged_entry_of_a_store_causes_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    name = next(name for name in members if name.startswith("store/entries/"))
    changed = data.draw(damaged(json.loads(members[name])))
    holds(lambda: decode(dumped(changed), Path(name).stem, Path), DamagedEntry)
    holds(lambda: decode(data.draw(flipped(members[name])), Path(name).stem, Path), DamagedEntry)


@fuzzed
@given(data=st.data())
def test_a_damaged_manifest_causes_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    content = next(content for name, content in members.items() if name.endswith(".manifest.json"))
    with empty() as place:
        (place / "m.json").write_bytes(dumped(data.draw(damaged(json.loads(content)))))
        holds(lambda: parse_manifest(place / "m.json"), ValueError)


@fuzzed
@given(data=st.data())
def test_a_damaged_index_of_a_failure_archive_causes_no_internal_error(stranger: Path, data: st.DataObject) -> None:
    with empty() as place:
        ground = Ground(place, stranger)

        def change(index: dict[str, Any]) -> None:
            index["artifacts"] = {"graph": [{"name": "x", "sha256": "0" * 64, "size": 1, "carried": False}]}
            found = data.draw(damaged(index))
            index.clear()
            index.update(found)

        archive = failure_archive(ground, change, None)
        holds(lambda: reproduce(archive, None, lambda line: None))


@settings(fuzzed, max_examples=max(3, EXAMPLES // 5))
@given(data=st.data())
def test_a_damaged_graph_of_a_failure_archive_causes_no_internal_error(stranger: Path, data: st.DataObject) -> None:
    """Each graph is read and run in a process of its own, so this round is the shortest."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "part", tensors[:1], tensors[1:])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    with empty() as place:

        def change(index: dict[str, Any]) -> None:
            index["config"]["precision"]["target"] = "fp16"

        archive = failure_archive(Ground(place, stranger), change, data.draw(flipped(whole)))
        holds(lambda: reproduce(archive, None, lambda line: None, ProcessLimits(seconds=60)))


@fuzzed
@given(data=st.data())
def test_damaged_records_of_a_sweep_cause_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    report = json.loads(members["run/report.json"])
    with empty() as place:
        cells = [("export.opset=17",), ("export.opset=18",)]
        write_plan(place, sweeper="basic", words=["-m"], cells=data.draw(st.sampled_from([cells, None])))
        for number, cell in enumerate(cells):
            write_cell(place, CellRecord(cell, f"run{number}", "ok", float(number), "host", 0, seconds=1.0))
            (place / f"run{number}").mkdir()
            (place / f"run{number}" / "report.json").write_bytes(dumped(report))
        record = data.draw(st.sampled_from(sorted(place.rglob("*.json"))))
        if data.draw(st.booleans()):
            record.write_bytes(dumped(data.draw(damaged(json.loads(record.read_bytes())))))
        else:
            record.write_bytes(data.draw(flipped(record.read_bytes())))
        holds(lambda: write_sweep(place))


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model") / "CosyVoice2-0.5B"
    make_model_directory(directory)
    return directory


@fuzzed
@given(data=st.data())
def test_a_damaged_yaml_of_a_model_directory_causes_no_internal_error(
    model_directory: Path, data: st.DataObject
) -> None:
    source = next(model_directory.glob("*.yaml"))
    with empty() as place:
        (place / source.name).write_bytes(data.draw(flipped(source.read_bytes())))
        holds(lambda: read_model_directory(place))


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
@fuzzed
@given(data=st.data())
def test_a_damaged_yaml_with_all_components_causes_no_internal_error(component: Component, data: st.DataObject) -> None:
    source = DATA / "token2wav2_tiny" / "cosyvoice2.yaml"
    with empty() as place:
        (place / source.name).write_bytes(data.draw(flipped(source.read_bytes())))
        holds(lambda: read_model_directory(place, component.read))


@fuzzed
@given(data=st.data())
def test_a_damaged_onnx_file_causes_no_internal_error(members: dict[str, bytes], data: st.DataObject) -> None:
    content = next(content for name, content in members.items() if name.endswith(".onnx"))
    with empty() as place:
        (place / "x.onnx").write_bytes(data.draw(flipped(content)))
        holds(lambda: external_locations(place / "x.onnx"), ValueError)
