"""The files of a directory that are certified without being named."""

from __future__ import annotations

from pathlib import Path

from cosybuild.certifying.match import certifiable_files, has_build_manifest
from cosybuild.directory_in_service import STATE
from cosybuild.manifest import write_manifest


def test_all_files_but_backups_are_certified_and_those_of_a_build_are_known(tmp_path: Path) -> None:
    for name in ("port.onnx", "built.onnx", "replaced.onnx", "signed.onnx", f"{STATE}/backups/1/old.onnx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        if path.stem in ("built", "replaced"):
            write_manifest(path, {"model": {}})
        elif path.stem == "signed":
            write_manifest(path, {"certified": {}})
    (tmp_path / "replaced.onnx").write_bytes(b"of somebody else")
    (tmp_path / "directory.onnx").mkdir()
    found = certifiable_files(tmp_path)
    assert [path.name for path in found] == ["built.onnx", "port.onnx", "replaced.onnx", "signed.onnx"]
    assert [path.name for path in found if has_build_manifest(path)] == ["built.onnx"]
