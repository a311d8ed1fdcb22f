"""The artifacts that a run delivered, read with their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.openvino.requirements import FIELD
from cosybuild.errors import DeployError
from cosybuild.manifest import SUFFIX, damage, read_manifest

_AGAIN = "Next: run the same build again; it repairs the file."
GRAPH = "graph"
PLAN = "plan"
SCRIPT = "TorchScript file"
IR = "OpenVINO IR"
SCRIPTS = ".zip"


@dataclass(frozen=True)
class Deliverable:
    """One artifact of a run that can be deployed.

    Attributes:
        path: its main file in the run's artifacts/.
        manifest: the content of its manifest.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def kind(self) -> str:
        """The kind of the artifact: `graph` (ONNX), `plan` (an engine), `OpenVINO IR` or `TorchScript file`."""
        if self.path.suffix == SCRIPTS:
            return SCRIPT
        if FIELD in self.manifest:
            return IR
        return PLAN if "built_for" in self.manifest else GRAPH

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Name, dtype and shape of each input, in binding order."""
        return list((self.manifest.get("interface") or {}).get("inputs", ()))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Name, dtype and shape of each output, in binding order."""
        return list((self.manifest.get("interface") or {}).get("outputs", ()))

    @property
    def dtype(self) -> str | None:
        """The element type of all inputs and outputs; None if they differ in type, or if a type is not known."""
        found = {port["dtype"] for port in (*self.inputs, *self.outputs)}
        return found.pop() if len(found) == 1 else None

    @property
    def dynamic_batch(self) -> bool:
        """True if the first axis of the first input has a dynamic size."""
        return bool(self.inputs and self.inputs[0]["shape"]) and not _is_fixed(self.inputs[0]["shape"][0])

    @property
    def model(self) -> dict[str, Any]:
        """The facts of the model from which the artifact was made (see `run.facts.model_facts`)."""
        return dict(self.manifest["model"])

    @property
    def streaming(self) -> bool:
        """True if the network is the streaming variant, whose graph contains the chunk mask."""
        return bool(self.model.get("streaming"))

    @property
    def library(self) -> str | None:
        """The library that loads an engine, `tensorrt` or `tensorrt_rtx`; None for any other artifact."""
        built_for = self.manifest.get("built_for")
        return None if built_for is None else str(built_for["flavour"])

    @property
    def sm(self) -> int | None:
        """The compute capability, times ten, for which an engine was built; None for any other artifact."""
        built_for = self.manifest.get("built_for")
        return None if built_for is None else built_for["sm"]

    @property
    def companions(self) -> list[Path]:
        """The paths of the further files to which the main file refers by name."""
        return [self.path.with_name(fact["name"]) for fact in self.manifest["companions"]]

    def runs_on(self, sm: int) -> bool:
        """Return True if an engine runs on a GPU with the compute capability `sm` (times ten)."""
        if self.manifest["built_for"].get("hardware_compatibility") == "ampere_plus":
            return sm >= 80
        return self.sm == sm

    def describe(self) -> str:
        """Return a description of the artifact in one line: name, type, batch, attention and library."""
        batch = "dynamic batch" if self.dynamic_batch else "fixed batch"
        attention = "streaming" if self.streaming else "full attention"
        target = f", {self.library} sm_{self.sm}" if self.kind == PLAN else ", OpenVINO" if self.kind == IR else ""
        return f"{self.path.name} ({self.dtype or 'mixed types'}, {batch}, {attention}{target})"


def read_deliverables(directory: Path) -> list[Deliverable]:
    """Return all graphs, engines, IRs and TorchScript files in the artifacts/ of a run, sorted by name.

    Raises:
        DeployError: a manifest cannot be read, or a file is not the one that its manifest describes.
    """
    found = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        artifact = path.with_name(path.name.removesuffix(SUFFIX))
        try:
            manifest = read_manifest(artifact)
        except ValueError as error:
            raise DeployError(f"{artifact} cannot be deployed: {error}.", hint=_AGAIN) from error
        assert manifest is not None
        harm = damage(artifact, manifest) or _lack(manifest)
        if harm is not None:
            raise DeployError(f"{artifact} is not the file that was built: {harm}.", hint=_AGAIN)
        if manifest.get("interface"):
            found.append(Deliverable(artifact, manifest))
    return found


def _lack(manifest: Mapping[str, Any]) -> str | None:
    """Return a phrase on the first fact that a deployment needs and that the manifest lacks; None if it lacks none."""
    model = manifest.get("model", {})
    return next((f"its manifest has no model.{name}" for name in ("family", "streaming") if name not in model), None)


def _is_fixed(axis: Any) -> bool:
    return isinstance(axis, int) and axis >= 0
