"""The two commands that are suggested after a first build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.cli.next_commands import next_commands

RUN = Path("outputs/runs/model-1")


def report(
    family: str = "cosyvoice2", *, random: bool = False, streaming: bool = False, batch: bool = False, **changes: Any
) -> dict[str, Any]:
    return {
        "overrides": ["trt=none", "x={a: 1}"],
        "config": {"model_dir": "a model", "deploy": None, "export": {"dynamic_batch": batch}},
        "model": {
            "family": family,
            "name": "flow.decoder.estimator",
            "random_weights": random,
            "streaming": streaming,
        },
        "verified": True,
        **changes,
    }


@pytest.mark.parametrize(
    ("of", "second"),
    [
        (
            report(),
            "deploy it    python -m cosybuild trt=none 'x={a: 1}' deploy=cosyvoice 'deploy.dir=a model'",
        ),
        (report(random=True), "build a trained model  python -m cosybuild trt=none 'x={a: 1}' model_dir=DIR"),
        (report("module"), "rebuild it and compare  python -m cosybuild replay model-1"),
        (report(streaming=True), "rebuild it and compare  python -m cosybuild replay model-1"),
        (report(batch=True), "rebuild it and compare  python -m cosybuild replay model-1"),
        (report(verified=None), "rebuild it and compare  python -m cosybuild replay model-1"),
    ],
)
def test_two_commands_are_suggested_with_their_purposes(of: dict[str, Any], second: str) -> None:
    title, first, last = next_commands(of, RUN)
    assert title == "Next:"
    assert first.startswith("  print the reason for each step  ")
    assert first.endswith("  python -m cosybuild explain model-1")
    assert last.split() == second.split()
    assert first.index("python") == last.index("python")


def test_a_run_elsewhere_is_named_by_its_directory() -> None:
    assert next_commands(report("onnx"), Path("elsewhere/it"))[1].endswith("explain elsewhere/it")
