"""The verdict of `certify` on one file, as data for the console, JUnit, SARIF and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from cosybuild import figure
from cosybuild.errors import ModelError, VerificationError


class Outcome(str, Enum):
    """The result of comparing a file with the networks of a model directory."""

    right = "right"
    """The file computes the network with the weights of the model directory."""
    other_weights = "right for other weights"
    """The file computes the network, but with other weights."""
    wrong = "wrong"
    """The file does not compute the network."""
    not_compared = "not compared"
    """The file is published only as ONNX, or is a network that cosybuild does not compare, such as one with caches."""
    unmatched = "unmatched"
    """The inputs and outputs of the file fit no network of the model directory."""
    unreadable = "unreadable"
    """The file cannot be read or loaded, or must not be loaded."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command `certify` if this is the worst outcome of its files."""
        return {
            Outcome.right: 0,
            Outcome.not_compared: 0,
            Outcome.other_weights: VerificationError.exit_code,
            Outcome.wrong: VerificationError.exit_code,
        }.get(self, ModelError.exit_code)


@dataclass(frozen=True)
class Known:
    """A known mistake that explains the outputs of a file.

    Attributes:
        name, says, remedy: see `mistakes.mistake.Mistake`.
        snr_db: the signal-to-noise ratio of the file's outputs against those of a network with the mistake, in dB; None
            if they were not compared.
    """

    name: str
    says: str
    remedy: str
    snr_db: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one file.

    Attributes:
        file: the path as the user gave it, or the path below the directory that the user gave.
        outcome: the result of the comparison.
        sha256: the digest of the file; empty if the file was not read.
        component: the network, e.g. `estimator`, or `voice` for a recording; empty if it is not known.
        family: the CosyVoice version; empty if it is not known.
        streaming: the attention variant; None if the network has only one variant or the variant is not known.
        dtype: the precision in which the file computes, e.g. `fp16`; empty if it is not known.
        reason: the reason for the outcome; empty for `right`.
        mistakes: the known mistakes that explain the file's outputs, the best match first.
        ports: `inputs` or `outputs` -> name in the network -> name in the file.
        by_name: True if the file's inputs and outputs were found by name, False if by position.
        figures: name -> measured figure.
        notes: further sentences for the user.
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
