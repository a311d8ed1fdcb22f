"""The deployment of a whole voice: its parts are checked together, retired together, and listed in one description."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cosybuild.deploy.deliverable import Deliverable
from cosybuild.deploy.retirement import PresentArtifact, present_artifacts
from cosybuild.deploy.staging import Put
from cosybuild.errors import DeployError
from cosybuild.identity import build_of, flow_of, part_of, voice_of
from cosybuild.manifest import NEXT, SUFFIX
from cosybuild.runtime.voice.parts import COMPONENT_OF, COMPONENTS, part_in_voice
from cosybuild.voice_description import DESCRIPTION, Description, Member, read_description

_AGAIN = "Next: run component=token2wav of one model again, and deploy the run as a whole."


def network_of(manifest: Mapping[str, Any] | None) -> str | None:
    """Return the component that built an artifact: `frontend`, `estimator` or `vocoder`.

    A cached variant has the same component as the uncached one. None is returned if the artifact is no part of a voice.
    """
    part = None if manifest is None else part_in_voice(manifest)[0]
    return None if part is None else COMPONENT_OF[part]


def _is_cached(manifest: Mapping[str, Any]) -> bool:
    """Return True for a cached estimator or front end, which may also be built alone and added to a voice."""
    return part_in_voice(manifest)[0] not in (None, *COMPONENTS)


def is_whole(items: Iterable[Deliverable]) -> bool:
    """Return True if the artifacts include a front end, an estimator, and a vocoder with a waveform as output."""
    return {network_of(item.manifest) for item in items} >= set(COMPONENTS.values())


def check_together(items: Sequence[Deliverable]) -> None:
    """Raise an error if the artifacts do not come from one voice.

    Raises:
        DeployError: two artifacts are of different versions, flow models or voices; the message names both.
    """
    networks = [(item, name) for item in items if (name := network_of(item.manifest)) is not None]
    for (item, name), (beside, other) in combinations(networks, 2):
        mine, theirs = build_of(item.manifest), build_of(beside.manifest)
        flows = [
            flow_of(part_of(each.path.name, each.manifest), build) for each, build in ((item, mine), (beside, theirs))
        ]
        if mine.family != theirs.family:
            reason = "are of two versions"
        elif name == other and mine.key != theirs.key:
            reason = f"are the {name} of two builds"
        elif None not in flows and flows[0] != flows[1]:
            reason = "are of two flow models"
        elif any(
            voice_of(one.manifest).get(role, build.weights) != build.weights
            for one, role, build in ((item, other, theirs), (beside, name, mine))
        ):
            reason = "were not built together"
        else:
            continue
        raise DeployError(
            f"the voice is not deployed: {item.path.name} ({mine}) and {beside.path.name} ({theirs}) {reason}.",
            hint=_AGAIN,
        )


@dataclass(frozen=True)
class Standing:
    """The parts of a voice that are in a directory before a deployment.

    Attributes:
        root: the directory in service.
        folder: the path of the directory with the parts, below `root`; an empty text for `root` itself.
        artifacts: the artifacts in it.
        description: the description of the voice; None if there is none or it cannot be used.
    """

    root: Path
    folder: str
    artifacts: Sequence[PresentArtifact]
    description: Description | None

    @classmethod
    def of(cls, root: Path, folder: str, recorded: Mapping[str, str]) -> Standing:
        """Read the directory `folder` below `root`.

        Args:
            root: the directory in service.
            folder: the path below `root`; an empty text for `root` itself.
            recorded: name -> sha256 of the files that deployments have put there.
        """
        try:
            description = read_description(root / folder / DESCRIPTION)
        except ValueError:
            description = None
        return cls(root, folder, present_artifacts(root, [folder], recorded), description)

    def name(self, own: str) -> str:
        """Return the path below `root` of the file with the name `own` in `folder`."""
        return f"{self.folder}/{own}" if self.folder else own


def retired_with(standing: Standing, items: Sequence[Deliverable], puts: Iterable[str]) -> list[str]:
    """Return the networks in the directory that were built for a voice of other weights, which must be retired.

    Args:
        standing: the directory before the deployment.
        items: the artifacts of the new voice.
        puts: the names of the files that the deployment puts in place.

    Returns:
        The names of the networks below the root.

    Raises:
        DeployError: no deployment put such a network there.
    """
    new, found = set(puts), []
    weights = {name: build_of(i.manifest).weights for i in items if (name := network_of(i.manifest)) is not None}
    for present in standing.artifacts:
        own = network_of(present.manifest)
        if present.name in new or present.manifest is None or own is None:
            continue
        stated = {**voice_of(present.manifest), own: build_of(present.manifest).weights}
        if all(weights.get(part, theirs) == theirs for part, theirs in stated.items()):
            continue
        if not present.is_ours:
            raise DeployError(
                f"{standing.root / present.name} belongs to a voice of other weights, and no deployment wrote it, so "
                "it is not replaced.",
                hint="Next: move it and its manifest to another place, or deploy to another directory.",
            )
        found.append(present.name)
    return found


def description_put(standing: Standing, puts: Sequence[Put], removes: Sequence[str]) -> Put:
    """Return the file with the description of the voice after the deployment.

    It lists the deployed artifacts. It also lists each artifact that stays, if this is a network of the voice or the
    present description lists it.

    Args:
        standing: the directory before the deployment.
        puts: the files that the deployment puts in place.
        removes: the names that it removes.
    """
    family, members = "", {}
    for present in standing.artifacts:
        own = present.name.rpartition("/")[2]
        is_listed = standing.description is not None and own in standing.description.members
        if present.manifest is None or present.name in removes:
            continue
        if is_listed or network_of(present.manifest) is not None:
            members[own] = _member(present.manifest)
    for name, manifest in _manifests(puts):
        members[name.rpartition("/")[2]] = _member(manifest)
        family = family or build_of(manifest).family
    return Put(standing.name(DESCRIPTION), Description(family, members).text)


def check_untouched(standing: Standing, puts: Iterable[Put], removes: Iterable[str]) -> None:
    """Raise an error if a deployment of single artifacts would change a part of a whole voice.

    Args:
        standing: the directory before the deployment.
        puts: the files that the deployment puts in place.
        removes: the names that it removes.

    Raises:
        DeployError: it changes an artifact that the description lists, or adds a network of a voice.
    """
    if not (standing.root / standing.name(DESCRIPTION)).exists():
        return
    puts, listed = (
        list(puts),
        {standing.name(n) for n in (standing.description.members if standing.description else ())},
    )
    changed = {name for name, manifest in _manifests(puts)
               if name in listed or (network_of(manifest) is not None and not _is_cached(manifest))}  # fmt: skip
    changed |= {name for name in removes if name in listed}
    if changed:
        raise DeployError(
            f"{standing.root} holds a whole voice, and this deployment would replace {min(changed)} alone.",
            hint="Next: deploy component=token2wav, which replaces all parts as one; or use another deploy.dir.",
        )


def _manifests(puts: Iterable[Put]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the manifest of each artifact among the files of a deployment."""
    for put in puts:
        if put.name.endswith(SUFFIX) and not put.name.endswith(NEXT) and isinstance(put.content, str):
            yield put.name.removesuffix(SUFFIX), json.loads(put.content)


def _member(manifest: Mapping[str, Any]) -> Member:
    part = network_of(manifest) or part_of(manifest["file"]["name"], manifest)
    return Member(part, manifest["file"]["sha256"], manifest["seal"])
