"""One run from its request to its record: plan, execute the steps, write the run directory, and deploy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.building.events import EventBus, JsonLines, Sink
from cosybuild.building.plan import Plan, make_plan
from cosybuild.building.record import Outcome
from cosybuild.building.runner import execute
from cosybuild.config.naming import config_digest
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, CosybuildError
from cosybuild.report.changes import since_run
from cosybuild.report.markdown import markdown
from cosybuild.report.noise_profile import PLOT, plot, profile_of
from cosybuild.report.report_html import report_html
from cosybuild.request import Request
from cosybuild.run.deliver import EVIDENCE, check_own_directories, deliver
from cosybuild.run.deployment import check_deployment, deploy_run
from cosybuild.run.directory_lock import hold_run_lock
from cosybuild.run.facts import Facts, origin_of
from cosybuild.run.failure.archive import FAILURE_ARCHIVE, FailedCaseRecorder, is_gate, write_failure_archive
from cosybuild.run.imported_run import origin_of_run
from cosybuild.run.last_report import last_report
from cosybuild.run.lock_file import Lock, check_digests, read_lock, write_lock
from cosybuild.run.media import media_in
from cosybuild.run.module_code import with_code
from cosybuild.run.prepare import open_store, planning_store, sources_of
from cosybuild.run.recorded import EVENTS, PLAN, REPORT_PAGE, REPORT_TEXT
from cosybuild.run.run_names import REPORT
from cosybuild.run.unchanged import unchanged_report
from cosybuild.stages.pipeline import stages_for
from cosybuild.store.artifact import Artifact
from cosybuild.store.store import Store
from cosybuild.system.files import write_atomic, write_text
from cosybuild.system.heap import collect_by_default
from cosybuild.system.json_records import CHECKSUM, write_record


@dataclass(frozen=True)
class Invocation:
    """The command that starts a run.

    Attributes:
        overrides: the overrides of the command line.
        directory: the run directory.
    """

    overrides: tuple[str, ...]
    directory: Path


def plan_build(request: Request, warn: Callable[[str], None]) -> Plan:
    """Return the plan of a request without writing anything.

    Args:
        request: the request of the build.
        warn: called with each warning for the user.
    """
    store = planning_store(request.settings.store, warn)
    request = with_code(request, store, warn, remember=False)
    check_deployment(request)
    return make_plan(stages_for(request), request, sources_of(request, store), request.environment, store)


def run_build(request: Request, invocation: Invocation, console: Sink) -> dict[str, Any]:
    """Build the request and return the content of report.json, with the field `nothing_to_do` added.

    If a step fails, nothing is raised: the report states the failure and its exit code.

    Args:
        request: the request of the build.
        invocation: the command and its run directory.
        console: the event sink that shows the progress.

    Raises:
        KeyboardInterrupt, MemoryError, AssertionError: raised again after it was recorded.
        StoreError: the store or the run directory cannot be written.
        ConfigurationError: the run directory holds an imported run.
        DeployError: the deployment is refused or fails.
        DriftError: the ingredients or artifacts differ from the lock file `hold_to` or from `must_produce`.
    """
    settings, directory = request.settings, invocation.directory
    if origin_of_run(directory) is not None:
        raise ConfigurationError(
            f"{directory} has an imported run, and a build must not write there.",
            hint="Next: build into another directory, or remove this one.",
        )
    witness, warnings = FailedCaseRecorder(), list[str]()
    events = EventBus([console, witness])

    def warn(message: str) -> None:
        warnings.append(message)
        events.emit("warning", message=message)

    with open_store(settings.store, warn) as store, ExitStack() as until_the_end:
        request = with_code(request, store, lambda message: events.emit("planning", message=message), remember=True)
        check_deployment(request)  # again, because the trace shows if the code reads weights
        sources = sources_of(request, store)
        facts = Facts(request, invocation.overrides, config_digest(settings), request.environment, sources)
        lock = None if settings.hold_to is None else read_lock(Path(settings.hold_to))
        if lock is not None:
            lock.check_ingredients(facts.base)

        def judge() -> tuple[Plan, Mapping[str, Any] | None]:
            plan = make_plan(stages_for(request), request, sources, request.environment, store)
            return plan, unchanged_report(directory, plan, store)

        plan, unchanged = judge()
        if unchanged is None or settings.deploy is not None:  # a deployment is written into the report
            claim = hold_run_lock(directory, lambda holder: events.emit("waiting", holder=holder))
            if until_the_end.enter_context(claim):
                plan, unchanged = judge()
        if unchanged is not None:
            # Leave out the deployment of the earlier run, because this run deploys nothing.
            report = {name: value for name, value in unchanged.items() if name not in ("deployment", CHECKSUM)}
            store.flush()
            if settings.deploy is not None:
                _deploy(request, directory, report, pending=())
        else:
            earlier = last_report(directory)
            _begin(directory, facts, plan, events)
            collect_by_default()
            outcome = execute(
                plan,
                request,
                sources,
                request.environment,
                store,
                events,
                keep=lambda outcome: _keep(directory, facts, outcome),
                uncached=until_the_end,
            )
            archive = _failure_archive(directory, request, plan, outcome, sources, facts, witness, warn)
            shown = {} if outcome.failure is None else witness.files.get(outcome.failure.step, {})
            report = _finish(directory, facts, plan, outcome, store, archive, warnings, earlier, shown)
            if settings.deploy is not None and outcome.failure is None:
                pending = [f"{record.label}: {record.reason}" for record in outcome.doing("blocked")]
                _deploy(request, directory, report, pending)
    if report["status"] == "ok":
        _check_and_lock(settings, lock, directory, report)
    if unchanged is not None:  # the file keeps the changes that the run which built something has found
        report = {**report, "since": {"started": unchanged["started"], "changes": []}}
    return {**report, "nothing_to_do": unchanged is not None}


def _deploy(request: Request, directory: Path, report: dict[str, Any], pending: Sequence[str]) -> None:
    """Deploy a run whose report is already written, and add the deployment to the report.

    The report of the build is kept even if the deployment is refused.

    Args:
        request: the request of the run.
        directory: the run directory.
        report: the content of report.json, to which `deployment` is added.
        pending: the steps that wait for another machine, with what they lack.
    """
    try:
        report["deployment"] = deploy_run(request, directory, pending)
    except CosybuildError as error:
        report["deployment"] = {"failure": error.message, "hint": error.hint}
        raise
    finally:
        _write_reports(directory, report)


def _check_and_lock(settings: Settings, lock: Lock | None, directory: Path, report: Mapping[str, Any]) -> None:
    if lock is not None:
        lock.check_artifacts(report)
    check_digests(settings.must_produce, report)
    if settings.lock:
        write_lock(directory, report)


def _begin(directory: Path, facts: Facts, plan: Plan, events: EventBus) -> None:
    check_own_directories(directory)
    log = directory / EVENTS
    for stale in (log, directory / FAILURE_ARCHIVE, directory / PLOT):
        stale.unlink(missing_ok=True)
    events.add(JsonLines(log))
    write_record(directory / PLAN, "plan", facts.plan(plan))


def _failure_archive(
    directory: Path,
    request: Request,
    plan: Plan,
    outcome: Outcome,
    sources: Mapping[str, Artifact],
    facts: Facts,
    witness: FailedCaseRecorder,
    warn: Callable[[str], None],
) -> dict[str, Any] | None:
    """Write the failure archive of a run that a failed gate ended, and return its facts for the report.

    Return None if the run ended in another way, or if the archive cannot be written.
    """
    if not is_gate(outcome):
        return None
    try:
        return write_failure_archive(directory / FAILURE_ARCHIVE, request, plan, outcome, sources, facts.base, witness)
    except OSError as error:  # the failure must be reported even without its archive
        warn(f"the failure archive could not be written: {error}")
        return None


def _finish(
    directory: Path,
    facts: Facts,
    plan: Plan,
    outcome: Outcome,
    store: Store,
    archive: Mapping[str, Any] | None,
    warnings: Sequence[str],
    earlier: Mapping[str, Any] | None,
    shown: Mapping[str, bytes],
) -> dict[str, Any]:
    """Deliver the artifacts and write the reports; `shown` has the files of evidence of a failed step."""
    artifacts = deliver(store, plan, outcome, directory, lambda part: origin_of(facts.base, outcome, part))
    for name, content in shown.items():
        (directory / EVIDENCE).mkdir(exist_ok=True)
        write_atomic(directory / EVIDENCE / name, content, durable=False)
    # Convert to what a reader of report.json gets: lists for tuples, text for numbers that JSON cannot represent.
    report: dict[str, Any] = figure.plain(
        {
            **facts.report(outcome, finished=time.time(), artifacts=artifacts, warnings=warnings),
            "capsule": archive,
        }
    )
    report["since"] = None if earlier is None else since_run(report, earlier)
    _write_reports(directory, report)
    profile = profile_of(report)
    if profile is not None:
        write_text(directory / PLOT, plot(profile))
    return report


def _keep(directory: Path, facts: Facts, outcome: Outcome) -> None:
    """Write report.json with the steps so far. After a failed step, also write report.md and report.html.

    They are written at once because the process may be killed before the run ends and writes them again.
    """
    report = facts.report(outcome, finished=None, artifacts=[])
    if outcome.failure is None:
        _write_report(directory, report)
    else:
        _write_reports(directory, figure.plain(report))


def _write_reports(directory: Path, report: Mapping[str, Any]) -> None:
    _write_report(directory, report)
    write_text(directory / REPORT_TEXT, markdown(report))
    write_text(directory / REPORT_PAGE, report_html(report, media_in(directory)))


def _write_report(directory: Path, report: Mapping[str, Any]) -> None:
    write_record(directory / REPORT, "report", report)
