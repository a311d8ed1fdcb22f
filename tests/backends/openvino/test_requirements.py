"""Requirements of an IR: which processor computes in which type, and which release loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.backends.openvino.requirements import (
    check_facts,
    check_ir,
    fault_of_ir,
    instruction_sets,
    lacking_instructions,
    missing_requirements,
)
from cosybuild.manifest import write_manifest
from cosybuild.system.environment import Environment

SAPPHIRE = ("fpu", "avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
CASCADE = ("fpu", "avx2", "avx512f", "avx512_vnni")


def machine(*features: str, openvino: str | None = "2026.4.1") -> Environment:
    return Environment({"openvino": openvino}, (), frozenset(features))


@pytest.mark.parametrize(
    ("precision", "features", "architecture", "lacks"),
    [
        ("fp32", (), "x86_64", None),
        ("bf16", SAPPHIRE, "x86_64", None),
        ("fp16", SAPPHIRE, "AMD64", None),
        ("bf16", CASCADE, "x86_64", "a processor with avx512_bf16 or amx_bf16 for bf16"),
        ("fp16", CASCADE, "x86_64", "a processor with avx512_fp16 or amx_fp16 for fp16"),
        ("bf16", (), "x86_64", None),  # the system does not list them: the compiled model is checked
        ("fp16", ("asimd", "asimdhp"), "aarch64", None),
        ("fp16", ("asimd",), "aarch64", "a processor with asimdhp for fp16"),
        ("bf16", ("asimd", "bf16"), "arm64", "a processor on which OpenVINO computes in bf16; on arm64 it has no such"),
        ("bf16", ("rv64",), "riscv64", None),
    ],
)
def test_a_processor_without_the_instructions_is_named(
    precision: str, features: tuple[str, ...], architecture: str, lacks: str | None
) -> None:
    found = lacking_instructions(precision, machine(*features), architecture)
    assert (found is None) == (lacks is None)
    assert lacks is None or (found or "").startswith(lacks)


def test_a_machine_without_the_package_is_told_how_to_install_it() -> None:
    assert missing_requirements("fp32", machine(*SAPPHIRE)) == ()
    assert missing_requirements("fp32", machine(openvino=None)) == ("openvino (pip install 'cosybuild[openvino]')",)


def test_the_instruction_sets_in_keys_are_those_that_choose_kernels() -> None:
    assert instruction_sets(machine(*CASCADE)) == "avx2 avx512f avx512_vnni"
    assert instruction_sets(machine("fpu")) != ""


@pytest.mark.parametrize(
    ("built", "precision", "here", "said"),
    [
        ("2026.4.1-22982-e213", "bf16", machine(*SAPPHIRE), None),
        ("2026.4.0", "fp32", machine(*CASCADE), None),
        ("2026.3.0", "fp32", machine(*CASCADE), "it was verified with openvino 2026.3, and 2026.4.1 is installed"),
        ("2026.4.1", "fp32", machine(openvino=None), "it needs openvino 2026.4, which is not installed"),
        (
            "2026.4.1",
            "int4",
            machine(*SAPPHIRE),
            "its manifest states the precision 'int4'; fp32, bf16, fp16 are known",
        ),
    ],
)
def test_an_ir_loads_with_the_release_and_the_processor_that_verified_it(
    built: str, precision: str, here: Environment, said: str | None
) -> None:
    verdict = check_facts({"version": built, "precision": precision}, here)
    assert verdict.loads is (said is None)
    assert said is None or verdict.explain() == said


def test_an_ir_for_bf16_does_not_load_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    verdict = check_facts({"version": "2026.4.1", "precision": "bf16"}, machine(*CASCADE))
    assert (verdict.loads, verdict.explain()) == (False, "it needs a processor with avx512_bf16 or amx_bf16 for bf16")


def test_an_ir_without_a_manifest_is_unknown_and_a_damaged_manifest_does_not_load(tmp_path: Path) -> None:
    ir = tmp_path / "m.xml"
    ir.write_text("<net/>")
    assert check_ir(ir, machine()).loads is None
    manifest = write_manifest(ir, {"openvino": {"version": "2026.4.1", "precision": "fp32"}})
    assert check_ir(ir, machine()).loads is True
    manifest.write_text(manifest.read_text().replace("fp32", "bf16"))
    assert check_ir(ir, machine(*SAPPHIRE)).loads is False


@pytest.mark.parametrize("names", [[], ["other.bin"], ["m.bin", "other.bin"]])
def test_the_manifest_must_list_exactly_the_weights_that_openvino_reads(tmp_path: Path, names: list[str]) -> None:
    def manifest(listed: list[str]) -> dict[str, Any]:
        return {"companions": [{"name": name} for name in listed]}

    (tmp_path / "m.xml").write_text("<?xml version='1.0'?><net/>")
    assert fault_of_ir(tmp_path / "m.xml", manifest(["m.bin"])) is None
    assert "OpenVINO reads m.bin" in (fault_of_ir(tmp_path / "m.xml", manifest(names)) or "")
