"""What every stage is given to decide its settings: the configuration and the model it is about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cosybuild.config.settings import Settings
from cosybuild.models.subject import Subject
from cosybuild.numerics.lengths import Histogram, read_lengths


@dataclass(frozen=True)
class Request:
    """One build, as asked for."""

    settings: Settings
    subject: Subject

    @cached_property
    def served(self) -> Histogram:
        """The lengths in the file that `verify.lengths` names; empty where it names none.

        The file is read once, so that keys and cases follow from the same lengths if it changes meanwhile.

        Raises:
            ConfigurationError: the file cannot be read or understood.
        """
        verify = self.settings.verify
        if verify is None or verify.lengths is None:
            return {}
        return read_lengths(Path(verify.lengths).expanduser(), self.subject.spec.frames_per_second)
