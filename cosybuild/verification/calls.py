"""The run of an artifact on one case, and the error if the artifact cannot compute the case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cosybuild.errors import VerificationError

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array
    from cosybuild.verification.cases import Case


def infer_case(session: Session, case: Case, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run an artifact on one case and return all outputs by name.

    Args:
        session: the session that runs the artifact.
        case: the case, for the error.
        inputs: the case's inputs by name, in the types that the session takes.

    Raises:
        VerificationError: the artifact cannot compute the case.
    """
    from cosybuild.backends.session import InferenceFailed

    try:
        return session.infer(inputs)
    except InferenceFailed as error:
        sizes = ", ".join(f"{axis}: {{min: {n}, opt: {n}, max: {n}}}" for axis, n in case.draw.sizes.items())
        raise VerificationError(
            f"Case {case.name}: {session.device} cannot compute it: {error}",
            hint="Next: if the model does not accept these sizes or values, state others: "
            f"trt_profile.profiles=[{{{sizes}}}] with your sizes (and multiple_of), or verify.inputs=FILE.npz with "
            "real inputs. Otherwise the graph has a fixed axis: try the other export.exporter, or find the line of the "
            "module that turns a size into a Python number.",
        ) from error
