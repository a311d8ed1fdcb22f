"""The cases, solver runs and limits with which one build is verified, derived from its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import SolverPoint, VerifyMode, VerifySettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.service_lengths import quantile_lengths
from cosybuild.models.shape_profile import FRAMES, NamedSizes, Profile, named_sizes
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.gates import check_gate, gates_of_kinds, plain_gate
from cosybuild.numerics.inputs import LARGEST_FLOAT16
from cosybuild.numerics.metrics import Kind
from cosybuild.numerics.tolerance import Tolerance
from cosybuild.request import Request
from cosybuild.verification.cases import (
    CHEAP_SIZE,
    Case,
    given_cases,
    lowered_cases,
    strict_cases,
    upstream_cases,
)
from cosybuild.verification.judge import Limits, OwnLimits
from cosybuild.verification.property_checks import tried_sizes
from cosybuild.verification.random_sizes import depends_on_profiles
from cosybuild.verification.solver_runs import Rollout, is_solvable, prefixes

if TYPE_CHECKING:
    pass

SHORT = 64
"""Frames of a short utterance. It is longer than the receptive field of every convolution, and short enough that ten
calls are cheap.
"""

LONGEST_OF_SAMPLES = 128
"""Largest number of frames in the cases of a lowered graph that computes samples, such as a vocoder, which has hundreds
of samples for each frame.
"""

QUIET = (24, 48)
"""Frames of the cases whose inputs have small variances; such inputs reveal a wrong epsilon. CosyVoice 1 has no such
cases: its unconditional rows already reveal a wrong epsilon, and a group norm of values with almost no variance has an
accuracy of only 97 dB in float32.
"""


def verify_settings(request: Request) -> VerifySettings:
    """Return the settings of the configuration group `verify`. A build with a step that verifies always has them."""
    assert request.settings.verify is not None
    return request.settings.verify


def is_lowered(request: Request) -> bool:
    """Return True if the build lowers the graph to a type smaller than float32 (fp16, bf16, ...)."""
    return request.settings.precision.target not in (Target.fp32, Target.tf32)


def cases_of(request: Request) -> tuple[Case, ...]:
    """Return the cases of the float32 graph. With streaming attention, some have lengths around the end of a chunk."""
    verify = verify_settings(request)
    if request.given:
        return given_cases(request.given)
    if verify.mode is VerifyMode.upstream:
        return upstream_cases(request.subject.spec, request.profiles, verify.seed)
    return _strict(request)


def ingredients(request: Request) -> dict[str, Any]:
    """Return everything that determines the cases of the reference, as plain data, for the keys of steps."""
    verify = verify_settings(request)
    strict, moved = verify.mode is VerifyMode.strict, _depends_on_profiles(request)
    return {
        "mode": verify.mode.value,
        "seed": verify.seed,
        "exhaustive": strict and verify.exhaustive,
        "lowered_too": not strict and is_lowered(request),
        "profiles": _named(request) if strict or is_lowered(request) or moved else [],
        "served": list(_served(request)),
        # An earlier release drew infinite values for such inputs, so its references must have other keys.
        **({"beyond_float16": True} if _beyond_float16(request) else {}),
        # Earlier releases did not move sizes into the profiles, and gave the later cases other seeds.
        **({"inside_profiles": True} if moved else {}),
        **given_digests(request),
    }


def given_digests(request: Request) -> dict[str, list[str]]:
    """Return the digests of real inputs, for the keys of steps.

    Without real inputs the mapping is empty, so that keys of earlier releases stay valid.
    """
    return {"given": [batch.digest for batch in request.given]} if request.given else {}


def verified_profiles(request: Request) -> list[NamedSizes]:
    """Return the profiles as plain data, for the key of a verification.

    The list is empty if the cases do not depend on the profiles.
    """
    strict = verify_settings(request).mode is VerifyMode.strict
    return _named(request) if strict or _depends_on_profiles(request) else []


def contract_sizes(request: Request) -> dict[str, list[dict[str, int]]]:
    """Return the sizes at which the contract is checked, for the key of a step whose key does not contain the profiles.

    With one profile and one dynamic axis, the mapping is empty: the key then contains the sizes of the cases, which
    differ whenever the profile differs.
    """
    if len(request.profiles) < 2 and len(request.subject.spec.symbols) < 2:
        return {}
    return {"contract": tried_sizes(request.subject, request.profiles)}


def _named(request: Request) -> list[NamedSizes]:
    return [named_sizes(profile) for profile in request.profiles]


def _depends_on_profiles(request: Request) -> bool:
    verify, spec, profiles = verify_settings(request), request.subject.spec, request.profiles
    modes = {verify.mode is VerifyMode.upstream, *([False] if is_lowered(request) else [])}
    return any(depends_on_profiles(spec, profiles, verify.seed, upstream=mode) for mode in modes)


def _beyond_float16(request: Request) -> bool:
    """Return True if an input is drawn from a range that float16 does not cover."""
    drawn = [t for t in request.subject.spec.inputs if t.generator in ("uniform", "time") and t.dtype == "float32"]
    return any(max(abs(tensor.low), abs(tensor.high)) > LARGEST_FLOAT16 for tensor in drawn)


def lowered_cases_of(request: Request) -> tuple[Case, ...]:
    """Return the cases of a lowered graph.

    They are those of `strict` in every mode, because a smaller type fails first at the limits of a profile.
    """
    if request.given:
        return given_cases(request.given)
    axes = request.subject.spec.axes
    finer = {s: axis.per_frame for s, axis in axes.items() if axis.per_frame is not None and axis.per_frame > 1}
    return lowered_cases(_strict(request), LONGEST_OF_SAMPLES if finer else CHEAP_SIZE, finer)


def reference_cases_of(request: Request) -> tuple[Case, ...]:
    """Return all cases of the reference, each once: those of the float32 graph, and those of any lowered graph."""
    cases = cases_of(request)
    return cases + tuple(case for case in lowered_cases_of(request) if is_lowered(request) and case not in cases)


def rollouts_of(request: Request) -> tuple[Rollout, ...]:
    """Return the solver runs, short ones first.

    There are none if the model has no solver or `verify.solver` is null.
    """
    verify, subject = verify_settings(request), request.subject
    if verify.solver is None or not is_solvable(subject.spec, subject.solver):
        return ()
    within = request.profiles[0][FRAMES]
    sizes = {
        SolverPoint.short: within.nearest(SHORT),
        SolverPoint.opt: within.opt,
        SolverPoint.max: within.max,
    }
    lengths: dict[int, str] = {}
    for point in verify.solver.points:
        lengths.setdefault(sizes[point], point.value)
    for length in verify.solver.lengths:
        lengths.setdefault(length, "as asked for")
    rollouts = [Rollout(why, (length,), verify.seed) for length, why in sorted(lengths.items())]
    chunk = int(subject.hyperparameters.get("static_chunk_size", 0)) if subject.streaming else 0
    chunks, most = verify.solver.chunks, subject.cache_frames
    # The reference keeps the whole history. With `cache_frames`, the artifact keeps a limited one, so the run must end
    # before the artifact drops a frame.
    fed = prefixes(chunk, chunks if most is None else min(chunks, most // chunk + 1)) if chunk else ()
    if fed and all(map(within.holds, fed)):
        rollouts.append(Rollout("in chunks", fed, verify.seed))
    return tuple(rollouts)


def float32_limits(verify: VerifySettings, kinds: Mapping[str, Kind]) -> Limits:
    """Return the limits of a float32 graph's outputs.

    In the mode `upstream`, the tolerance is that of `numpy.allclose`; in `strict`, it scales with the output's
    magnitude.
    """
    tolerance = Tolerance(verify.rtol, verify.atol, scaled=verify.mode is VerifyMode.strict)
    gate = {} if verify.snr_db is None else {"snr_db": verify.snr_db}
    of_kind = gates_of_kinds(Target.fp32, stated_ratio(verify))
    return Limits(gate, tolerance, kinds=kinds, of_kind=of_kind, own=own_limits(verify))


def own_limits(verify: VerifySettings, *, lowered: bool = False) -> dict[str, OwnLimits]:
    """Return output -> the limits that the user sets for it in `verify.outputs`.

    Args:
        verify: the settings of the configuration group `verify`.
        lowered: True for a lowered graph or an engine. They have no tolerance for single elements.
    """
    found = {}
    for name, own in verify.outputs.items():
        gate = dict(own.lowered if lowered else own.gates) or None
        tolerance = None
        if not lowered and (own.rtol is not None or own.atol is not None):
            rtol = verify.rtol if own.rtol is None else own.rtol
            # The atol of an output is in its units; that of the model scales with the output in the mode `strict`.
            scaled = own.atol is None and verify.mode is VerifyMode.strict
            tolerance = Tolerance(rtol, verify.atol if own.atol is None else own.atol, scaled=scaled)
        found[name] = OwnLimits(gate, tolerance, own.floor)
    return found


def output_settings(request: Request) -> dict[str, Any]:
    """Return `verify.outputs` for the keys of steps; empty without it, so that keys of earlier releases stay valid."""
    stated = verify_settings(request).outputs
    if not stated:
        return {}
    # A release relaxed stated gates too. Its results must have other keys.
    strict = {"stated_gates": "strict"} if any(own.gates or own.lowered for own in stated.values()) else {}
    return {"outputs": {name: asdict(own) for name, own in sorted(stated.items())}, **strict}


def stated_gates(verify: VerifySettings, spec: ModelSpec) -> dict[str, Any]:
    """Return the gates of output kinds that `verify.snr_db` changes, for a key; empty if it changes none.

    Earlier releases did not apply the setting to these outputs, so their results must have other keys.
    """
    usual, stated = gates_of_kinds(Target.fp32), gates_of_kinds(Target.fp32, stated_ratio(verify))
    kinds = {kind for kind in kinds_of(spec).values() if kind in usual and usual[kind] != stated[kind]}
    return {"of_kind": {kind.value: plain_gate(stated[kind]) for kind in sorted(kinds)}} if kinds else {}


def stated_ratio(verify: VerifySettings) -> float | None:
    """Return `verify.snr_db` if it differs from the default, which kinds with gates of their own ignore; else None."""
    return None if verify.snr_db == VerifySettings().snr_db else verify.snr_db


def kinds_of(spec: ModelSpec) -> dict[str, Kind]:
    """Return output -> kind of its values, for those outputs that have a special kind."""
    return {output.name: Kind(output.kind) for output in spec.outputs if Kind(output.kind) is not Kind.any}


def check_verify(request: Request) -> None:
    """Check the settings of the configuration group `verify` for errors that the schema cannot detect.

    Raises:
        ConfigurationError: a gate names an unknown metric, an output is unknown, the file of lengths is invalid, or the
            model has no axis of lengths.
    """
    verify = verify_settings(request)
    for hop in ("torch", "export", "simplify", "engine"):
        check_gate(f"verify.hops.{hop}", getattr(verify.hops, hop))
    if verify.solver is not None:
        check_gate("verify.solver.gates", verify.solver.gates, Kind.mel)
        check_gate("verify.solver.lowered", verify.solver.lowered, Kind.mel)
    _check_outputs(request, verify)
    if verify.lengths is not None and FRAMES not in request.subject.spec.symbols:
        raise ConfigurationError(
            f"verify.lengths={verify.lengths} gives lengths of the axis {FRAMES}, which this model does not have "
            f"(dynamic axes: {', '.join(request.subject.spec.symbols) or 'none'}).",
            hint="Next: remove verify.lengths.",
        )
    _ = request.served  # read the file now, so that an error in it is found before any step runs


def _check_outputs(request: Request, verify: VerifySettings) -> None:
    """Check `verify.outputs`, the user's limits for single outputs.

    Raises:
        ConfigurationError: the model has no such output, a gate names an unknown metric, or a number is negative.
    """
    names = [tensor.name for tensor in request.subject.spec.outputs]
    for name, own in verify.outputs.items():
        if name not in names:
            raise ConfigurationError(
                f"verify.outputs has the output {name!r}; the model has {', '.join(names)}.",
                hint="Next: name an output of the model.",
            )
        kind = kinds_of(request.subject.spec).get(name, Kind.classes)
        check_gate(f"verify.outputs.{name}.gates", own.gates, kind)
        check_gate(f"verify.outputs.{name}.lowered", own.lowered, kind)
        for word, value in (("rtol", own.rtol), ("atol", own.atol), ("floor", own.floor)):
            if value is not None and not value >= 0:
                raise ConfigurationError(
                    f"verify.outputs.{name}.{word}={value}; a number of at least 0 is expected.",
                    hint="Next: give the largest difference that is accepted.",
                )


def _strict(request: Request) -> tuple[Case, ...]:
    verify, subject = verify_settings(request), request.subject
    chunk = subject.hyperparameters.get("static_chunk_size", 0) if subject.streaming else 0
    ends = (chunk - 1, chunk, chunk + 1, 2 * chunk + 1) if chunk else ()
    served = _served(request)
    return strict_cases(
        subject.spec,
        request.profiles,
        verify.seed,
        {FRAMES: ends, **{symbol: axis.boundaries for symbol, axis in subject.spec.axes.items()}},
        {FRAMES: served},
        quiet=QUIET if subject.family in (Family.cosyvoice2, Family.cosyvoice3) else (),
        exhaustive=verify.exhaustive,
    )


def _served(request: Request) -> tuple[int, ...]:
    """Return quantiles of the lengths recorded in production. Lengths that no profile covers are left out before."""
    histogram = {size: calls for size, calls in request.served.items() if _is_served(size, request.profiles)}
    return quantile_lengths(histogram) if histogram else ()


def _is_served(size: int, profiles: tuple[Profile, ...]) -> bool:
    return any(profile[FRAMES].holds(size) for profile in profiles)


def coverage(request: Request) -> dict[str, Any] | None:
    """Count the calls recorded in production that a profile covers, and the others; None if no calls are recorded."""
    histogram = request.served
    if not histogram:
        return None
    total = sum(histogram.values())
    outside = {size: calls for size, calls in histogram.items() if not _is_served(size, request.profiles)}
    return {
        "calls": total,
        "served": total - sum(outside.values()),
        "outside": {"calls": sum(outside.values()), "shortest": min(outside, default=None),
                    "longest": max(outside, default=None)},
    }  # fmt: skip
