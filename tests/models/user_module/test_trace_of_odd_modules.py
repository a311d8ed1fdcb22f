"""Ingredients in places and forms that a trace could miss: each change of one is detected."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cosybuild.digest import digest_of
from cosybuild.models.user_module.audit import record_reads
from cosybuild.models.user_module.installed import owners
from cosybuild.models.user_module.trace import Trace, trace_from_json

MAKE = """
import sys
from cosybuild.models.user_module.audit import record_reads
from cosybuild.models.user_module.fresh import import_from_source
from cosybuild.models.user_module.trace import is_local, trace_of
with record_reads() as reads, import_from_source(is_local):
    import gate
print(trace_of(reads, ["gate.Gate"]).to_json())
"""


def traced(place: Path, path: str = "") -> Trace:
    """Import the module `gate` in a new process and return its trace."""
    paths = os.pathsep.join(filter(None, (path, str(place))))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", MAKE]
    answer = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    trace = trace_from_json(answer.stdout)
    assert trace is not None
    return trace


def write(place: Path, name: str, text: str) -> None:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)


def rows(place: Path, value: int) -> None:
    with sqlite3.connect(place / "data.db") as database:
        database.execute("create table if not exists scale (value integer)")
        database.execute(f"insert into scale values ({value})")


def packed(place: Path, text: str) -> None:
    with zipfile.ZipFile(place / "code.zip", "w") as archive:
        archive.writestr("inside.py", text)


@dataclass(frozen=True)
class Case:
    """A module's source, further files, and a change that affects the module."""

    source: str
    before: Callable[[Path], object]
    change: Callable[[Path], object]
    path: str = ""


CASES = {
    "a listing of its own directory, which is on the import path": Case(
        "from pathlib import Path\nSCALES = sorted(Path(__file__).parent.glob('table*.txt'))\n",
        lambda p: write(p, "table1.txt", "1"),
        lambda p: write(p, "table2.txt", "2"),
    ),
    "an optional module of its own package": Case(
        "try:\n    import kit.fast\nexcept ImportError:\n    pass\n",
        lambda p: write(p, "kit/__init__.py", ""),
        lambda p: write(p, "kit/fast.py", ""),
    ),
    "a module that it only looks for": Case(
        "import importlib.util\nFAST = importlib.util.find_spec('fast') is not None\n",
        lambda p: None,
        lambda p: write(p, "fast.py", ""),
    ),
    "a zip archive on the import path": Case(
        "import inside\n",
        lambda p: packed(p, "SCALE = 2"),
        lambda p: packed(p, "SCALE = 3"),
        path="code.zip",
    ),
    "a file that it appends to and then reads": Case(
        "open('t.txt', 'a').close()\nSCALE = open('t.txt').read()\n",
        lambda p: write(p, "t.txt", "2"),
        lambda p: write(p, "t.txt", "3"),
    ),
    "a database": Case(
        "import sqlite3\nSCALE = sqlite3.connect('data.db').execute('select value from scale').fetchone()\n",
        lambda p: rows(p, 2),
        lambda p: rows(p, 3),
    ),
    "a listing in a directory with importlib in its name": Case(
        "from importlib_notes import table\n",
        lambda p: (write(p, "importlib_notes/table.py", "import os\nNAMES = os.listdir('parts')\n"),
                   write(p, "parts/a", "")),
        lambda p: write(p, "parts/b", ""),
    ),
    "data in a directory that is called like metadata": Case(
        "SCALE = open('mydata.dist-info/t.txt').read()\n",
        lambda p: write(p, "mydata.dist-info/t.txt", "2"),
        lambda p: write(p, "mydata.dist-info/t.txt", "3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_change_is_detected(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "gate.py", case.source)
    case.before(tmp_path)
    path = str(tmp_path / case.path) if case.path else ""
    trace = traced(tmp_path, path)
    monkeypatch.chdir(tmp_path)
    for entry in filter(None, (str(tmp_path), path)):
        monkeypatch.syspath_prepend(entry)
    assert trace.change(digest_of) is None
    case.change(tmp_path)
    assert trace.change(digest_of) is not None


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="this system has no RAM disk")
def test_a_project_on_a_ram_disk_has_ingredients() -> None:
    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        write(place, "gate.py", "SCALE = open('t.txt').read()\n")
        write(place, "t.txt", "2")
        assert set(traced(place).files) == {"gate.py", "t.txt"}
    finally:
        shutil.rmtree(place)


def test_a_run_directory_in_a_listed_directory_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "gate.py", "import os\nNAMES = os.listdir('.')\n")
    trace = traced(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outputs").mkdir()
    assert trace.change(digest_of) is None


def test_a_file_named_like_another_part_has_a_part_of_its_own() -> None:
    trace = Trace(files={"names in tables": ("/a", "1")}, directories={"tables": ("/b", "2")})
    assert trace.parts == {"file names in tables": "1", "names in tables": "2"}
    assert replace(trace, files={"names in tables": ("/a", "3")}).parts != trace.parts


def test_metadata_without_a_name_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = owners()
    (tmp_path / "removed-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert owners() == before


def by_descriptor(place: Path) -> None:
    directory = os.open(place / "data", os.O_RDONLY)
    os.close(os.open("t.txt", os.O_RDONLY, dir_fd=directory))
    os.close(directory)


@pytest.mark.parametrize(
    ("action", "phrase"),
    [
        (lambda place: os.system("true"), "starts a process"),
        (lambda place: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0), "starts a process"),
        (by_descriptor, "opens a file relative to an open directory"),
    ],
)
def test_an_action_that_cannot_be_followed_is_named(
    action: Callable[[Path], object], phrase: str, tmp_path: Path
) -> None:
    write(tmp_path, "data/t.txt", "2")
    with record_reads() as reads:
        action(tmp_path)
    assert reads.hidden == {phrase}
