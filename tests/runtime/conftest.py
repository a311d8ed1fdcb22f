"""Fixtures: graphs of the tiny models, exported once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.tiny import certify, write_graph


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return graphs with manifests: one of each version, and the variants of version 2: streaming, dynamic batch."""
    directory = tmp_path_factory.mktemp("graphs")
    made = {
        f"cosyvoice{version}": write_graph(directory / f"cosyvoice{version}.onnx", version) for version in (1, 2, 3)
    }
    made["streaming"] = write_graph(directory / "streaming.onnx", streaming=True)
    made["batch"] = write_graph(directory / "batch.onnx", batch=True)
    for name, path in made.items():
        certify(path, streaming=name == "streaming")
    return made
