"""The verification of a lowered graph on one case: its gate, its cases, and the types of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.errors import VerificationError
from cosybuild.numerics.gates import LOWERED
from cosybuild.numerics.inputs import Draw
from cosybuild.request import Request
from cosybuild.verification.scope import lowered_cases_of, verify_settings

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array


@dataclass(frozen=True)
class Gate:
    """The bounds that every output of every case must meet.

    Attributes:
        snr_db: smallest signal-to-noise ratio, in dB.
        max_rel: largest error of one element, divided by the output's root mean square.
    """

    snr_db: float
    max_rel: float


GATES = {target: Gate(gate["snr_db"], gate["max_rel"]) for target, gate in LOWERED.items()}


def settings(request: Request) -> dict[str, Any]:
    """Return the gate, the cases and ONNX Runtime's provider as plain data for keys."""
    return {
        "gate": asdict(gate_of(request)),
        "cases": [{"why": why, **_facts(draw)} for why, draw in cases(request)],
        "provider": verify_settings(request).provider.value,
    }


def gate_of(request: Request) -> Gate:
    """Return the target's gate; `precision.snr_db` replaces the ratio and scales the largest error to match."""
    precision = request.settings.precision
    gate = GATES[precision.target]
    return gate if precision.snr_db is None else Gate(precision.snr_db, 10 ** (-precision.snr_db / 20) * 8)


def cases(request: Request) -> Iterator[tuple[str, Draw]]:
    """Yield the reason and the draw of each case of the reference that is short enough; every kind is included."""
    for case in lowered_cases_of(request):
        yield case.why, case.draw


@dataclass(frozen=True)
class LoweredCase:
    """One case of the lowered graph, with the gate of its outputs."""

    name: str
    gate: Gate

    def hold(self, actual: Mapping[str, Array], expected: Mapping[str, Array], how: str) -> dict[str, Any]:
        """Check each output against the gate and return its figures.

        Raises:
            VerificationError: an output misses the gate or is not finite.
        """
        import numpy as np

        from cosybuild.numerics.metrics import measure, worst_index

        figures = {}
        for name, reference in expected.items():
            values = np.asarray(actual[name], np.float32)
            if not np.isfinite(values).all() or not np.isfinite(reference).all():
                whose = "output" if np.isfinite(reference).all() else "float32 reference of"
                raise VerificationError(
                    f"Case {self.name}, {how}: the {whose} {name} holds values that are not finite.",
                    hint="Next: precision=fp32, or precision.keep_fp32 with the nodes the message above names.",
                )
            found = measure(values, reference)
            if found["snr_db"] < self.gate.snr_db or found["max_rel"] > self.gate.max_rel:
                index = worst_index(values, reference)
                raise VerificationError(
                    f"Case {self.name}, {how}: {name} has a signal-to-noise ratio of {found['snr_db']:.1f} dB and a "
                    f"largest error of {found['max_rel']:.3g} of its rms; at least {self.gate.snr_db:g} dB and at most "
                    f"{self.gate.max_rel:.3g} are expected. The worst element {list(index)} is {values[index]:.6g}, "
                    f"the reference {reference[index]:.6g}.",
                    hint="Next: precision=auto finds the fewest nodes to keep in float32; or precision.snr_db=N to "
                    "accept less.",
                )
            figures[name] = figure.plain(found)
        return figures


def typed_inputs(inputs: Mapping[str, Array], lowered: Any) -> dict[str, Array]:
    """Cast inputs to the types that the lowered graph declares."""
    return {value.name: inputs[value.name].astype(value.dtype.numpy()) for value in lowered.graph.inputs}


def widened(values: Array) -> Array:
    """Cast float16 and bfloat16 values to float32; return other types unchanged."""
    return values.astype("float32") if values.dtype.name in ("float16", "bfloat16") else values


def _facts(draw: Draw) -> dict[str, Any]:
    return {**draw.sizes, "seed": draw.seed, "padded": draw.padded, "guidance": draw.guidance, "time": draw.time.value}
