"""Download a model directory from a hub, but only the files that a build needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosybuild.errors import MissingRequirement, ModelDirectoryError
from cosybuild.lazy import is_installed, require
from cosybuild.models.directory.version import YAML_NAMES

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


_MODELSCOPE_OWNERS = ("iic", "damo", "speech_asr", "speech_tts")
"""Organisations whose models are published on ModelScope only."""


def is_hub_id(text: str) -> bool:
    """Return True if `text` has the form `organisation/model`. No hub is contacted."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text


def fetch_model(hub_id: str, files: Sequence[str]) -> Path:
    """Download the model's yaml and the files, and return their directory in the cache of the hub's client.

    Hugging Face is tried first, then ModelScope, each only if its client is installed. A client that is offline
    (`HF_HUB_OFFLINE=1`) returns the files in its cache.

    Args:
        hub_id: e.g. `FunAudioLLM/CosyVoice2-0.5B`.
        files: the names of the wanted files besides the yaml. Files that the hub does not have are left out.

    Raises:
        MissingRequirement: no hub client is installed.
        ModelDirectoryError: the model could be downloaded from no hub.
    """
    wanted = [*YAML_NAMES, *files]
    told = []
    for hub in _HUBS:
        if is_installed(hub.client):
            try:
                return hub.fetch(hub_id, wanted)
            except _Unreachable as error:
                told.append(f"from {hub.name}: {error}")
    of_modelscope = hub_id.partition("/")[0] in _MODELSCOPE_OWNERS
    if not told:
        extras = "'cosybuild[modelscope]'" if of_modelscope else "'cosybuild[hub]' or 'cosybuild[modelscope]'"
        raise MissingRequirement(
            f"model_dir={hub_id} is not a directory on this machine, and a download from a hub needs a hub client.",
            hint=f"Next: pip install {extras}, or give a local directory.",
        )
    if not is_installed("modelscope"):
        raise ModelDirectoryError(
            f"model_dir={hub_id} is not a directory on this machine and could not be downloaded {'; nor '.join(told)}",
            hint=f"Next: if the model is on ModelScope{', as those of this owner are' if of_modelscope else ''}, "
            "pip install 'cosybuild[modelscope]'; otherwise check the name and the network.",
        )
    raise ModelDirectoryError(
        f"model_dir={hub_id} is not a directory on this machine and could not be downloaded {'; nor '.join(told)}",
        hint="Next: check the name and the network, or give a local directory.",
    )


class _Unreachable(Exception):
    """The download from one hub failed. The message is the first line of the client's error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error).strip().partition("\n")[0] or type(error).__name__)


def _from_hugging_face(hub_id: str, wanted: list[str]) -> Path:
    hub = require("huggingface_hub", "Fetching a model")
    errors = require("huggingface_hub.errors", "Fetching a model")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=wanted))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError) as error:
        raise _Unreachable(error) from error


def _from_modelscope(hub_id: str, wanted: list[str]) -> Path:
    hub = require("modelscope.hub.snapshot_download", "Fetching a model")
    errors = require("modelscope_hub.errors", "Fetching a model")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=wanted))
    except (errors.HubError, OSError, ValueError) as error:
        raise _Unreachable(error) from error


@dataclass(frozen=True)
class _Hub:
    """A hub of models.

    Attributes:
        name: the hub's name for messages.
        client: the Python package of its client.
        fetch: (hub id, names of files) -> directory with the files; raises `_Unreachable`.
    """

    name: str
    client: str
    fetch: Callable[[str, list[str]], Path]


_HUBS = (
    _Hub("Hugging Face", "huggingface_hub", _from_hugging_face),
    _Hub("ModelScope", "modelscope", _from_modelscope),
)
