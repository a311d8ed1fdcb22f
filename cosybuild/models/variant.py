"""The description of one form of a CosyVoice network, which determines its PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosybuild.config.groups.model import Family


@dataclass(frozen=True)
class Variant:
    """One form of a component.

    Attributes:
        family: the version of CosyVoice.
        hyperparameters: a value for every name that the component has in this version.
        streaming: True for the form that hides later chunks.
        form: words for what differs from the component's default form, e.g. `spectrum`.
    """

    family: Family
    hyperparameters: Mapping[str, Any]
    streaming: bool
    form: tuple[str, ...] = ()
