"""Built parts of a voice, such as the front end, that are called with numpy arrays by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.dtypes import FROM_ONNXRUNTIME
from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.admission import CPU, GRAPH_SUFFIX, IR_SUFFIX, admit
from cosybuild.runtime.directory import read_in_service
from cosybuild.runtime.session import cpu_session, run_session

Array = np.ndarray[Any, np.dtype[Any]]


class BuiltPart:
    """An ONNX graph or OpenVINO IR, loaded on the CPU. Any number of threads may call it.

    Args:
        name: the file's name, for errors.
        session: an ONNX Runtime session, or an `IrSession`.
        ranges: input name -> (smallest index, largest index + 1), for each input that holds indices of a table.
    """

    def __init__(self, name: str, session: Any, ranges: Mapping[str, tuple[int, int]]) -> None:
        self.name = name
        self.ranges = dict(ranges)
        self._session = session
        self._ports = {node.name: node for node in session.get_inputs()}

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Run the part and return its outputs by name.

        Args:
            inputs: one array for each input. Floats and whole numbers are cast to the input's type.

        Raises:
            ServingError: an input is missing or unknown, has values of another kind, or has an index out of its range;
                the runtime ended the run with an error; or an output has another shape than the graph declares. Indices
                are checked here because the graph cannot report a wrong one: it would read another row of its table.
            ShapeRefused: an input has another number of axes or another fixed size.
        """
        if set(inputs) != set(self._ports):
            raise ServingError(
                f"{self.name} was called with {', '.join(sorted(inputs)) or 'no inputs'}; expected are "
                f"{', '.join(self._ports)}."
            )
        given = {name: self._checked(name, np.asarray(values)) for name, values in inputs.items()}
        outputs = run_session(self._session, self.name, given)
        nodes = self._session.get_outputs()
        for node, values in zip(nodes, outputs, strict=True):
            # ONNX Runtime only logs an output that contradicts the graph's own declaration.
            if node.shape and not _fits(values.shape, node.shape):
                raise ServingError(
                    f"{self.name} computed {node.name} with the shape {values.shape}; "
                    f"({_shown(node.shape)}) is expected.",
                    hint="Next: run the build again and deploy it again.",
                )
        return dict(zip([node.name for node in nodes], outputs, strict=True))

    def _checked(self, name: str, values: Array) -> Array:
        port = self._ports[name]
        dtype = np.dtype(FROM_ONNXRUNTIME[port.type])
        if not _fits(values.shape, port.shape):
            raise ShapeRefused(f"{self.name}: {name} has the shape {values.shape}; ({_shown(port.shape)}) is expected.")
        if (values.dtype.kind in "iu") != (dtype.kind in "iu") or values.dtype.kind not in "iufb":
            raise ServingError(f"{self.name}: {name} is {values.dtype}; {dtype} is expected.")
        if name in self.ranges and values.size:
            low, high = self.ranges[name]
            outside = (values < low) | (values >= high)
            if outside.any():
                index = tuple(int(i) for i in np.argwhere(outside)[0])
                raise ServingError(
                    f"{self.name}: {name}{list(index)} is {int(values[index])}; whole numbers from {low} to {high - 1} "
                    f"are expected ({int(outside.sum())} of {values.size} values are outside).",
                    hint="Next: check that the tokens come from the tokenizer of this version of the model.",
                )
        return values.astype(dtype, copy=False)


def load_part(path: str | Path, *, threads: int = 0, trust: bool = False) -> BuiltPart:
    """Load one part of a voice on the CPU, such as `flow.frontend.fp32.onnx`.

    The manifest states the ranges of indices, such as the size of the vocabulary. In a directory in service, once a
    deployment has written its journal, the file that this deployment installs is loaded.

    Args:
        path: an .onnx file, or an OpenVINO IR (.xml), with its manifest beside it.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime or OpenVINO.
        trust: also load a file that has no manifest or was not verified; without a manifest, indices are not checked.

    Raises:
        ArtifactRefused: the file must not be loaded; the message gives the reason.
        MissingRequirement: the library that runs the file does not load on this machine.
        ServingError: the file is neither an ONNX graph nor an OpenVINO IR.
    """
    path = Path(path)
    if path.suffix not in (GRAPH_SUFFIX, IR_SUFFIX):
        raise ServingError(
            f"{path} is not an ONNX graph; a file {GRAPH_SUFFIX} is expected, or {IR_SUFFIX} of OpenVINO."
        )
    return read_in_service(path, lambda file: _load(file, threads, trust))


def _load(path: Path, threads: int, trust: bool) -> BuiltPart:
    admitted = admit(path, CPU, trust=trust)
    inputs = admitted.manifest.get("model", {}).get("inputs", ())
    ranges = {one["name"]: (one["range"][0], one["range"][1]) for one in inputs if "range" in one}
    if path.suffix == IR_SUFFIX:
        from cosybuild.runtime.ir import ir_session

        return BuiltPart(path.name, ir_session(admitted.path, admitted.manifest, threads), ranges)
    return BuiltPart(path.name, cpu_session(admitted.path, threads), ranges)


def _fits(shape: Sequence[int], declared: Sequence[int | str | None]) -> bool:
    """Return True if a shape has the declared number of axes and every declared fixed size."""
    return len(shape) == len(declared) and all(
        not isinstance(wanted, int) or wanted == size for size, wanted in zip(shape, declared, strict=True)
    )


def _shown(declared: Sequence[int | str | None]) -> str:
    return ", ".join(str(size) if isinstance(size, int) else "any" for size in declared)
