"""The verification of a lowered graph: its limits, the settings in the key of its step, and the types of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cosybuild.numerics.gates import LOWERED, Gate, gates_of_kinds, plain_gate, with_ratio
from cosybuild.numerics.metrics import Kind
from cosybuild.request import Request
from cosybuild.verification.cases import Case
from cosybuild.verification.judge import Advice, Limits, compare_outputs, first_fault
from cosybuild.verification.scope import kinds_of, lowered_cases_of, output_settings, own_limits, verify_settings

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array


ADVICE = Advice(
    values="Next: precision=auto finds the fewest nodes to keep in float32; or precision.snr_db=N to accept less. "
    "If drawn inputs give an output that is almost zero, verify.inputs=FILE.npz has real ones, or verify.outputs "
    "states a floor for it.",
    not_finite="Next: precision=auto finds the fewest nodes to keep in float32; or precision=bf16 has more range.",
)


def settings(request: Request) -> dict[str, Any]:
    """Return the gates, the cases and ONNX Runtime's provider as plain data, for the key of the step."""
    return {
        "gate": plain_gate(gate_of(request)),
        **_kinds(request),
        **output_settings(request),
        "cases": [_facts(case) for case in lowered_cases_of(request)],
        "provider": verify_settings(request).provider.value,
    }


def _kinds(request: Request) -> dict[str, Any]:
    """Return kind -> gate for the kinds that the outputs have.

    If there are none, the mapping is empty, so that keys of earlier releases stay valid.
    """
    gates, kinds = of_kind(request), set(kinds_of(request.subject.spec).values())
    held = {kind.value: plain_gate(gates[kind]) for kind in sorted(kinds & set(gates))}
    return {"of_kind": held} if held else {}


def gate_of(request: Request) -> Gate:
    """Return the gate of the target type; `precision.snr_db`, if set, replaces its signal-to-noise ratio."""
    precision = request.settings.precision
    return with_ratio(LOWERED[precision.target], precision.snr_db)


def of_kind(request: Request) -> Mapping[Kind, Gate]:
    """Return kind -> gate of the target type; `precision.snr_db`, if set, replaces the signal-to-noise ratios."""
    precision = request.settings.precision
    return gates_of_kinds(precision.target, precision.snr_db)


def limits_of(request: Request) -> Limits:
    """Return the limits that the outputs of a lowered graph must meet."""
    return Limits(
        gate_of(request),
        target=request.settings.precision.target,
        kinds=kinds_of(request.subject.spec),
        of_kind=of_kind(request),
        own=own_limits(verify_settings(request), lowered=True),
    )


def fault_of(request: Request) -> Callable[..., str | None]:
    """Return a function (actual outputs, expected outputs) that returns the first fault as text, or None."""
    limits = limits_of(request)

    def faulty(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
        fault = first_fault(compare_outputs(actual, expected, limits))
        return None if fault is None else fault.text

    return faulty


def typed_inputs(inputs: Mapping[str, Array], lowered: Any) -> dict[str, Array]:
    """Cast inputs to the types that the lowered graph's inputs have."""
    return {value.name: inputs[value.name].astype(value.dtype.numpy()) for value in lowered.graph.inputs}


def to_float32(values: Array) -> Array:
    """Cast float16 and bfloat16 values to float32; return other types unchanged."""
    return values.astype("float32") if values.dtype.name in ("float16", "bfloat16") else values


def _facts(case: Case) -> dict[str, Any]:
    draw = case.draw
    return {"why": case.why, **draw.sizes, "seed": draw.seed, "padded": draw.padded, "guidance": draw.guidance,
            "time": draw.time.value}  # fmt: skip
