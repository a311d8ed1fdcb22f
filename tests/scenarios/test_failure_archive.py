"""A failed gate writes a failure archive, which reproduces the failure elsewhere and is checked before use."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.scenarios.commands import Place
from tests.scenarios.planted import OVERFLOWING, Workshop, words

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    place = Workshop(tmp_path_factory.mktemp("failed"))
    place.cosybuild(*OVERFLOWING, "precision=fp16", code=5, env=place.env)
    return place


@pytest.fixture
def archive(failed: Workshop, place: Place) -> Path:
    """Copy the failure archive to another directory, which does not have the model's code."""
    (run,) = failed.runs()
    target = place.directory / "capsule.tar.gz"
    target.write_bytes((run / "capsule.tar.gz").read_bytes())
    return target


def members(archive: Path) -> Members:
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def index_of(archive: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(members(archive)["capsule.json"])
    return index


def write(archive: Path, found: Members, index: dict[str, Any], *extra: tarfile.TarInfo) -> None:
    """Write the archive again with these members and an index that matches them."""
    contents = {name: content for name, content in found.items() if name != "capsule.json"}
    listed = {n: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for n, c in contents.items()}
    listed |= {info.name: {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0} for info in extra}
    first = {"capsule.json": json.dumps({**index, "files": listed}).encode()}
    with tarfile.open(archive, "w:gz") as opened:
        for name, content in {**first, **contents}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
        for info in extra:
            opened.addfile(info, io.BytesIO(b""))


def test_the_report_describes_the_failure_archive(failed: Workshop) -> None:
    report = failed.report()
    told = report["capsule"]
    assert report["failure"]["exit_code"] == 5
    assert told["cause"]["name"] == "overflow"
    assert told["cut"]["op"] == "Mul"
    assert len(told["cut"]["nodes"]) == 1
    assert told["complete"]
    (run,) = failed.runs()
    text = (run / "report.md").read_text()
    assert "Probable cause: **overflow**" in text
    assert "## Noise profile" in text
    assert (run / "profile.svg").read_text().startswith("<svg")


def test_the_failure_is_reproduced_elsewhere_with_its_exit_code(place: Place, archive: Path) -> None:
    ran = place.cosybuild("replay", archive.name, code=5)
    assert "fails here, with the same message" in ran.out
    assert "probable cause: overflow" in ran.out
    assert "verification error: The fp16 graph gives values that are not finite" in ran.err
    facts = json.loads(place.cosybuild("replay", archive.name, "--json", code=5).out)
    assert facts["same"]
    assert facts["part"] is not None
    assert place.files() == {"capsule.tar.gz"}, "a replay writes no file"


def test_the_members_agree_with_the_index(archive: Path) -> None:
    found, index = members(archive), index_of(archive)
    assert index["command"][:4] == ["python", "-m", "cosybuild", "model=module"]
    assert index["environment"]["versions"]["onnx"]
    part = onnx.load_model_from_string(found["cut/lowered.onnx"])
    assert [node.op_type for node in part.graph.node] == ["Mul"]
    inputs = np.load(io.BytesIO(found["inputs/case.npz"]), allow_pickle=False)
    assert inputs["x"].shape == (1, 4, 16)
    assert len(found["cut/lowered.onnx"]) < len(found["artifacts/lowered/net.fp16.onnx"]) / 4


def test_the_failure_of_a_float32_graph_is_reproduced(tmp_path: Path, place: Place) -> None:
    (tmp_path / "there").mkdir()
    there = Workshop(tmp_path / "there")
    # 120 dB, the size of rounding errors; here they can be zero.
    there.cosybuild(*words(2.0, exported_off=2**-20), "verify.snr_db=300", code=5, env=there.env)
    (run,) = there.runs()
    (place.directory / "capsule.tar.gz").write_bytes((run / "capsule.tar.gz").read_bytes())
    assert there.report()["capsule"]["cut"] is None
    ran = place.cosybuild("replay", "capsule.tar.gz", code=5)
    assert "fails here, with the same message" in ran.out
    assert "the smallest part:" not in ran.out
    assert "probable cause" not in ran.out, "the difference is rounding"


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        ((*OVERFLOWING, "precision=fp16"), "verify lowered"),
        ((*words(2.0, exported_off=2**-20), "verify.snr_db=300"), "verify"),
    ],
)
def test_a_failure_with_real_inputs_is_reproduced_on_the_batch_that_failed(
    tmp_path: Path, place: Place, asked: tuple[str, ...], step: str
) -> None:
    """In fp16 the first batch passes: nothing of zeros overflows."""
    (tmp_path / "there").mkdir()
    there = Workshop(tmp_path / "there")
    real = there.directory / "real"
    real.mkdir()
    loud = (4 * np.random.default_rng(0).standard_normal((1, 7, 16))).astype(np.float32)
    if step == "verify lowered":
        np.savez(real / "a.npz", x=np.zeros((1, 5, 16), np.float32))
    np.savez(real / "b.npz", x=loud)
    there.cosybuild(*asked, "verify.inputs=real", code=5, env=there.env)
    (run,) = there.runs()
    assert there.report()["failure"]["step"] == step
    (place.directory / "capsule.tar.gz").write_bytes((run / "capsule.tar.gz").read_bytes())
    found, index = members(place.directory / "capsule.tar.gz"), index_of(place.directory / "capsule.tar.gz")
    assert found["inputs/case.npz"] == (real / "b.npz").read_bytes()
    assert index["case"]["given"] == hashlib.sha256(found["inputs/case.npz"]).hexdigest()
    ran = place.cosybuild("replay", "capsule.tar.gz", code=5)
    assert "fails here, with the same message" in ran.out
    assert "frames=7" in ran.err
    inputs = io.BytesIO()
    np.savez(inputs, x=2 * loud)
    write(place.directory / "capsule.tar.gz", {**found, "inputs/case.npz": inputs.getvalue()}, index)
    refused = place.cosybuild("replay", "capsule.tar.gz", code=2)
    assert "its inputs are not those of its description" in refused.err


def only_named(found: Members, index: dict[str, Any]) -> Members:
    for files in index["artifacts"].values():
        for file in files:
            file["carried"] = False
    return {name: content for name, content in found.items() if not name.startswith("artifacts/")}


def test_large_artifacts_are_found_by_digest(failed: Workshop, place: Place, archive: Path) -> None:
    index = index_of(archive)
    write(archive, only_named(members(archive), index), index)
    part = place.cosybuild("replay", archive.name, code=5)
    assert "the step was not run: the archive has only digests of" in part.out
    store = failed.directory / "outputs" / "store"
    whole = place.cosybuild("replay", archive.name, "--files", str(store), code=5)
    assert "fails here, with the same message" in whole.out


def test_an_archive_without_part_and_files_is_refused(place: Place, archive: Path) -> None:
    index = index_of(archive)
    found = {n: c for n, c in only_named(members(archive), index).items() if not n.startswith("cut/")}
    write(archive, found, {**index, "cut": None})
    ran = place.cosybuild("replay", archive.name, code=2)
    assert "by digest only" in ran.err
    assert "--files DIR" in ran.err


def test_a_failure_that_does_not_occur_again_is_drift(place: Place, archive: Path) -> None:
    found, index = members(archive), index_of(archive)
    index["config"]["precision"]["snr_db"] = -1000.0
    # The float32 graph replaces the lowered one: nothing overflows in it.
    found["cut/lowered.onnx"] = found["cut/reference.onnx"]
    found["artifacts/lowered/net.fp16.onnx"] = found["artifacts/graph/net.fp32.onnx"]
    for slot in index["artifacts"]:
        for file in index["artifacts"][slot]:
            content = found[f"artifacts/{slot}/{file['name']}"]
            file.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    index["config"]["precision"]["io"] = "keep"
    index["config"]["precision"]["target"] = "mixed"
    write(archive, found, index)
    ran = place.cosybuild("replay", archive.name, code=8)
    assert "does not occur here" in ran.err


def outside(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    found["artifacts/../../escaped"] = b"x"
    return []


def linked(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    link = tarfile.TarInfo("inputs/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return [link]


def pickled(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    buffer = io.BytesIO()
    np.savez(buffer, input0=np.array([{"a": 1}], dtype=object))
    found["cut/inputs.npz"] = buffer.getvalue()
    return []


def pickled_reference(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    buffer = io.BytesIO()
    np.savez(buffer, index=np.array([{"a": 1}], dtype=object))
    content = found["artifacts/reference/reference.npz"] = buffer.getvalue()
    index["artifacts"]["reference"][0].update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    return []


def external(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    model = onnx.load_model_from_string(found["cut/reference.onnx"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    found["cut/reference.onnx"] = model.SerializeToString()
    return []


def another_step(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    index["step"] = "export"
    return []


def another_name(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    index["artifacts"]["graph"][0]["name"] = "../graph.onnx"
    return []


def no_subject(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    index["subject"]["spec"] = {"inputs": [{"name": 1}]}
    return []


def no_graph(found: Members, index: dict[str, Any]) -> list[tarfile.TarInfo]:
    found["cut/lowered.onnx"] = b"\xff\xff\xff"
    return []


@pytest.mark.attack("malformed", "the archive is refused")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (outside, "has a path outside"),
        (linked, "has a path outside"),
        (pickled, "not an .npz file of arrays"),
        (pickled_reference, "not an .npz file of arrays"),
        (external, "keeps weights in '../../../etc/passwd'"),
        (another_step, "cannot be run from a failure archive"),
        (another_name, "should be a plain name"),
        (no_subject, "subject.spec.inputs[0].name should be text and is 1"),
        (no_graph, "is not an ONNX graph"),
    ],
)
def test_a_wrong_archive_is_refused(
    place: Place,
    archive: Path,
    change: Callable[[Members, dict[str, Any]], list[tarfile.TarInfo]],
    says: str,
) -> None:
    found, index = members(archive), index_of(archive)
    extra = change(found, index)
    write(archive, found, index, *extra)
    assert says in place.cosybuild("replay", archive.name, code=2).err
    assert place.files() == {"capsule.tar.gz"}
    assert not (place.directory.parent / "escaped").exists()


@pytest.mark.attack("malformed", "the archive is refused")
def test_a_damaged_archive_is_refused(place: Place, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    assert "is refused" in place.cosybuild("replay", archive.name, code=2).err


@pytest.mark.attack("malformed", "the archive is refused")
def test_a_failure_archive_is_refused_as_a_bundle(place: Place, archive: Path) -> None:
    assert "first member is not bundle.json" in place.cosybuild("import", archive.name, code=2).err
