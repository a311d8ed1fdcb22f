"""The deployment of a run's artifacts, which is the last action of the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.errors import DeployError
from cosybuild.models.shape_profile import listed_sizes
from cosybuild.request import Request
from cosybuild.run.deliver import ARTIFACTS


def check_deployment(request: Request) -> None:
    """Raise an error before the build if a condition of the requested deployment does not hold.

    Raises:
        DeployError: the service does not read the directory. Or `deploy.force` is not set, and a network has random
            weights or nothing is verified.
    """
    deploy = request.settings.deploy
    if deploy is None:
        return
    from cosybuild.deploy.directory_check import check_target  # imported late, because few runs need it

    check_target(deploy, request.subject.family)
    parts = {name: part.subject for name, part in request.parts.items()} or {request.subject.stem: request.subject}
    remedies = []
    random = [name for name, subject in parts.items() if subject.has_random_weights]
    reasons = [f"{name} has random weights" for name in random]
    if random:
        is_module = request.subject.family is Family.module
        remedies.append("give model.weights" if is_module else "give model_dir")
    if request.settings.verify is None:
        reasons.append("nothing is verified (verify=off)")
        remedies.append("remove verify=off")
    if reasons and not deploy.force:
        raise DeployError(
            f"deploy={deploy.service.value} is refused: {'; '.join(reasons)}.",
            hint=f"Next: {' and '.join(remedies)}; or set deploy.force=true, which the manifests record.",
        )


def deploy_run(request: Request, directory: Path, pending: Sequence[str]) -> dict[str, Any]:
    """Deploy the artifacts of a run directory and return the facts for its report.

    Args:
        request: the request of the run, whose setting `deploy` must not be None.
        directory: the run directory.
        pending: the steps that wait for another machine, one text each.

    Raises:
        DeployError, ConfigurationError: see `deploy.deploy.deploy`.
    """
    from cosybuild.deploy.deploy import deploy  # imported late, because few runs need it

    check_deployment(request)  # again, because the directory can have changed during the build
    assert request.settings.deploy is not None
    profiles = [listed_sizes(profile) for profile in request.profiles]
    return deploy(
        directory / ARTIFACTS, request.settings.deploy, request.environment, profiles=profiles, pending=pending
    )
