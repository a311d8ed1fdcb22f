"""What every stage is given to decide its settings: the configuration and the model it is about."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.settings import Settings
from cosybuild.models.subject import Subject


@dataclass(frozen=True)
class Request:
    """One build, as asked for."""

    settings: Settings
    subject: Subject
