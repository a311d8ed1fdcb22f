"""The run of an artifact on one case, and the error if the artifact cannot compute the case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cosybuild.config.groups.export import Exporter
from cosybuild.config.groups.model import Family
from cosybuild.errors import VerificationError
from cosybuild.verification.accepted_sizes import accepted_sizes

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array
    from cosybuild.request import Request
    from cosybuild.verification.cases import Case


def infer_case(
    session: Session, case: Case, inputs: Mapping[str, Array], request: Request | None = None
) -> dict[str, Array]:
    """Run an artifact on one case and return all outputs by name.

    Args:
        session: the session that runs the artifact.
        case: the case, for the error.
        inputs: the case's inputs by name, in the types that the session takes.
        request: the request of a build whose declared types the artifact takes. If it is given, the error names the
            axis whose size is not computed.

    Raises:
        VerificationError: the artifact cannot compute the case.
    """
    from cosybuild.backends.session import InferenceFailed

    try:
        return session.infer(inputs)
    except InferenceFailed as error:
        raise VerificationError(
            f"Case {case.name}: {session.device} cannot compute it: {error}", hint=_hint(session, case, request)
        ) from error


def _hint(session: Session, case: Case, request: Request | None) -> str:
    is_file = request is not None and request.subject.family is Family.onnx
    found = None
    if request is not None and request.profiles and case.batch is None:
        found = accepted_sizes(session, case, request.subject.spec, request.profiles[0])
    if found is not None and request is not None:
        start = f"Next: {found}. State the sizes that the model takes: {found.setting}"
        if is_file or session.device.startswith("torch"):
            return f"{start}, or verify.inputs=FILE.npz with real inputs."
        return f"{start}. {frozen_size(request, found.computed)}"
    sizes = ", ".join(f"{axis}: {{min: {n}, opt: {n}, max: {n}}}" for axis, n in case.draw.sizes.items())
    start = (
        "Next: if the model does not accept these sizes or values, state others: "
        f"trt_profile.profiles=[{{{sizes}}}] with your sizes (and multiple_of), or verify.inputs=FILE.npz with real "
        "inputs."
    )
    if is_file:
        return f"{start} Whoever made the file knows them."
    return (
        f"{start} Otherwise the graph has a fixed axis: try the other export.exporter, or find the line of the module "
        "that turns a size into a Python number."
    )


def frozen_size(request: Request, sizes: Mapping[str, int]) -> str:
    """Return the advice for a graph whose exporter froze a size, with sizes for a static graph."""
    other = "dynamo" if request.settings.export.exporter is Exporter.torchscript else "torchscript"
    static = ", ".join(f"{axis}: {size}" for axis, size in sizes.items())
    return (
        "If only some sizes fail, the module turns a size into a Python number, for instance to pad to a "
        f"multiple, and the export froze that number: try export.exporter={other}, correct that line, or build for one "
        f"size with export.static={{{static}}}."
    )
