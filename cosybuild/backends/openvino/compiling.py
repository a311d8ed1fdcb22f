"""The compilation of an IR for the CPU with the properties under which it is verified and served.

Without a precision hint, OpenVINO computes a float32 IR in bfloat16 on processors with AMX or AVX512-BF16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVICE = "CPU"
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision -> the value of INFERENCE_PRECISION_HINT."""


def properties(precision: str, threads: int, streams: int = 1) -> dict[str, Any]:
    """Return the properties of a compiled model.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        threads: CPU threads of one call; 0 leaves the number to OpenVINO.
        streams: calls that compute at the same time.
    """
    # The default of 32 may quantise the inputs of matrix products. Pinned threads of two processes would share cores.
    fixed = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "ENABLE_CPU_PINNING": False, "NUM_STREAMS": streams}
    # The number of threads is that of all streams together.
    counted = {"INFERENCE_NUM_THREADS": threads * streams} if threads else {}
    return {"INFERENCE_PRECISION_HINT": HINTS[precision], **fixed, **counted}


@dataclass(frozen=True)
class CompiledIr:
    """A compiled IR.

    Attributes:
        model: OpenVINO's compiled model. Its ports can have further names.
        inputs, outputs: the names of the ports, in binding order.
    """

    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def compile_ir(openvino: Any, path: Path, precision: str, threads: int, streams: int = 1) -> CompiledIr:
    """Read an IR and its weights, and compile it; see `properties` for the arguments.

    Args:
        openvino: the module.
        path: the .xml file; the weights are in the .bin file beside it.

    Raises:
        RuntimeError: OpenVINO does not read or compile it.
    """
    core = openvino.Core()
    model = core.read_model(str(path), str(path.with_suffix(".bin")))
    names = [tuple(port.any_name for port in ports) for ports in (model.inputs, model.outputs)]
    chosen = properties(precision, threads, streams)
    try:
        compiled = core.compile_model(model, DEVICE, chosen)
    except RuntimeError as error:
        if "snippets" not in str(error):
            raise
        # On one thread, OpenVINO 2026.4 joins very small products with a Mish, and its code generator has none.
        compiled = core.compile_model(model, DEVICE, {**chosen, "SNIPPETS_MODE": "DISABLE"})
    return CompiledIr(compiled, *names)


def reason_of(error: BaseException, limit: int = 300) -> str:
    """Return the last line of OpenVINO's message, which states the reason; the lines before it name source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def dtype_name(element: Any) -> str:
    """Return the name of an element type of OpenVINO as specifications state it, e.g. `float32`."""
    name = str(element.get_type_name())
    return {"bf16": "bfloat16", "boolean": "bool"}.get(name) or str(element.to_dtype().name)
