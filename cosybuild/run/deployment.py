"""The deployment of a run's artifacts, its last action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.building.record import Outcome
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
    random = [name for name, subject in parts.items() if subject.weights is None and subject.graph is None]
    reasons = [f"{name} has random weights" for name in random]
    if request.settings.verify is None:
        reasons.append("nothing is verified (verify=off)")
    if reasons and not deploy.force:
        raise DeployError(
            f"deploy={deploy.service.value} is refused: {'; '.join(reasons)}.",
            hint="Next: give model_dir, and remove verify=off; or set deploy.force=true, which the manifests record.",
        )


def deploy_run(request: Request, outcome: Outcome, directory: Path) -> dict[str, Any]:
    """Deploy the artifacts of a run directory and return the facts for its report.

    Raises:
        DeployError, ConfigurationError: see `deploy.service.deploy`.
    """
    from cosybuild.deploy.service import deploy  # imported late, because few runs need it

    check_deployment(request)  # again, because the directory can have changed during the build
    assert request.settings.deploy is not None
    profiles = [listed_sizes(profile) for profile in request.profiles]
    pending = [f"{record.label}: {record.reason}" for record in outcome.doing("blocked")]
    return deploy(
        directory / ARTIFACTS, request.settings.deploy, request.environment, profiles=profiles, pending=pending
    )
