"""The changes between two sweeps: verdicts, digests and figures beyond noise, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cosybuild.report.sweep_history import sentence, since
from cosybuild.report.sweep_markdown import sweep_markdown
from tests.report.test_sweep_page import SWEEP


def changed(change: Any) -> list[str]:
    """Return the sentences after `change` was applied to a copy of the sweep."""
    later = copy.deepcopy(SWEEP)
    change(later)
    return [sentence(one) for one in since(later, SWEEP)["changes"]]


def setting(cell: int, **figures: Any) -> Any:
    return lambda sweep: sweep["cells"][cell]["figures"].update(figures)


def test_the_same_sweep_has_no_changes() -> None:
    assert changed(lambda sweep: None) == []
    assert "Nothing changed." in sweep_markdown({**SWEEP, "since": since(SWEEP, SWEEP)})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (setting(0, error=1.4e-5), []),
        (setting(0, error=2e-5), ["trt=fp32: error 1.0e-05 -> 2.0e-05"]),
        (setting(0, error=0.0), ["trt=fp32: error 1.0e-05 -> 0"]),
        (setting(0, snr_db=109.0), []),
        (setting(0, snr_db="Infinity"), ["trt=fp32: SNR 111 dB -> exact"]),
        (setting(1, size=161e6), []),
        (setting(1, size=170e6), ["trt=bf16: size 160 MB -> 170 MB"]),
        (setting(1, nodes=2199), ["trt=bf16: nodes 2,198 -> 2,199"]),
        (setting(1, build_time=9.0), []),
        (setting(2, memory=None), ["trt=fp16: activations 42 MB -> -"]),
    ],
)
def test_figures_count_beyond_their_noise(change: Any, expected: list[str]) -> None:
    assert changed(change) == expected


def test_verdicts_cells_and_artifacts_count() -> None:
    def worse(sweep: Any) -> None:
        sweep["cells"][0] |= {"status": "failed", "figures": {}}
        sweep["cells"][1]["verified"] = False
        del sweep["cells"][3]

    assert changed(worse) == [
        "trt=fp32: status ok -> failed",
        "trt=bf16: verified true -> false",
        "trt=mixed: cell failed -> absent",
    ]


@pytest.mark.parametrize("deterministic", [True, False])
def test_another_digest_counts_where_bytes_can_be_reproduced(deterministic: bool) -> None:
    old, new = copy.deepcopy(SWEEP), copy.deepcopy(SWEEP)
    for sweep, digest in ((old, "a" * 64), (new, "b" * 64)):
        artifact = {"path": "x", "size": 1, "digest": digest, "deterministic": deterministic}
        sweep["cells"][0]["artifacts"] = {"x.onnx": artifact}
    found = [sentence(change) for change in since(new, old)["changes"]]
    assert found == (["trt=fp32: sha256 of x.onnx aaaaaaaaaaaaaaaa -> bbbbbbbbbbbbbbbb"] if deterministic else [])
    del new["cells"][0]["artifacts"]["x.onnx"]
    assert [sentence(change) for change in since(new, old)["changes"]] == ["trt=fp32: x.onnx present -> absent"]
