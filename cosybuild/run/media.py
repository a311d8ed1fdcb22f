"""The sounds and pictures for the page of a run, from the evidence that the step `verify voice` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.run.deliver import EVIDENCE
from cosybuild.system.typed_json import from_json

MEDIA = "voice_media.json"


@dataclass(frozen=True)
class _Reference:
    sound: str
    waveform: str
    mel: str


@dataclass(frozen=True)
class _Form:
    form: str
    sound: str
    waveform: str = ""
    waveform_error: str = ""
    waveform_error_scale: float = 0.0
    mel: str = ""
    mel_error: str = ""
    mel_error_db: tuple[float, ...] = ()
    waveform_error_db: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Media:
    """The fields of the file; `verification.voice_media.media_of` describes them."""

    case: str
    sample_rate: int
    seconds: float
    frames: int
    of_frames: int
    decibels: tuple[float, float]
    reference: _Reference
    forms: tuple[_Form, ...]


_LARGEST = 64 << 20
"""The largest file, in bytes, that is read. A browser could not open a page with more."""


def media_in(directory: Path) -> Mapping[str, Any] | None:
    """Return the content of MEDIA in a run directory; None if there is no such file, or it is damaged or too large."""
    path = directory / EVIDENCE / MEDIA
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        media = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    try:
        from_json(media, _Media, str(path))
    except ConfigurationError:
        return None
    found: Mapping[str, Any] = media
    return found
