"""Model directories on a hub: only the two files that a build needs are fetched."""

from __future__ import annotations

import re
from pathlib import Path

from cosybuild.errors import MissingRequirement, ModelDirectoryError
from cosybuild.lazy import is_installed, require
from cosybuild.models.modeldir import WEIGHTS, YAML_NAMES

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


def is_hub_id(text: str) -> bool:
    """Whether `text` has the form `organisation/model`. Nothing is asked of any hub."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text


def fetch_model(hub_id: str) -> Path:
    """The directory in the hub client's own cache that holds the model's yaml and flow.pt.

    A hub client that is offline (`HF_HUB_OFFLINE=1`) gives what its cache has.

    Args:
        hub_id: e.g. `FunAudioLLM/CosyVoice2-0.5B`.

    Raises:
        MissingRequirement: no hub client is installed.
        ModelDirectoryError: the hub does not know the model, or cannot be reached.
    """
    wanted = [*YAML_NAMES, WEIGHTS]
    if is_installed("huggingface_hub"):
        return _from_hugging_face(hub_id, wanted)
    if is_installed("modelscope"):
        return _from_modelscope(hub_id, wanted)
    raise MissingRequirement(
        f"model_dir={hub_id} is not a directory here; to fetch it from a hub, a hub client is needed.",
        hint="Next: pip install 'cosybuild[hub]' or 'cosybuild[modelscope]', or give a local directory.",
    )


def _from_hugging_face(hub_id: str, wanted: list[str]) -> Path:
    hub = require("huggingface_hub", "Fetching a model")
    errors = require("huggingface_hub.errors", "Fetching a model")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=wanted))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError) as error:
        raise _unreachable(hub_id, "Hugging Face", error) from error


def _from_modelscope(hub_id: str, wanted: list[str]) -> Path:
    hub = require("modelscope.hub.snapshot_download", "Fetching a model")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; unknown models are ValueErrors
        raise _unreachable(hub_id, "ModelScope", error) from error


def _unreachable(hub_id: str, hub: str, error: Exception) -> ModelDirectoryError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelDirectoryError(
        f"model_dir={hub_id} is not a directory here and could not be fetched from {hub}: {line}",
        hint="Next: check the name and the network, or give a local directory.",
    )
