"""The deployment of a run's artifacts, its last action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.building.record import Outcome
from cosybuild.models.profile import expand_profiles
from cosybuild.request import Request
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.system.environment import Environment


def deploy_run(request: Request, outcome: Outcome, directory: Path, environment: Environment) -> dict[str, Any]:
    """Deploy the artifacts of a run directory and return the facts for its report.

    Raises:
        DeployError, ConfigurationError: see `deploy.service.deploy`.
    """
    from cosybuild.deploy.service import deploy  # nothing else of a run needs it

    assert request.settings.deploy is not None
    profiles = [
        {symbol: (sizes.min, sizes.opt, sizes.max) for symbol, sizes in profile.items()}
        for profile in expand_profiles(request.settings.trt_profile, request.subject.spec)
    ]
    pending = [f"{record.label}: {record.reason}" for record in outcome.doing("blocked")]
    return deploy(directory / ARTIFACTS, request.settings.deploy, environment, profiles=profiles, pending=pending)
