"""The type of a component that a model directory ships as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.errors import ModelDirectoryError
from cosybuild.models.spec import ModelSpec


@dataclass(frozen=True)
class GraphFile:
    """One ONNX file of a model directory, which goes through the same steps as a file of `model=onnx`.

    Attributes:
        name: its option of the group `component`.
        files: version -> names of the file, the most common one first.
        spec: the inputs and outputs by position. The file determines their names and may fix a dynamic axis.
    """

    name: ComponentName
    files: Mapping[Family, tuple[str, ...]]
    spec: ModelSpec

    @property
    def names(self) -> list[str]:
        """The names of the file in all versions."""
        return sorted({name for names in self.files.values() for name in names})

    def find(self, directory: Path, family: Family) -> Path | None:
        """Return the file in a model directory of that version; None if it is not there."""
        return next((path for name in self.files[family] if (path := directory / name).is_file()), None)

    def take(self, directory: Path, family: Family) -> Path:
        """Return the file in a model directory of that version.

        Raises:
            ModelDirectoryError: the directory does not have the file.
        """
        path = self.find(directory, family)
        if path is not None:
            return path
        there = [name for name in self.names if name not in self.files[family] and (directory / name).is_file()]
        beside = f" It has {' and '.join(there)}, which belongs to another version." if there else ""
        raise ModelDirectoryError(
            f"component={self.name.value} needs {' or '.join(self.files[family])}, which {directory} ({family.value}) "
            f"does not have.{beside}",
            hint=f"Next: download the file into {directory}; or build a file that is elsewhere with model=onnx "
            "model.path=FILE.",
        )
