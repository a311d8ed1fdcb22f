"""The deployment of a run's artifacts, its last action."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosybuild.errors import DeployError
from cosybuild.models.profile import listed_sizes
from cosybuild.request import Request
from cosybuild.run.deliver import ARTIFACTS


def check_deployment(request: Request) -> None:
    """Refuse a deployment whose conditions can be seen not to hold before the build; most requests have none.

    Raises:
        DeployError: the service does not read the directory; or a network has random weights, or nothing is verified,
            and `deploy.force` is not set.
    """
    deploy = request.settings.deploy
    if deploy is None:
        return
    from cosybuild.deploy.target import check_target  # imported late, because few runs need it

    check_target(deploy, request.subject.family)
    parts = {name: part.subject for name, part in request.parts.items()} or {request.subject.stem: request.subject}
    remedies = []
    random = [name for name, subject in parts.items() if subject.weights is None and subject.graph is None]
    reasons = [f"{name} has random weights" for name in random]
    if random:
        remedies.append("give model_dir")
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

    Raises:
        DeployError, ConfigurationError: see `deploy.service.deploy`.
    """
    from cosybuild.deploy.service import deploy  # imported late, because few runs need it

    check_deployment(request)  # again, because the directory can have changed during the build
    assert request.settings.deploy is not None
    profiles = [listed_sizes(profile) for profile in request.profiles]
    return deploy(
        directory / ARTIFACTS, request.settings.deploy, request.environment, profiles=profiles, pending=pending
    )
