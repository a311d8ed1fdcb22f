"""The inspection of a directory in service: the state of each file (current, stale, foreign or damaged)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosybuild.backends.openvino.requirements import check_ir, fault_of_ir
from cosybuild.backends.tensorrt.loadability import check_plan
from cosybuild.deploy.deliverable import SCRIPTS
from cosybuild.deploy.retirement import GRAPHS, IRS, PLANS
from cosybuild.deploy.state import read_current
from cosybuild.deploy.voice import network_of
from cosybuild.directory_in_service import STATE
from cosybuild.identity import Build, build_of, distinct_builds, flow_of, part_of, weights_part
from cosybuild.manifest import SUFFIX, damage, fitting_manifest, manifest_path
from cosybuild.onnxgraph.external import external_fault
from cosybuild.onnxgraph.header import read_header
from cosybuild.report.figures import moment
from cosybuild.system.environment import Environment
from cosybuild.voice_description import DESCRIPTION, Description, faults, read_description

CURRENT, STALE, FOREIGN, DAMAGED = "current", "stale", "foreign", "damaged"
"""The states of a file.

`current`: the file is the one that its manifest describes. `stale`: it was replaced since its deployment, or another
file in its directory is of another build. `foreign`: it has no manifest. `damaged`: it is empty, truncated, or missing
although it was deployed, or its manifest cannot be read.
"""


@dataclass(frozen=True)
class Finding:
    """The state of one file.

    Attributes:
        name: the path of the file, relative to the inspected directory.
        state: one of the four states.
        reason: the reason for the state; for a current file, the objections that its deployment overrode.
        loads: True if this machine can load the file, False if it cannot; None for graphs and if it is not known.
        loading: for engines and IRs, what the file needs and what this machine has.
        origin: for a current file that was deployed, the end of its run's name, and the time of the deployment.
    """

    name: str
    state: str
    reason: str
    loads: bool | None = None
    loading: str = ""
    origin: str = ""


def inspect(path: Path, environment: Environment) -> list[Finding]:
    """Return the state of one file, or of every artifact below a directory, without executing any artifact.

    Artifacts are graphs, engines, IRs and TorchScript files.

    Args:
        path: a file or a directory.
        environment: the facts of this machine, with which the requirements of engines and IRs are compared.
    """
    if path.is_file():
        return [_finding(path, path.name, environment)]
    files = [file for file in sorted(path.rglob("*")) if STATE not in file.relative_to(path).parts]
    found = [_finding(file, file.relative_to(path).as_posix(), environment) for file in files if _is_inspected(file)]
    found += _missing_files(path, [file for file in files if file.name.endswith(SUFFIX)])
    return list(_find_apart(path, list(_find_stale(path, found))))


def _is_inspected(file: Path) -> bool:
    """Return True for graphs and engines, and for those IRs and TorchScript files that cosybuild has made.

    CosyVoice makes some TorchScript files itself; they have no manifest.
    """
    if file.suffix in (SCRIPTS, *IRS):
        return file.is_file() and manifest_path(file).exists()
    return file.suffix in GRAPHS + PLANS and file.is_file()


def states_below(path: Path) -> list[Path]:
    """Return the directories in service at `path` and below it, which are those with deployment state."""
    if not path.is_dir():
        path = path.parent
        return [path] if (path / STATE).is_dir() else []
    return sorted(state.parent for state in path.rglob(STATE) if state.is_dir())


def _finding(path: Path, name: str, environment: Environment) -> Finding:
    loads, loading = None, ""
    if path.suffix in PLANS:
        verdict = check_plan(path, environment)
        loads, loading = verdict.loads, verdict.explain()
    elif path.suffix in IRS:
        ir = check_ir(path, environment)
        loads, loading = ir.loads, ir.explain()
    if path.stat().st_size == 0:
        return Finding(name, DAMAGED, "it is empty; a build or copy was probably interrupted", loads, loading)
    fault = None
    try:
        manifest = fitting_manifest(path)
        if path.suffix in GRAPHS:
            read_header(path)
            fault = external_fault(path, {fact["name"] for fact in (manifest or {}).get("companions", ())})
        elif path.suffix in IRS and manifest is not None:
            fault = fault_of_ir(path, manifest)
    except ValueError as error:
        return Finding(name, DAMAGED, str(error), loads, loading)
    if manifest is None:
        return Finding(name, FOREIGN, "it has no manifest, so cosybuild did not deploy it", loads, loading)
    harm = damage(path, manifest)
    if harm is None and manifest["file"]["name"] != path.name:
        # Services choose files by their names, so a renamed or exchanged file is used in place of another one.
        harm = f"its manifest is that of {manifest['file']['name']}: it was renamed, or exchanged with another file"
    if harm is not None:
        return Finding(name, STALE, harm, loads, loading)
    if fault is not None:
        return Finding(name, STALE, fault if path.suffix in IRS else f"it {fault}", loads, loading)
    forced = manifest.get("deployment", {}).get("forced", [])
    reason = f"deployed by force: {'; '.join(forced)}" if forced else ""
    return Finding(name, CURRENT, reason, loads, loading, _origin(path, manifest))


def _origin(path: Path, manifest: Mapping[str, Any]) -> str:
    """Return the end of the name of the run that built a deployed file, and the time at which the file was deployed."""
    digest = manifest.get("config_digest")
    if "deployment" not in manifest or not isinstance(digest, str):
        return ""
    # A deployment writes the manifest; the artifact itself can have the time of its build.
    return f"run *-{digest[:8]}, deployed {moment(manifest_path(path).stat().st_mtime)}"


def _missing_files(root: Path, manifests: list[Path]) -> Iterator[Finding]:
    """Yield a finding for each missing file that was deployed or that has a manifest."""
    names = {path.relative_to(root).as_posix().removesuffix(SUFFIX) for path in manifests}
    for home in states_below(root):
        prefix = "" if home == root else home.relative_to(root).as_posix() + "/"
        names |= {prefix + name for name in read_current(home).files}
    for name in sorted(names):
        with_its_file = name.endswith(SUFFIX) and not (root / name.removesuffix(SUFFIX)).exists()
        if not (root / name).exists() and not with_its_file:
            yield Finding(name, DAMAGED, "it was deployed and is now missing")


def _find_stale(root: Path, found: list[Finding]) -> Iterator[Finding]:
    """Yield the findings with the state `stale` for files whose directory mixes files that do not belong together.

    The files of one part must come from one build, and all parts of a flow model must come from the same flow model.
    """
    groups: dict[tuple[str, str], list[tuple[str, Build]]] = {}
    flows: dict[str, dict[tuple[str, str], tuple[str, Build]]] = {}
    places: dict[str, tuple[str, str]] = {}
    for finding in found:
        if finding.state == CURRENT:
            manifest = fitting_manifest(root / finding.name)
            assert manifest is not None
            places[finding.name] = finding.name.rpartition("/")[0], weights_part(part_of(finding.name, manifest))
            named = finding.name, build_of(manifest)
            groups.setdefault(places[finding.name], []).append(named)
            folder, part = places[finding.name]
            if (flow := flow_of(part, named[1])) is not None:
                flows.setdefault(folder, {}).setdefault(flow, named)
    for finding in found:
        folder, part = places.get(finding.name, ("", ""))
        builds = distinct_builds(groups.get((folder, part), ()))
        if len(builds) < 2 and part.startswith("flow."):
            builds = [*flows.get(folder, {}).values()]
        if len(builds) > 1:
            both = " and ".join(f"{name} comes from {build}" for name, build in builds)
            yield replace(finding, state=STALE, reason=f"the directory holds files of {len(builds)} builds: {both}")
        else:
            yield finding


def _find_apart(root: Path, found: list[Finding]) -> Iterator[Finding]:
    """Yield the findings, and one further finding for each description of a voice.

    An artifact becomes stale if the description in its directory does not list it.
    """
    reasons: dict[str, str] = {}
    descriptions = []
    for place in sorted({(root / finding.name).parent for finding in found} | _described(root)):
        prefix = "" if place == root else place.relative_to(root).as_posix() + "/"
        here = {finding.name.removeprefix(prefix): finding for finding in found if _is_in(finding, prefix)}
        current = {name: fitting_manifest(place / name) for name, f in here.items() if f.state == CURRENT}
        try:
            apart = _reasons(read_description(place / DESCRIPTION), current)
        except ValueError as error:
            descriptions.append(Finding(prefix + DESCRIPTION, DAMAGED, str(error)))
            continue
        # Keep the own reason of an artifact that is already stale or damaged.
        apart |= {name: f"it is {here[name].state}" for name in apart if name in here and name not in current}
        if (place / DESCRIPTION).exists():
            fault = next((f"{name}: {reason}" for name, reason in apart.items()), "")
            descriptions.append(Finding(prefix + DESCRIPTION, STALE if fault else CURRENT, fault))
        reasons |= {prefix + name: reason for name, reason in apart.items()}
    for finding in found:
        reason = reasons.get(finding.name)
        is_apart = finding.state == CURRENT and reason is not None
        yield replace(finding, state=STALE, reason=str(reason)) if is_apart else finding
    yield from descriptions


def _described(root: Path) -> set[Path]:
    """Return the directories at `root` and below it that have the description of a voice."""
    return {path.parent for path in root.rglob(DESCRIPTION) if STATE not in path.relative_to(root).parts}


def _is_in(finding: Finding, prefix: str) -> bool:
    return finding.name.startswith(prefix) and "/" not in finding.name.removeprefix(prefix)


def _reasons(description: Description | None, manifests: Mapping[str, Mapping[str, Any] | None]) -> dict[str, str]:
    """Return name -> reason for each artifact of a directory that does not belong to the voice of that directory."""
    if description is not None:
        unlisted = {
            name: f"it is a part of a voice, and {DESCRIPTION} does not list it"
            for name, manifest in manifests.items()
            if name not in description.members and network_of(manifest) is not None
        }
        return {**faults(description, manifests), **unlisted}
    return {
        name: f"it was deployed as a part of a whole voice, and {DESCRIPTION} is missing"
        for name, manifest in manifests.items()
        if (manifest or {}).get("deployment", {}).get("whole")
    }
