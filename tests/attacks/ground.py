"""The setting of the attempts: a bundle that an attacker has forged, and a person who imports it."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.__main__ import main
from cosybuild.system.json_records import CHECKSUM, record_text

EXECUTED = "executed"
"""The file that the payload writes into the ground's directory when it is executed."""

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Said:
    """The exit code and output of a command.

    Attributes:
        code: its exit code.
        text: what it printed on either stream.
    """

    code: int
    text: str


@dataclass(frozen=True)
class Ground:
    """A working directory of a person, and a valid bundle of somebody else.

    Attributes:
        directory: the working directory; it has only the files of attempts.
        bundle: the bundle of a finished run.
    """

    directory: Path
    bundle: Path

    def command(self, *words: str) -> Said:
        """Run a command line in the directory, in this process."""
        out = io.StringIO()
        with self.working(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(words)
        return Said(code, out.getvalue())

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Change to the directory and put it on the import path, as `python -m` does."""
        before, path, argv = Path.cwd(), list(sys.path), list(sys.argv)
        os.chdir(self.directory)
        sys.path.insert(0, str(self.directory))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:], sys.argv[:] = path, argv

    def payload(self) -> str:
        """Return Python code that writes EXECUTED and defines a module `Net`."""
        trace = str(self.directory / EXECUTED)
        return f"import pathlib\npathlib.Path({trace!r}).touch()\nimport torch\nclass Net(torch.nn.ReLU):\n    pass\n"

    def run(self) -> Path:
        """Return the only run directory."""
        (directory,) = (self.directory / "outputs" / "runs").iterdir()
        return directory


def report_of(bundle: Path) -> dict[str, Any]:
    """Return the report in a bundle."""
    with tarfile.open(bundle) as opened:
        content = opened.extractfile("run/report.json")
        assert content is not None
        report: dict[str, Any] = json.loads(content.read())
    return report


def forged(
    ground: Ground,
    *,
    records: Mapping[str, Change] | None = None,
    more: Mapping[str, bytes] | None = None,
    index: Change | None = None,
) -> Path:
    """Write a copy of the bundle with other content and correct digests and checksums.

    Args:
        records: member -> function that changes the record in it.
        more: member -> content of further members.
        index: function that changes bundle.json at the end.
    """
    with tarfile.open(ground.bundle) as opened:
        members = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    listing = json.loads(members.pop("bundle.json"))
    for name, change in (records or {}).items():
        members[name] = with_checksum(members[name], change)
    members.update(more or {})
    return write_bundle(ground.directory / "forged.tar.gz", listing, members, index)


def with_checksum(content: bytes, change: Change) -> bytes:
    """Return a record with other content and its correct checksum."""
    plain = json.loads(content)
    changed = copy.deepcopy({name: value for name, value in plain.items() if name != CHECKSUM})
    change(changed)
    kind, schema = changed.pop("kind"), changed.pop("schema")
    assert schema == 1
    return record_text(kind, changed).encode()


def write_bundle(
    target: Path, listing: dict[str, Any], members: Mapping[str, bytes], change: Change | None = None
) -> Path:
    """Write an archive with a correct index of its members, apart from what `change` does."""
    files = {n: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for n, c in members.items()}
    index = {**listing, "files": files}
    if change is not None:
        change(index)
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for name, content in {"bundle.json": json.dumps(index).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


@dataclass(frozen=True)
class Attempt:
    """One attempt of an attacker.

    Attributes:
        kind: the aim.
        name: the attempt in words.
        refusal: a part of the expected message.
        make: function that makes the attempt and returns the result of the last command.
    """

    kind: str
    name: str
    refusal: str
    make: Callable[[Ground], Said]

    def result(self, ground: Ground) -> str:
        """Return `held`, or a description of the failure."""
        said = self.make(ground)
        if (ground.directory / EXECUTED).exists():
            return "EXECUTED"
        if "defect of cosybuild" in said.text or "Traceback" in said.text:
            return f"DEFECT: {said.text[-300:]}"
        if said.code in (0, 70):
            return f"NOT REFUSED: {said.text[-300:]}"
        return "held" if self.refusal in said.text else f"OTHER WORDS: {said.text[-300:]}"
