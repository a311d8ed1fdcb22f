"""The ground on which attempts are made: a bundle that a stranger has forged, and a person who takes it in."""

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
"""The file that whatever an attempt manages to execute leaves in the ground's directory."""

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
    """A directory in which a person works, and a good bundle of somebody else.

    Attributes:
        directory: empty but for what attempts put there.
        bundle: of a finished run.
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
        """Be in the directory, with it on the import path, as `python -m` puts it there."""
        before, path, argv = Path.cwd(), list(sys.path), list(sys.argv)
        os.chdir(self.directory)
        sys.path.insert(0, str(self.directory))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:], sys.argv[:] = path, argv

    def payload(self) -> str:
        """Python code that leaves a trace, and defines a module `Net`."""
        trace = str(self.directory / EXECUTED)
        return f"import pathlib\npathlib.Path({trace!r}).touch()\nimport torch\nclass Net(torch.nn.ReLU):\n    pass\n"

    def run(self) -> Path:
        """The one run directory here."""
        (directory,) = (self.directory / "outputs" / "runs").iterdir()
        return directory


def report_of(bundle: Path) -> dict[str, Any]:
    """The report in a bundle."""
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
    """The ground's bundle with other content, whose digests and checksums are all right.

    Args:
        records: member -> what changes the record in it.
        more: member -> content, beside the others.
        index: what changes bundle.json at last.
    """
    with tarfile.open(ground.bundle) as opened:
        members = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    listing = json.loads(members.pop("bundle.json"))
    for name, change in (records or {}).items():
        members[name] = with_checksum(members[name], change)
    members.update(more or {})
    return write_bundle(ground.directory / "forged.tar.gz", listing, members, index)


def with_checksum(content: bytes, change: Change) -> bytes:
    """A record with other content and the checksum of it."""
    plain = json.loads(content)
    changed = copy.deepcopy({name: value for name, value in plain.items() if name != CHECKSUM})
    change(changed)
    kind, schema = changed.pop("kind"), changed.pop("schema")
    assert schema == 1
    return record_text(kind, changed).encode()


def write_bundle(
    target: Path, listing: dict[str, Any], members: Mapping[str, bytes], change: Change | None = None
) -> Path:
    """An archive with an index that lists its members as it should, unless `change` says otherwise."""
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
    """One thing that somebody could try.

    Attributes:
        kind: what it is after.
        name: what is tried, in words.
        refusal: a part of what the product answers.
        make: tries it and returns how the last command ended.
    """

    kind: str
    name: str
    refusal: str
    make: Callable[[Ground], Said]

    def result(self, ground: Ground) -> str:
        """`held`, or what went wrong."""
        said = self.make(ground)
        if (ground.directory / EXECUTED).exists():
            return "EXECUTED"
        if "defect of cosybuild" in said.text or "Traceback" in said.text:
            return f"DEFECT: {said.text[-300:]}"
        if said.code in (0, 70):
            return f"NOT REFUSED: {said.text[-300:]}"
        return "held" if self.refusal in said.text else f"OTHER WORDS: {said.text[-300:]}"
