"""The deployment of a run's artifacts, its last action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.building.record import Outcome
from cosybuild.models.profile import listed_sizes
from cosybuild.request import Request
from cosybuild.run.deliver import ARTIFACTS


def deploy_run(request: Request, outcome: Outcome, directory: Path) -> dict[str, Any]:
    """Deploy the artifacts of a run directory and return the facts for its report.

    Raises:
        DeployError, ConfigurationError: see `deploy.service.deploy`.
    """
    from cosybuild.deploy.service import deploy  # imported late, because few runs need it

    assert request.settings.deploy is not None
    profiles = [listed_sizes(profile) for profile in request.profiles]
    pending = [f"{record.label}: {record.reason}" for record in outcome.doing("blocked")]
    return deploy(
        directory / ARTIFACTS, request.settings.deploy, request.environment, profiles=profiles, pending=pending
    )
