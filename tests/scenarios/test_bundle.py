"""One team sends a run to another: every file is checked on arrival, and nothing is built again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import TINY

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("sender"))
    place.cosybuild(*TINY)
    place.cosybuild("bundle", place.runs()[0].name, "--into", "run.tar.gz")
    return place


@pytest.mark.attack("forge", "its results stay out of the store")
def test_an_imported_run_can_be_replayed_and_stays_separate(sender: Place, place: Place) -> None:
    ran = place.cosybuild("import", str(sender.directory / "run.tar.gz"))
    assert "4 results not added to outputs/store" in ran.out
    (theirs,) = place.runs()
    assert theirs.name == f"{sender.runs()[0].name}.imported"
    assert (theirs / "cosybuild.lock").is_file()
    assert (theirs / "report.md").is_file(), "written here, from the record"
    assert "--trust torch" in place.cosybuild("replay", theirs.name, code=2).err
    assert "same" in place.cosybuild("replay", theirs.name, "--trust", "torch").out
    place.cosybuild("explain", theirs.name)
    place.cosybuild(*TINY)
    mine = next(run for run in place.runs() if run.name == sender.runs()[0].name)
    report = json.loads((mine / "report.json").read_text())
    assert {step["action"] for step in report["steps"]} == {"built"}, "nobody's results but one's own"
    assert "already imported" in place.cosybuild("import", str(sender.directory / "run.tar.gz")).out


def test_trusted_results_are_used_by_builds(sender: Place, place: Place) -> None:
    ran = place.cosybuild("import", str(sender.directory / "run.tar.gz"), "--trust-results")
    assert "4 results in outputs/store" in ran.out
    place.cosybuild(*TINY)
    mine = next(run for run in place.runs() if run.name == sender.runs()[0].name)
    report = json.loads((mine / "report.json").read_text())
    assert {step["action"] for step in report["steps"]} == {"hit"}
    again = place.cosybuild("import", str(sender.directory / "run.tar.gz"), "--json")
    assert json.loads(again.out)["was_there"] is True


@pytest.mark.attack("interrupt", "the next import removes what is left")
def test_the_next_import_removes_the_files_of_a_killed_one(sender: Place, place: Place) -> None:
    archive = str(sender.directory / "run.tar.gz")
    killed = (
        "import os\nfrom pathlib import Path\n"
        "from cosybuild.store.store import Store\nfrom cosybuild.run.sharing import import_bundle\n"
        "import_bundle.check_records = lambda *arguments: os._exit(9)\n"
        f"import_bundle.read_bundle(Path({archive!r}), Store(Path('outputs/store')), Path('outputs/runs'))"
    )
    place.run(sys.executable, "-c", killed, code=9)
    assert [path.name for path in place.runs()] == [".arriving"]
    place.cosybuild("import", archive)
    assert [path.suffix for path in place.runs()] == [".imported"]


def test_a_bundle_with_digests_alone_can_be_replayed(sender: Place, place: Place) -> None:
    bundle = place.directory / "digests.tar.gz"
    sender.cosybuild("bundle", sender.runs()[0].name, "--without-artifacts", "--into", str(bundle))
    assert "only digests" in place.cosybuild("import", str(bundle)).out
    assert not list(place.directory.rglob("*.onnx"))
    assert "same" in place.cosybuild("replay", "--trust", "torch", place.runs()[0].name).out


def test_a_run_with_steps_that_run_every_time_can_be_bundled(tmp_path: Path) -> None:
    sender, receiver = Place(tmp_path / "sender"), Place(tmp_path / "receiver")
    for place in (sender, receiver):
        place.directory.mkdir()
    sender.cosybuild(*TINY, "benchmark=quick", "benchmark.max_seconds=0.2", "benchmark.min_rounds=3", "verify.repeat=2")
    bundle = str(receiver.directory / "run.tar.gz")
    sender.cosybuild("bundle", sender.runs()[0].name, "--into", bundle)
    receiver.cosybuild("import", bundle, "--trust-results")
    evidence = receiver.runs()[0] / "evidence"
    assert (evidence / "benchmark.json").read_bytes() == (sender.runs()[0] / "evidence/benchmark.json").read_bytes()


def test_the_same_run_gives_the_same_bytes(sender: Place, tmp_path: Path) -> None:
    sender.cosybuild("bundle", sender.runs()[0].name, "--into", str(tmp_path / "again.tar.gz"))
    assert (tmp_path / "again.tar.gz").read_bytes() == (sender.directory / "run.tar.gz").read_bytes()


def members(archive: Path) -> Members:
    with tarfile.open(archive) as opened:
        return [(member, opened.extractfile(member).read()) for member in opened]  # type: ignore[union-attr]


def listed(found: Members, name: str, content: bytes) -> Members:
    """Return the members and one more, which bundle.json lists correctly."""
    index = json.loads(found[0][1])
    index["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return [(found[0][0], json.dumps(index).encode()), *found[1:], (tarfile.TarInfo(name), content)]


def linked(found: Members) -> Members:
    added = listed(found, "run/artifacts/link", b"")
    added[-1][0].type, added[-1][0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    return added


def altered(found: Members) -> Members:
    return [(m, c[:-1] + bytes([c[-1] ^ 1]) if m.name.endswith(".onnx") else c) for m, c in found]


def renamed(found: Members, name: str) -> Members:
    index = json.loads(found[0][1])
    index["name"] = name
    return [(found[0][0], json.dumps(index).encode()), *found[1:]]


def damaged_entry(found: Members) -> Members:
    """Return an entry with false metrics, whose digest bundle.json lists correctly."""
    name, content = next((m.name, c) for m, c in found if m.name.startswith("store/entries/verify"))
    lie = content.replace(b'"cases"', b'"cased"')
    assert lie != content
    rest = [(m, c) for m, c in found if m.name != name]
    return listed(rest, name, lie)


SPOILED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a member outside": (lambda found: listed(found, "../escaped", b"x"), "has a path outside"),
    "an absolute member": (lambda found: listed(found, "/tmp/escaped", b"x"), "has a path outside"),
    "a member beside": (lambda found: listed(found, "elsewhere/x", b"x"), "has a path outside"),
    "a hidden way out": (lambda found: listed(found, "run/../../escaped", b"x"), "has a path outside"),
    "a link": (linked, "has a path outside the archive or is not a regular file"),
    "a member nobody listed": (lambda found: [*found, (tarfile.TarInfo("run/more"), b"x")], "is not listed"),
    "the same twice": (lambda found: [*found, found[-1]], "occurs twice"),
    "other content": (altered, "does not match its size and digest"),
    "one too few": (lambda found: found[:-1], "it lacks"),
    "no index": (lambda found: found[1:], "its first member is not bundle.json"),
    "a run that would leave its place": (lambda found: renamed(found, "../x"), "contains '/'"),
    "a run named on Windows": (lambda found: renamed(found, "..\\x"), "that name contains"),
    "a run whose name moves the cursor": (lambda found: renamed(found, "a\x1b[2Jb"), "contains '.x1b'"),
    "a run named as an option": (lambda found: renamed(found, "--help"), "begins with a dash"),
    "a run with a long name": (lambda found: renamed(found, "n" * 250), "has 250 bytes"),
    "a member with a backslash": (lambda found: listed(found, "run/..\\escaped", b"x"), "has a path outside"),
    "a member that moves the cursor": (lambda found: listed(found, "run/a\x1b[2Jb", b"x"), "has a path outside"),
    "a damaged result": (damaged_entry, "did not pass its checks"),
}


@pytest.mark.attack("read or write", "the archive is refused and leaves nothing")
@pytest.mark.parametrize("what", SPOILED)
def test_a_damaged_archive_is_refused_and_leaves_no_file(sender: Place, tmp_path: Path, what: str) -> None:
    from cosybuild.errors import CosybuildError
    from cosybuild.run.sharing.import_bundle import read_bundle
    from cosybuild.store.store import Store

    spoil, words = SPOILED[what]
    archive, inside = tmp_path / "spoiled.tar.gz", tmp_path / "deep" / "inside"
    with tarfile.open(archive, "w:gz") as made:
        for member, content in spoil(members(sender.directory / "run.tar.gz")):
            member.size = 0 if member.issym() else len(content)
            made.addfile(member, io.BytesIO(content))
    with pytest.raises(CosybuildError, match=words):
        read_bundle(archive, Store(inside / "store", warn=lambda message: None), inside / "runs", trust_results=True)
    assert not (inside / "runs").exists()
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.attack("malformed", "the file is refused")
@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no tar"), None], ids=["empty", "text", "gz", "none"]
)
def test_a_file_that_is_no_archive_is_an_error_of_the_user(place: Place, content: bytes | None) -> None:
    if content is not None:
        (place.directory / "x.tar.gz").write_bytes(content)
    place.cosybuild("import", "x.tar.gz", code=2)


@pytest.mark.attack("malformed", "the file is refused")
def test_a_truncated_archive_is_refused(sender: Place, place: Place) -> None:
    whole = (sender.directory / "run.tar.gz").read_bytes()
    (place.directory / "x.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert "is refused" in place.cosybuild("import", "x.tar.gz", code=2).err


def test_a_recipe_fixes_choices_and_the_digests_that_they_must_give(sender: Place, tmp_path: Path) -> None:
    place = Place(shutil.copytree(sender.directory, tmp_path / "copy"))  # other tests need the sender's only run
    artifact = place.report()["artifacts"][0]
    recipes = place.directory / "conf" / "recipe"
    recipes.mkdir(parents=True)

    def write(opset: str, name: str, digest: str) -> None:
        choice = f"defaults:\n  - override /export@_global_.export: {opset}\n"
        pinned = f"must_produce:\n  {name}: '{digest}'\n"
        (recipes / "tiny.yaml").write_text(f"# @package _global_\n# A pinned convolution.\n{choice}{pinned}")

    words = ("--config-dir", "conf", *TINY, "recipe=tiny")
    write("opset18", artifact["name"], artifact["digest"][:16])
    assert "Nothing to do" in place.cosybuild(*words).out
    write("opset17", artifact["name"], artifact["digest"])
    assert f"{artifact['name']}: {artifact['digest']} -> " in place.cosybuild(*words, code=8).err
    write("opset18", "gone.onnx", "1")
    assert "gone.onnx: 1 -> (absent)" in place.cosybuild(*words, code=8).err
