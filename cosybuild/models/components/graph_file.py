"""The type `GraphFile`: a network that a model directory contains as an ONNX file."""

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
    """A network that a model directory contains as an ONNX file.

    The build treats the file like one that the user gives with `model=onnx`.

    Attributes:
        name: the option of the configuration group `component` that chooses this network.
        files: the possible names of the file for each CosyVoice version, the most common name first.
        spec: the inputs and outputs in their order. The file determines their names and may fix a dynamic axis.
    """

    name: ComponentName
    files: Mapping[Family, tuple[str, ...]]
    spec: ModelSpec

    @property
    def names(self) -> list[str]:
        """The possible names of the file in all CosyVoice versions, sorted."""
        return sorted({name for names in self.files.values() for name in names})

    def find(self, directory: Path, family: Family) -> Path | None:
        """Return the path of the ONNX file in `directory`, a model directory of version `family`; None if missing."""
        return next((path for name in self.files[family] if (path := directory / name).is_file()), None)

    def take(self, directory: Path, family: Family) -> Path:
        """Return the path of the ONNX file in `directory`, a model directory of version `family`.

        Raises:
            ModelDirectoryError: the directory does not contain the file.
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
