"""The replay of a recorded run: build it again in another directory and compare the artifacts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.building.events import Sink
from cosybuild.building.repeated_build import Made, verdict_of
from cosybuild.building.stage import Emit
from cosybuild.config.parse import apply_overrides, settings_from_plain
from cosybuild.config.rules import check
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.models.user_module.trusted import installed_only, refuse_paths, vet_targets
from cosybuild.run.execute import Invocation, run_build
from cosybuild.run.imported_run import without_local
from cosybuild.run.limits import ProcessLimits, call_limited
from cosybuild.run.prepare import request_from_settings
from cosybuild.run.recorded import RecordedRun

_NOT_REPLAYED = ("store", "deploy", "hold_to")
"""Settings with paths that a replay does not use, because it has no store, no deployment and no lock file."""


@dataclass(frozen=True)
class Comparison:
    """The comparison of one recorded artifact with the artifact of the new build.

    Attributes:
        name: the artifact's name.
        verdict: the result of the comparison, see `verdict_of`.
        old: the recorded digest; None if the record has no such artifact.
        new: the digest of the new build; None if it made no such artifact.
    """

    name: str
    verdict: str
    old: str | None
    new: str | None


def replay(
    run: RecordedRun,
    directory: Path,
    console: Sink,
    *,
    given: Sequence[str] = (),
    trusted: Collection[str] = (),
    limits: ProcessLimits | None = None,
) -> tuple[dict[str, Any], list[Comparison]]:
    """Build all steps of `run` again, without a store, into `directory`.

    A replay does not deploy, measure times or compare with `must_produce`. The record of an imported run cannot name
    files of this machine, and can call only modules of the packages in `trusted`.

    Args:
        run: the recorded run.
        directory: the run directory of the new build.
        console: the event sink that shows the progress.
        given: settings of the user as `key=value`, which replace those of the record.
        trusted: top-level packages whose modules the record of an imported run may call.
        limits: limits of the process that builds an imported run; None for the default limits. Other runs are built in
            this process.

    Returns:
        The new report, and one comparison for each artifact of the two builds.

    Raises:
        ConfigurationError, ModelError: a file that the record names does not exist or must not be used, or the build of
            an imported run does not end within the limits.
    """
    overrides = (*run.report["overrides"], *given)
    with ExitStack() as until_the_end:
        if run.origin is not None:
            until_the_end.enter_context(installed_only())
        settings = dataclasses.replace(
            _settings(run, given, trusted),
            store=None,
            benchmark=None,
            deploy=None,
            dry_run=False,
            lock=False,
            hold_to=None,
            must_produce={},
        )
        invocation = Invocation(overrides, directory)
        if run.origin is None:
            report = run_build(request_from_settings(settings), invocation, console)
        else:
            report = call_limited(
                run.directory,
                limits or ProcessLimits(),
                _build,
                settings,
                invocation,
                emit=lambda kind, **facts: console(facts["event"]),
            )
    return report, list(_compare(run.report["artifacts"], report["artifacts"]))


def _build(settings: Settings, invocation: Invocation, emit: Emit) -> dict[str, Any]:
    return run_build(request_from_settings(settings), invocation, lambda event: emit("event", event=event))


def _settings(run: RecordedRun, given: Sequence[str], trusted: Collection[str]) -> Settings:
    recorded: Mapping[str, Any] = run.report["config"]
    taken: Mapping[str, str] = {}
    if run.origin is not None:
        recorded, taken = without_local(recorded)
    plain, names = apply_overrides(recorded, given)
    if run.origin is not None:
        _refuse_unnamed(taken, names)
        target = plain["model"].get("target") if isinstance(plain.get("model"), dict) else None
        if target is not None and not _is_given("model.target", names):
            refuse_paths(_recorded_only(target, "model.target", names))
            vet_targets(target, trusted)
    settings = settings_from_plain(plain)
    check(settings)
    verify = settings.verify
    if run.origin is not None and verify is not None and not _is_given("verify.repeat", names):
        settings = dataclasses.replace(settings, verify=dataclasses.replace(verify, repeat=0))
    return settings


def _refuse_unnamed(taken: Mapping[str, str], names: Collection[str]) -> None:
    needed = {name: value for name, value in taken.items() if name not in _NOT_REPLAYED and not _is_given(name, names)}
    if needed:
        told = ", ".join(f"{name}={value!a}" for name, value in needed.items())
        words = " ".join(f"{name}={'FILE' if name != 'model_dir' else 'DIR'}" for name in needed)
        raise ConfigurationError(
            f"The record was imported and names files of another machine: {told}. `replay` does not open such "
            "files here.",
            hint=f"Next: give their paths on this machine after the run: {words}; or KEY=null to remove one.",
        )


def _is_given(name: str, names: Collection[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in names)


def _recorded_only(node: Any, where: str, names: Collection[str]) -> Any:
    """Return the node without the values that the user has given on the command line."""
    if not isinstance(node, dict):
        return node
    kept = {name: value for name, value in node.items() if not _is_given(f"{where}.{name}", names)}
    return {name: _recorded_only(value, f"{where}.{name}", names) for name, value in kept.items()}


def _compare(old: list[Mapping[str, Any]], new: list[Mapping[str, Any]]) -> Iterator[Comparison]:
    before, after = (
        {a["name"]: Made(str(a["digest"]), a["deterministic"], a["traits"]) for a in artifacts}
        for artifacts in (old, new)
    )
    for name in sorted(before | after):
        was, now = before.get(name), after.get(name)
        digests = [None if made is None else made.digest for made in (was, now)]
        yield Comparison(name, verdict_of(was, now), *digests)
