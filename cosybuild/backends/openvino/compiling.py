"""The compilation of an IR for the CPU, with the same properties for verification and serving.

A precision hint is always set. Without it, OpenVINO computes a float32 IR in bfloat16 on processors with AMX or
AVX512-BF16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVICE = "CPU"
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Precision of an IR -> the value of OpenVINO's property INFERENCE_PRECISION_HINT."""


def properties(precision: str, threads: int, streams: int = 1) -> dict[str, Any]:
    """Return the properties with which OpenVINO compiles an IR.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        threads: CPU threads of one run; 0 leaves the number to OpenVINO.
        streams: number of runs that OpenVINO can execute at the same time.
    """
    # The default group size of 32 may quantise the inputs of matrix products. With pinning, two processes would pin
    # their threads to the same cores.
    fixed = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "ENABLE_CPU_PINNING": False, "NUM_STREAMS": streams}
    # INFERENCE_NUM_THREADS counts the threads of all streams together.
    counted = {"INFERENCE_NUM_THREADS": threads * streams} if threads else {}
    return {"INFERENCE_PRECISION_HINT": HINTS[precision], **fixed, **counted}


@dataclass(frozen=True)
class CompiledIr:
    """A compiled IR and the names of its inputs and outputs.

    Attributes:
        model: OpenVINO's compiled model. Its inputs and outputs can have further names.
        inputs, outputs: one name for each input and output, in binding order.
        variables: the number of its variables, which keep their values from one call of a request to the next.
    """

    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variables: int = 0


def compile_ir(openvino: Any, path: Path, precision: str, threads: int, streams: int = 1) -> CompiledIr:
    """Read an IR with its weights, and compile it for the CPU.

    Args:
        openvino: the Python module.
        path: the .xml file; the weights are in the .bin file beside it.
        precision, threads, streams: see `properties`.

    Raises:
        RuntimeError: OpenVINO cannot read or compile the IR.
    """
    core = openvino.Core()
    model = core.read_model(str(path), str(path.with_suffix(".bin")))
    inputs, outputs = (tuple(port.any_name for port in ports) for ports in (model.inputs, model.outputs))
    chosen = properties(precision, threads, streams)
    try:
        compiled = core.compile_model(model, DEVICE, chosen)
    except RuntimeError as error:
        if "snippets" not in str(error):
            raise
        # On one thread, OpenVINO 2026.4 fuses very small products with a Mish, for which its code generator has no
        # code.
        compiled = core.compile_model(model, DEVICE, {**chosen, "SNIPPETS_MODE": "DISABLE"})
    return CompiledIr(compiled, inputs, outputs, len(model.get_variables()))


def reason_of(error: BaseException, limit: int = 300) -> str:
    """Return the last line of OpenVINO's message, cut to `limit` characters.

    This line states the reason; the lines before it name source files.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def dtype_name(element: Any) -> str:
    """Return the name of an element type of OpenVINO as specifications name it, e.g. `float32`."""
    name = str(element.get_type_name())
    return {"bf16": "bfloat16", "boolean": "bool"}.get(name) or str(element.to_dtype().name)
