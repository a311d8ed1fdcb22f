"""Find overflow in a 16-bit graph. ONNX Runtime's CPU kernels hide it, so the graph's stored types are emulated."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from cosybuild.certifying.diagnosis import Examination
from cosybuild.certifying.verdict import Known
from cosybuild.config.groups.precision import Target
from cosybuild.errors import PrecisionError
from cosybuild.onnxgraph.files import load_model
from cosybuild.precision.emulated_session import EmulatedSession

_LARGEST = {Target.fp16: "65504", Target.bf16: "3.4e38"}


def overflow(found: Examination) -> tuple[str, Known] | None:
    """Return a sentence about the first probe for which an output overflows, and the mistake.

    The result is None if no output overflows, if the graph has no 16-bit types, or if its types are not known well
    enough to emulate it.
    """
    target = found.candidate.limits.target
    if not found.candidate.narrow:
        return None
    model = ir.from_proto(load_model(found.candidate.path))
    try:
        session = EmulatedSession(model, model)
    except PrecisionError:
        return None
    for case, right in zip(found.probes.cases, found.probes.right, strict=True):
        outputs, suspects = session.suspects(case.inputs(found.subject.spec))
        for name, values in right.items():
            wrong = np.isfinite(values) & ~np.isfinite(outputs[name])
            if wrong.any():
                where = f", first in the tensor {suspects[0]}" if suspects else ""
                said = f"{case.name}: {int(wrong.sum())} of {wrong.size} values of {name} are not finite if every "
                says = f"values exceed {_LARGEST[target]}, the largest number of the type{where}"
                remedy = "Keep these nodes in float32; precision=auto finds the fewest."
                return f"{said}tensor is stored in its type", Known("fp16 overflow", says, remedy)
    return None
