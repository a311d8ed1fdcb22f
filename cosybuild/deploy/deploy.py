"""One deployment: the choice of artifacts and names, the objections to it, and the change of the directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deliverable import PLAN, read_deliverables
from cosybuild.deploy.namesake import check_namesake
from cosybuild.deploy.placement import Placement, Profiles, choose
from cosybuild.deploy.retirement import NewDeployment, files_of, retired_by
from cosybuild.deploy.signed import signed_list
from cosybuild.deploy.staging import Put
from cosybuild.deploy.state import read_current
from cosybuild.deploy.transaction import changing, prune, publish
from cosybuild.deploy.voice import Standing, check_together, check_untouched, description_put, is_whole, retired_with
from cosybuild.digest import digest_of
from cosybuild.errors import DeployError
from cosybuild.filename import is_plain_path
from cosybuild.manifest import NEXT, SUFFIX, manifest_text
from cosybuild.system.environment import Environment
from cosybuild.voice_description import DESCRIPTION

_WHOLE = (Service.bundle, Service.triton)
"""The services that read a whole voice. All others also load the directory's weights, to compute other networks."""


def deploy(
    artifacts: Path,
    settings: DeploySettings,
    environment: Environment,
    *,
    profiles: Profiles = (),
    pending: Sequence[str] = (),
) -> dict[str, Any]:
    """Put the artifacts of a run into service.

    Args:
        artifacts: the directory artifacts/ of the run, with manifests.
        settings: the settings of the deployment.
        environment: the facts of this machine. Its GPU is the target if `target_sm` is not set.
        profiles: axis -> min, opt and max of each profile, for the warm-up and the largest batch of a Triton model.
        pending: the steps of the run that wait for another machine, one text each.

    Returns:
        Plain facts for the report: service, dir, files (name -> sha256), retired (names), backup (the number of the
            backup of this change, or of the last one if nothing changed), changed (False if the directory already has
            this deployment), forced (the objections that `force` overrode), whole (True if the files are a whole voice
            with a description), left (names of artifacts that the service does not read).

    Raises:
        DeployError: there is an objection and `force` is not set. Nothing has changed then.
        ConfigurationError: the settings do not fit the artifacts, or the key to sign with cannot be used.
    """
    assert settings.dir is not None, "config.rules demands it"
    items = read_deliverables(artifacts)
    target_sm = _target_sm(settings, environment)
    root, placements, extra, patterns = choose(items, settings, target_sm, profiles)
    objections = [
        *(f"the run is pending: {p}" for p in pending),
        *_objections(placements, target_sm),
        *(() if settings.service in _WHOLE else _other_weights(root, placements)),
    ]
    if objections and not settings.force:
        raise DeployError(
            f"deploy={settings.service.value} is refused: {'; '.join(objections)}.",
            hint="Next: build what is missing, or set deploy.force=true, which the manifests record.",
        )
    placed = [placement.item for placement in placements]
    whole = settings.service in _WHOLE and is_whole(placed)
    if whole:
        check_together(placed)
    puts = [put for placement in placements for put in _puts(placement, settings, objections, whole)] + extra
    brought = {put.name: put.sha256 for put in puts}
    new = NewDeployment(settings.service.value, [(p.item, p.name) for p in placements], items, brought)
    leftovers = [name for name in brought if name.endswith(NEXT)]
    with changing(root):
        if settings.service is Service.triton and not whole:
            check_namesake(root, placed[0], _folder(placements), settings.triton.model)
        recorded = read_current(root).files
        standing = Standing.of(root, _folder(placements), recorded)
        retired = sorted({
            *_present(root, patterns, brought),
            *retired_by(root, new, recorded),
            *(retired_with(standing, placed, brought) if whole else ()),
        })  # fmt: skip
        removes = [*files_of(root, retired, brought), *leftovers]
        if whole:
            puts.append(description_put(standing, puts, removes))
        else:
            check_untouched(standing, puts, removes)
        if settings.sign is not None:
            stays = set(read_current(root).files) - set(removes)
            lasting = {put.name: digest for put in puts if put.name not in removes and (digest := put.digest)}
            puts += signed_list(root, lasting, stays, Path(settings.sign))
        number = publish(root, puts, removes)
        last = read_current(root).number
        prune(root, settings.keep_backups)
    return {
        "service": settings.service.value,
        "dir": str(root),
        "files": {p.name: p.item.manifest["file"]["sha256"] for p in placements},
        "retired": retired,
        "backup": last,
        "changed": number is not None,
        "forced": objections,
        "whole": whole,
        "left": [item.path.name for item in items if all(item is not placed_item for placed_item in placed)],
    }


def _other_weights(root: Path, placements: Sequence[Placement]) -> Iterator[str]:
    """Yield an objection if a weights file in the directory differs from the file from which the artifacts were made.

    The runtime computes the other networks from this file, so the artifacts would belong to another model.
    """
    expected = {}
    for placement in placements:
        model = placement.item.model
        if model.get("weights_digest") and model.get("weights") and "/" not in placement.name:
            expected[str(model["weights"])] = str(model["weights_digest"])
    for name, digest in expected.items():
        path = root / name
        if is_plain_path(name) and path.is_file() and digest_of(path) != digest:
            yield (
                f"{path} has other weights (sha256 {digest_of(path)[:12]}) than the artifacts were made from "
                f"({digest[:12]})"
            )


def _target_sm(settings: DeploySettings, environment: Environment) -> int | None:
    if settings.target_sm is not None:
        return settings.target_sm
    return environment.gpus[0].sm if environment.gpus else None


def _folder(placements: Sequence[Placement]) -> str:
    """Return the directory of the artifacts below the root of the deployment; an empty text for the root itself."""
    return placements[0].name.rpartition("/")[0] if placements else ""


def _objections(placements: Sequence[Placement], sm: int | None) -> list[str]:
    found = []
    for item in {id(p.item): p.item for p in placements}.values():
        name, manifest = item.path.name, item.manifest
        if manifest.get("verified") is not True:
            waits = "; ".join(manifest.get("pending", ()))
            failed = manifest.get("verified") is False
            found.append(
                f"{name} {'failed its verification' if failed else 'was not verified'}" + (waits and f" ({waits})")
            )
        if item.model.get("random_weights"):
            found.append(f"{name} was made from random weights")
        if item.kind == PLAN and sm is None:
            found.append(
                f"{name} was built for sm_{item.sm}, and deploy.target_sm does not name the GPU of the service"
            )
        elif item.kind == PLAN and sm is not None and not item.runs_on(sm):
            found.append(f"{name} was built for sm_{item.sm}, and the target is sm_{sm}")
    return found


def _puts(placement: Placement, settings: DeploySettings, forced: Sequence[str], whole: bool) -> list[Put]:
    """Return the files to write for one artifact, in the order in which they are put in place.

    The order is: the new manifest with the suffix NEXT, the companions, the artifact, and the manifest under its final
    name. So a manifest describes the artifact at any time.
    """
    item, manifest = placement.item, placement.item.manifest
    folder, _, own = placement.name.rpartition("/")
    prefix = f"{folder}/" if folder else ""
    deployment: dict[str, Any] = {"service": settings.service.value, "built_as": item.path.name, "forced": list(forced)}
    if whole:
        deployment["whole"] = True
    file = {**manifest["file"], "name": own}
    text = manifest_text(file, manifest["companions"], {**manifest, "deployment": deployment})
    companions = zip(item.companions, manifest["companions"], strict=True)
    return [
        Put(placement.name + SUFFIX + NEXT, text),
        *(Put(prefix + path.name, path, fact["sha256"]) for path, fact in companions),
        Put(placement.name, item.path, manifest["file"]["sha256"]),
        Put(placement.name + SUFFIX, text),
    ]


def _present(root: Path, patterns: Sequence[str], brought: Mapping[str, object]) -> list[str]:
    """Return the existing files that a runtime would use in place of deployed files, without a check.

    `Row.retires` has the patterns of their names.

    Raises:
        DeployError: such a name is a directory, a pipe, a device, or a link without a target. The runtime would try it
            first, and cosybuild moves only files.
    """
    found = []
    for path in sorted(root.iterdir()):  # `glob` leaves out links without a target
        if not any(fnmatchcase(path.name, pattern) for pattern in patterns):
            continue
        if not path.is_file():
            raise DeployError(
                f"{path} is not a file, and the service would open it before a deployed file.",
                hint="Next: move it to another place, and deploy again.",
            )
        found.append(path.name)
    return [name for name in found if name not in brought and not name.endswith((SUFFIX, NEXT))]


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return the facts of a deployment as a few lines for people.

    Args:
        facts: the result of `deploy`.
    """
    # Reports of earlier versions lack `changed`; they recorded only deployments that changed the directory.
    if not facts.get("changed", True):
        return f"{facts['dir']} already has this deployment ({facts['service']}); nothing was changed"
    lines = [f"deployed to {facts['dir']} ({facts['service']}), backup {facts['backup']:04}"]
    lines += [f"  {name}" for name in facts["files"]]
    lines += [f"  {DESCRIPTION} lists the parts of the voice"] if facts.get("whole") else []
    lines += [f"  retired {name}: this deployment replaces it, and the backup keeps it" for name in facts["retired"]]
    lines += [f"  not deployed: {name}, because deploy={facts['service']} has no place for it" for name in _left(facts)]
    lines += [f"  forced: {reason}" for reason in facts["forced"]]
    return "\n".join(lines)


def _left(facts: Mapping[str, Any]) -> Sequence[str]:
    names: Sequence[str] = facts.get("left", ())  # reports of earlier versions lack it
    return names
