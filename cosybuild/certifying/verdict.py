"""The result for one file, as data for the console, JUnit, SARIF and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from cosybuild import figure
from cosybuild.errors import ModelError, VerificationError


class Outcome(str, Enum):
    """The result of the comparison of a file with the network."""

    right = "right"
    """It computes the network with the weights of the directory."""
    other_weights = "right for other weights"
    """It computes the network, with other weights."""
    wrong = "wrong"
    """It computes something else."""
    not_compared = "not compared"
    """It is a network that is published as ONNX only."""
    unmatched = "unmatched"
    """It has the interface of no network of the directory."""
    unreadable = "unreadable"
    """It cannot be read, loaded or run, or must not be."""

    @property
    def exit_code(self) -> int:
        """The exit code of a command whose worst file this is."""
        return {
            Outcome.right: 0,
            Outcome.not_compared: 0,
            Outcome.other_weights: VerificationError.exit_code,
            Outcome.wrong: VerificationError.exit_code,
        }.get(self, ModelError.exit_code)


@dataclass(frozen=True)
class Known:
    """A known mistake that a file matches.

    Attributes:
        name, says, remedy: see `mistakes.mistake.Mistake`.
        snr_db: agreement of the file with a network that has the mistake, in dB; None if there is no such figure.
    """

    name: str
    says: str
    remedy: str
    snr_db: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one file.

    Attributes:
        file: its path as the user gave it, or below the directory.
        outcome: what the comparison shows.
        sha256: the digest of the file; empty if it was not read.
        component: the network, e.g. `estimator`; empty if it is not known.
        family: the version of CosyVoice.
        streaming: the attention variant; None if the network has only one variant or the variant is not known.
        dtype: the type in which the file computes.
        reason: why the verdict is not `right`; empty for `right`.
        mistakes: known mistakes that the file matches, the best match first.
        ports: side -> name in the network -> name in the file.
        by_name: True if names decided the ports.
        figures: figures of the proof.
        notes: further sentences.
    """

    file: str
    outcome: Outcome
    sha256: str = ""
    component: str = ""
    family: str = ""
    streaming: bool | None = None
    dtype: str = ""
    reason: str = ""
    mistakes: tuple[Known, ...] = ()
    ports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    by_name: bool = True
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return the verdict as JSON data."""
        plain: dict[str, Any] = figure.plain({**asdict(self), "outcome": self.outcome.value})
        return plain
