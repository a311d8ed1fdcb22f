"""The check whether an engine loads on a machine, from its bytes and its manifest alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cosybuild.backends.tensorrt.builder import BuiltEngine
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.loadability import check_plan
from cosybuild.manifest import manifest_path, write_manifest
from cosybuild.system.environment import Environment, Gpu

L4 = Gpu(0, "NVIDIA L4", 89, 24 * 2**30)
H100 = Gpu(0, "NVIDIA H100", 90, 80 * 2**30)
T4 = Gpu(0, "Tesla T4", 75, 16 * 2**30)
PLAN: dict[str, Any] = {
    "flavour": "tensorrt",
    "version": "10.13.3",
    "sm": 89,
    "hardware_compatibility": "none",
    "version_compatible": False,
}


def machine(*gpus: Gpu, tensorrt: str | None = None, rtx: str | None = None) -> Environment:
    versions = {f"{stem}{cuda}": None for stem in ("tensorrt", "tensorrt-rtx") for cuda in ("", "-cu12", "-cu13")}
    return Environment({**versions, "tensorrt": tensorrt, "tensorrt-rtx": rtx}, gpus)


def plan(tmp_path: Path, **built_for: Any) -> Path:
    path = tmp_path / "model.fp16.mygpu.plan"
    path.write_bytes(b"ftrt" + bytes(200))
    write_manifest(path, {"built_for": {**PLAN, **built_for}})
    return path


@pytest.mark.parametrize(("here", "loads", "line"), [
    (machine(L4, tensorrt="10.13.3"), True, "built for sm_89, TensorRT 10.13.3; here sm_89, TensorRT 10.13.3"),
    (machine(H100, L4, tensorrt="10.13.3"), True,
     "built for sm_89, TensorRT 10.13.3; here sm_89, sm_90, TensorRT 10.13.3"),
    (machine(H100, tensorrt="11.4.1"), False,
     "built for sm_89, TensorRT 10.13.3; here sm_90, TensorRT 11.4.1; "
     "an engine of TensorRT 10.13.3 does not load with 11.4.1; this machine has no GPU on which it runs (sm_89)"),
    (machine(), False,
     "built for sm_89, TensorRT 10.13.3; here no GPU, no TensorRT; TensorRT is not installed; there is no GPU"),
])  # fmt: skip
def test_the_manifest_is_compared_with_the_machine(tmp_path: Path, here: Environment, loads: bool, line: str) -> None:
    verdict = check_plan(plan(tmp_path), here)
    assert (verdict.loads, verdict.explain()) == (loads, line)


@pytest.mark.parametrize(("built_for", "here", "loads"), [
    ({"version_compatible": True}, machine(L4, tensorrt="11.0.0"), True),
    ({"version_compatible": True, "version": "11.0.0"}, machine(L4, tensorrt="10.13.3"), False),
    ({"hardware_compatibility": "ampere_plus"}, machine(H100, tensorrt="10.13.3"), True),
    ({"hardware_compatibility": "ampere_plus"}, machine(T4, tensorrt="10.13.3"), False),
    ({"hardware_compatibility": "same_compute_capability"}, machine(H100, tensorrt="10.13.3"), False),
])  # fmt: skip
def test_compatible_engines_load_on_other_machines(
    tmp_path: Path, built_for: dict[str, Any], here: Environment, loads: bool
) -> None:
    assert check_plan(plan(tmp_path, **built_for), here).loads is loads


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert check_plan(tmp_path / "none.plan", machine(L4)).reasons == (f"there is no file {tmp_path / 'none.plan'}",)


def test_an_empty_file_of_a_failed_build_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    path.touch()
    verdict = check_plan(path, machine(L4, tensorrt="10.13.3"))
    assert (verdict.loads, verdict.reasons) == (False, ("the file is empty; a build was probably interrupted",))


def test_a_truncated_file_is_reported(tmp_path: Path) -> None:
    path = plan(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    verdict = check_plan(path, machine(L4, tensorrt="10.13.3"))
    assert verdict.loads is False
    assert "has 100 bytes but 204 in its manifest: it was truncated or replaced" in verdict.reasons[0]


def test_a_file_that_was_replaced_by_one_of_the_same_size_is_reported(tmp_path: Path) -> None:
    path = plan(tmp_path)
    path.write_bytes(b"ftrt" + b"x" * 200)
    verdict = check_plan(path, machine(L4, tensorrt="10.13.3"))
    assert verdict.loads is False
    assert "it was replaced or damaged" in verdict.reasons[0]


def test_a_manifest_of_the_other_library_is_reported(tmp_path: Path) -> None:
    verdict = check_plan(plan(tmp_path, flavour="tensorrt_rtx"), machine(L4, rtx="10.13.3"))
    assert (verdict.loads, verdict.reasons) == (
        False,
        ("the first bytes of the file are those of an engine of TensorRT",),
    )


@pytest.mark.parametrize(("text", "words"), [
    ("{", "is not JSON"), ("[]", "is not a manifest"),
    ('{"format": "cosybuild.artifact", "version": 99}', "version 99"),
])  # fmt: skip
def test_an_unreadable_manifest_is_reported(tmp_path: Path, text: str, words: str) -> None:
    path = plan(tmp_path)
    manifest_path(path).write_text(text, encoding="utf-8")
    verdict = check_plan(path, machine(L4, tensorrt="10.13.3"))
    assert verdict.loads is False
    assert words in verdict.reasons[0]


def test_the_manifest_of_a_graph_is_not_one_of_an_engine(tmp_path: Path) -> None:
    path = plan(tmp_path)
    write_manifest(path, {"model": {}})
    assert check_plan(path, machine(L4)).reasons == ("its manifest does not describe an engine",)


@pytest.fixture
def bare(fp16_engine: BuiltEngine, tmp_path: Path) -> Path:
    """Return a real engine without a manifest."""
    return Path(shutil.copy(fp16_engine.path, tmp_path))


def test_without_a_manifest_it_is_unknown_whether_the_engine_loads(bare: Path, rtx: TensorRtLibrary) -> None:
    verdict = check_plan(bare, machine(L4, rtx=rtx.version))
    assert (verdict.loads, verdict.built_for) == (None, rtx.title)
    assert verdict.reasons[0].startswith(f"there is no manifest {bare.name}.manifest.json")


def test_without_a_manifest_the_header_gives_the_version(bare: Path, rtx: TensorRtLibrary) -> None:
    verdict = check_plan(bare, machine(L4, rtx="1.0.0.0"))
    assert (verdict.loads, verdict.reasons[-1]) == (False, f"an engine of {rtx.title} does not load with 1.0.0.0")


def test_without_a_manifest_the_header_gives_the_size(bare: Path, rtx: TensorRtLibrary) -> None:
    whole = bare.stat().st_size
    bare.write_bytes(bare.read_bytes()[:5000])
    verdict = check_plan(bare, machine(L4, rtx=rtx.version))
    assert (verdict.loads, verdict.reasons[-1]) == (False, f"the file has 5000 bytes and its header says {whole}")


def test_a_file_with_unknown_first_bytes_is_neither_accepted_nor_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    verdict = check_plan(path, machine(L4, tensorrt="10.13.3"))
    assert verdict.loads is None
    assert verdict.reasons[-1] == "the file begins with b'PK\\x03\\x04', which is not the start of a known engine"


def test_the_manifest_is_plain_json(tmp_path: Path) -> None:
    stated = json.loads(manifest_path(plan(tmp_path)).read_text(encoding="utf-8"))
    assert stated["built_for"] == PLAN
