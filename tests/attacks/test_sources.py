"""Inputs of a build that change unnoticed, and directories that a build must not change."""

from __future__ import annotations

import ctypes.util
import shutil
import sys
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.models.user_module.audit import record_reads
from cosybuild.run.deliver import check_own_directories

_LIBC = ctypes.util.find_library("c")


@pytest.mark.attack("stale", "the library is an ingredient of the module, like a file that Python opens")
def test_a_library_that_a_module_loads_is_recorded(tmp_path: Path) -> None:
    import _ctypes

    library = tmp_path / "own.so"
    shutil.copy(_ctypes.__file__, library)
    with record_reads() as reads:
        ctypes.CDLL(str(library))
    assert str(library) in reads.files


@pytest.mark.skipif(not sys.platform.startswith("linux") or _LIBC is None, reason="there is no libc of this name")
def test_a_library_of_the_system_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with record_reads() as reads:
        ctypes.CDLL(_LIBC)
        ctypes.CDLL(None)
    assert not [name for name in reads.files if name.startswith(str(tmp_path))]


@pytest.mark.attack("read or write", "the build is refused; it would remove the other files there")
@pytest.mark.parametrize("name", ["artifacts", "evidence"])
def test_an_artifacts_directory_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "run").mkdir()
    check_own_directories(tmp_path / "run")
    (tmp_path / "run" / name).symlink_to(tmp_path / "thesis")
    with pytest.raises(StoreError, match=f"{name} is a symbolic link"):
        check_own_directories(tmp_path / "run")
