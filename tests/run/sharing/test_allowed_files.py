"""The files of a run that a bundle may bring into a run directory."""

from __future__ import annotations

import pytest

from cosybuild.run.sharing.allowed_files import is_record_or_data


@pytest.mark.parametrize(
    ("inside", "comes_in"),
    [
        ("report.json", True),
        ("cosybuild.lock", True),
        (".hydra/config.yaml", True),
        ("artifacts/a.onnx", True),
        ("artifacts/onnx__MatMul_12", True),
        ("artifacts/layer.weight", True),
        ("artifacts/a.onnx.manifest.json", True),
        ("foreign.json", False),
        ("events.jsonl", False),
        ("artifacts/a.py", False),
        ("artifacts/a.so.1", False),
        ("artifacts/sub/a.onnx", False),
        ("artifacts/.a.onnx", False),
        (".hydra/other.yaml", False),
        ("payload", False),
    ],
)
def test_only_records_and_data_may_come_in(inside: str, comes_in: bool) -> None:
    assert is_record_or_data(inside) is comes_in
