"""A flipped byte in each kind of file of a build is harmless, or the same command finds and repairs it."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from cosybuild.__main__ import main
from cosybuild.store.check import check
from cosybuild.store.store import Store
from tests.scenarios.commands import QUICK, Place
from tests.scenarios.rebuilding import flip
from tests.store.storing import rot

STORED = (
    "store/VERSION",
    "store/digests",
    "store/objects/*/*",
    "store/entries/export/*.json",
    "store/entries/simplify/*.json",
    "store/entries/verify/*.json",
)
RUN = (
    "runs/*/report.json",
    "runs/*/report.md",
    "runs/*/plan.json",
    "runs/*/artifacts/*.onnx",
    "runs/*/artifacts/*.manifest.json",
    "runs/*/evidence/verification.json",
    "runs/*/.hydra/config.yaml",
)
NOT_READ = ("runs/*/events.jsonl", "runs/*/.claim", ".certificates/*.json")
"""Files whose content affects no result: logs, the names of processes, and caches."""


def digests(place: Place) -> dict[str, str]:
    """Return file -> digest, of the files that are the same after every undisturbed build."""
    files = [*place.directory.glob("outputs/store/objects/*/*"), *place.directory.glob("outputs/runs/*/artifacts/*")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.suffix != ".json"}


CASES = [(pattern, at) for pattern in STORED for at in (0, 0.5)] + [(pattern, 0.5) for pattern in RUN + NOT_READ]


@pytest.mark.attack("stale", "the damage is named and mended")
@pytest.mark.parametrize(("pattern", "at"), CASES)
def test_a_flipped_byte_in_any_file_is_repaired_by_the_next_build(
    used_place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pattern: str, at: float
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(used_place.directory)
    assert main([*QUICK]) == 0  # certificates and Hydra's record are valid in one directory
    before = digests(used_place)
    victims = sorted(used_place.directory.glob(f"outputs/{pattern}"))
    assert victims, f"no build leaves such a file: {pattern}"
    victim = max(victims, key=lambda path: path.stat().st_size)
    good = victim.read_bytes()
    flip(victim, min(int(len(good) * at), len(good) - 1))
    if pattern not in NOT_READ:
        # Another test covers certificates; here the plan without one must find the damage.
        shutil.rmtree("outputs/.certificates")
    capsys.readouterr()
    assert main([*QUICK]) == 0
    said = capsys.readouterr().out
    assert digests(used_place) == before, "nothing is lost, and nothing else came out"
    assert not check(Store(Path("outputs/store")), repair=False).faults
    if pattern in NOT_READ:
        assert "Nothing to do" in said
    elif pattern in RUN:
        assert "building" not in said, "what is in the store is not built again"
    if "objects" in pattern or "entries" in pattern:
        assert victim.name.partition(".")[0] in said, "the warning names what is damaged"
        assert "building" in said
    if pattern == "store/digests":
        assert "The cache of digests" in said
        assert "is damaged" in said
    if pattern == "store/VERSION":
        assert "VERSION is damaged" in said
    assert main([*QUICK]) == 0
    assert "Nothing to do" in capsys.readouterr().out


@pytest.mark.attack("stale", "the damage is named and mended")
@pytest.mark.parametrize("words", [(), ("store.verify=true",)])
def test_a_flipped_bit_in_an_artifact_with_restored_times_is_repaired(
    used_place: Place, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """The same command repairs it: the digest decides, not the time."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(used_place.directory)
    assert main([*QUICK, *words]) == 0
    before = digests(used_place)
    (victim,) = used_place.directory.glob("outputs/runs/*/artifacts/*.onnx")
    rot(victim, victim.stat().st_size // 2)
    assert digests(used_place) != before
    assert main([*QUICK, *words]) == 0
    assert digests(used_place) == before


@pytest.mark.attack("stale", "the damage is named and mended")
def test_an_artifact_and_its_stored_file_written_through_one_link_are_repaired(
    used_place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artifact is a hard link, as an earlier cosybuild made them, with an old time; the step is built again."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(used_place.directory)
    before = digests(used_place)
    (victim,) = used_place.directory.glob("outputs/runs/*/artifacts/*.onnx")
    store = Store(Path("outputs/store"))
    stored = store.objects.locate(hashlib.sha256(victim.read_bytes()).hexdigest())
    victim.unlink()
    victim.hardlink_to(stored)
    rot(victim, victim.stat().st_size // 2)
    assert main([*QUICK]) == 0
    assert "building  simplify" in capsys.readouterr().out
    assert digests(used_place) == before
    assert victim.stat().st_ino != stored.stat().st_ino
    assert not check(store, repair=False).faults
