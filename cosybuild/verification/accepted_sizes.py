"""A diagnosis of sizes that an artifact cannot compute: the axis at fault, and ranges that it can compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cosybuild.models.shape_profile import Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.verification.cases import Case

if TYPE_CHECKING:
    from cosybuild.backends.session import Session

_MULTIPLES = (2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class AcceptedSizes:
    """Ranges that avoid the sizes that failed.

    Attributes:
        computed: sizes that the artifact has computed.
        refused: axis -> the size that it refuses while all others are those of `computed`.
        multiples: axis -> the least multiple that it seems to need; an axis without one takes one size only.
        ranges: the profile of the build.
    """

    computed: Mapping[str, int]
    refused: Mapping[str, int]
    multiples: Mapping[str, int]
    ranges: Profile

    def __str__(self) -> str:
        words = []
        for axis, size in self.refused.items():
            other = f", and multiples of {self.multiples[axis]} seem to be" if axis in self.multiples else ""
            words.append(f"{axis}={self.computed[axis]} is computed{other}, but {axis}={size} is not")
        return "; ".join(words)

    @property
    def setting(self) -> str:
        """The setting `trt_profile.profiles` with these ranges, for a command line."""
        parts = []
        for axis, sizes in self.ranges.items():
            least, opt, most, unit = sizes.min, sizes.opt, sizes.max, self.multiples.get(axis, sizes.multiple_of)
            if axis in self.multiples:
                least, opt, most = -(-least // unit) * unit, max(unit, opt - opt % unit), most - most % unit
            elif axis in self.refused:
                least = opt = most = self.computed[axis]
                unit = 1
            several = f", multiple_of: {unit}" if unit > 1 else ""
            parts.append(f"{axis}: {{min: {least}, opt: {opt}, max: {most}{several}}}")
        return f"trt_profile.profiles=[{{{', '.join(parts)}}}]"


def accepted_sizes(session: Session, case: Case, spec: ModelSpec, ranges: Profile) -> AcceptedSizes | None:
    """Find by further calls which axis makes a case fail; None if no single axis does, or if no size is computed.

    Args:
        session: the artifact.
        case: the case that failed, with drawn inputs.
        spec: inputs in the types that the session takes.
        ranges: the profile of the build.
    """
    sizes = dict(case.draw.sizes)
    least, usual = ({axis: getattr(ranges[axis], name) for axis in sizes} for name in ("min", "opt"))
    base = next((one for one in (least, usual) if _computes(session, case, spec, one)), None)
    if base is None:
        return None
    refused = {a: n for a, n in sizes.items() if n != base[a] and not _computes(session, case, spec, {**base, a: n})}
    if not refused:
        return None
    multiples = {}
    for axis in refused:
        for unit in _MULTIPLES:
            tried = base[axis] + unit
            if base[axis] % unit or not ranges[axis].holds(tried):
                continue
            if _computes(session, case, spec, {**base, axis: tried}):
                multiples[axis] = unit
                break
    return AcceptedSizes(base, refused, multiples, ranges)


def _computes(session: Session, case: Case, spec: ModelSpec, sizes: Mapping[str, int]) -> bool:
    from cosybuild.backends.session import InferenceFailed
    from cosybuild.numerics.inputs import draw_inputs

    try:
        session.infer(draw_inputs(spec, replace(case.draw, sizes=dict(sizes))))
    except InferenceFailed:
        return False
    return True
