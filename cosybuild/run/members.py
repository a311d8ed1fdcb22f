"""The files of a run that are handed on: records and data, and nothing that could be imported or run."""

from __future__ import annotations

from pathlib import PurePosixPath

from cosybuild.run.deliver import ARTIFACTS, EVIDENCE
from cosybuild.run.lock import LOCK
from cosybuild.run.recorded import PLAN, REPORT

RECORDS = (REPORT, PLAN, LOCK)

HYDRA = ".hydra"
_COMPOSED = ("config.yaml", "hydra.yaml", "overrides.yaml")

# Graphs, files beside a graph that hold its weights, engines, manifests, arrays, options. A graph's weights may lie in
# a file a tensor, called like the tensor.
_DATA = frozenset(
    {"", ".onnx", ".data", ".onnx_data", ".bin", ".pb", ".weight", ".weights", ".bias"}
    | {".plan", ".engine", ".json", ".npz", ".yaml"}
)


def is_record_or_data(inside: str) -> bool:
    """Say whether a file may come into a run directory from elsewhere.

    Args:
        inside: its path in the run directory, with `/`.
    """
    path = PurePosixPath(inside)
    if len(path.parts) == 1:
        return inside in RECORDS
    if len(path.parts) != 2:
        return False
    if path.parts[0] == HYDRA:
        return path.name in _COMPOSED
    return path.parts[0] in (ARTIFACTS, EVIDENCE) and path.suffix.lower() in _DATA and not path.name.startswith(".")
