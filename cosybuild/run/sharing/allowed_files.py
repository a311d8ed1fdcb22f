"""The files of a run that a bundle may contain: records and data, but no file that could be imported or executed."""

from __future__ import annotations

from pathlib import PurePosixPath

from cosybuild.run.deliver import ARTIFACTS, EVIDENCE
from cosybuild.run.lock_file import LOCK
from cosybuild.run.recorded import PLAN
from cosybuild.run.run_names import REPORT

RECORDS = (REPORT, PLAN, LOCK)

HYDRA = ".hydra"
_COMPOSED = ("config.yaml", "hydra.yaml", "overrides.yaml")

# The suffixes of graphs, weights, engines, OpenVINO IRs, manifests, arrays and options. A graph's weights may be in
# one file for each tensor, named like the tensor, which can end with `.weight` or `.bias`, or have no suffix.
_DATA = frozenset(
    {"", ".onnx", ".data", ".onnx_data", ".bin", ".pb", ".weight", ".weights", ".bias"}
    | {".plan", ".engine", ".xml", ".json", ".npz", ".yaml"}
)


def is_record_or_data(inside: str) -> bool:
    """Return True if the import of a bundle may write this file into a run directory.

    Args:
        inside: the path of the file in the run directory, with `/` as separator.
    """
    path = PurePosixPath(inside)
    if len(path.parts) == 1:
        return inside in RECORDS
    if len(path.parts) != 2:
        return False
    if path.parts[0] == HYDRA:
        return path.name in _COMPOSED
    return path.parts[0] in (ARTIFACTS, EVIDENCE) and path.suffix.lower() in _DATA and not path.name.startswith(".")
