"""The names of run directories. A name is made of the chosen options and a digest, not of the time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cosybuild.config.groups.component import ComponentSettings
from cosybuild.config.groups.vocoder import VocoderSettings
from cosybuild.config.settings import Settings
from cosybuild.config.sweep_naming import register_sweep_resolvers
from cosybuild.system.typed_json import to_json

_NOT_OF_THE_BUILD = ("store", "benchmark", "deploy", "dry_run", "lock", "hold_to", "objective", "must_produce")
"""Settings that change, for example, where files are stored or what is printed, but not the artifacts."""

_DEFAULTS = {"component": to_json(ComponentSettings()), "vocoder": to_json(VocoderSettings())}
"""Groups that are missing in records of earlier releases, and the value of each that describes their builds."""

_LATER: Mapping[str, Any] = {
    "model.weights_from": None,
    "model.arguments": None,
    "model.cache": False,
    "model.cache_frames": None,
    "export.static": {},
    "verify.solver.steps": None,
    "verify.inputs": None,
    "verify.outputs": {},
    "ov": None,
}
"""Settings that are missing in records of earlier releases, and the value of each that describes their builds."""

_NAMED_GROUPS = ("export", "precision", "trt", "trt_profile")
_LONGEST_WORD = 80
"""The largest length of each word in bytes. All words form one directory name, and the digest identifies the run."""


def register_resolvers(settings_of: Callable[[DictConfig], Settings]) -> None:
    """Register `${cosybuild.run_dir:}`, `${cosybuild.run_name:}` and `${cosybuild.output_subdir:}` with OmegaConf.

    Hydra resolves the name of the run directory several times before it creates the directory. `settings_of` is called
    each time, so that an invalid configuration is refused before anything is written.

    Args:
        settings_of: called with a composed configuration without the `hydra` node; returns its settings. It raises a
            CosybuildError for a configuration that cannot be built.
    """

    def name(_root_: DictConfig) -> str:
        settings = settings_of(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"]))
        return run_name(settings, _root_.hydra.runtime.choices)

    def run_dir(_root_: DictConfig) -> str:
        chosen = name(_root_)
        return "." if _root_.dry_run else f"outputs/runs/{chosen}"

    def output_subdir(*, _root_: DictConfig) -> str | None:
        return None if _root_.dry_run else ".hydra"

    OmegaConf.register_new_resolver("cosybuild.run_name", lambda *, _root_: name(_root_), replace=True)
    OmegaConf.register_new_resolver("cosybuild.run_dir", lambda *, _root_: run_dir(_root_), replace=True)
    OmegaConf.register_new_resolver("cosybuild.output_subdir", output_subdir, replace=True)
    register_sweep_resolvers(run_dir)


def config_digest(settings: Settings) -> str:
    """Return the sha256 of all settings that can change the artifacts."""
    plain = relevant(to_json(settings))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def relevant(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain data, without the settings that do not change the artifacts.

    Settings that earlier releases did not have are left out if their value describes the builds of those releases. So
    the digest of a configuration that an earlier release recorded does not change.
    """
    kept = {
        name: value
        for name, value in plain.items()
        if name not in _NOT_OF_THE_BUILD and (name not in _DEFAULTS or value != _DEFAULTS[name])
    }
    for path, default in _LATER.items():
        kept = _without(kept, path.split("."), default)
    if "trt_profile" in kept:
        kept["trt_profile"] = _without_free_multiples(kept["trt_profile"])
    return kept


def _without(plain: dict[str, Any], path: Sequence[str], default: Any) -> dict[str, Any]:
    """Return a configuration without the setting at `path` if its value is `default`."""
    first, *rest = path
    if rest and isinstance(inner := plain.get(first), Mapping):
        return {**plain, first: _without(dict(inner), rest, default)}
    return {name: value for name, value in plain.items() if rest or name != first or value != default}


def _without_free_multiples(trt_profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return the profiles without `multiple_of: 1`, which records of earlier releases do not have."""
    profiles = [
        {symbol: {n: v for n, v in sizes.items() if (n, v) != ("multiple_of", 1)} for symbol, sizes in profile.items()}
        for profile in trt_profile["profiles"]
    ]
    return {**trt_profile, "profiles": profiles}


def run_name(settings: Settings, choices: Mapping[str, Any]) -> str:
    """Return the name of a run, e.g. `cosyvoice2-opset18-fp32-none-default-1f0c9a3b`.

    Args:
        settings: the settings of the run.
        choices: group -> option that Hydra has chosen.
    """
    model = settings.model_dir.rstrip("/") if settings.model_dir else str(choices.get("model", "model"))
    streaming = ["cached" if settings.model.cache else "streaming"] if settings.model.streaming else []
    chosen = [str(choices[group]) for group in _NAMED_GROUPS if group in choices]
    # An option opset18 with export.opset=20 makes opset 20.
    chosen = [f"opset{settings.export.opset}" if re.fullmatch(r"opset\d+", word) else word for word in chosen]
    chosen += [f"ov_{choices.get('ov', settings.ov.precision.value)}"] if settings.ov is not None else []
    built = settings.component
    component = [] if built == ComponentSettings() else [built.name.value, *settings.vocoder.words]
    words = [PurePath(model).name or "model", *component, *streaming, *chosen, config_digest(settings)[:8]]
    # Keep letters of all scripts. Otherwise, a directory 模型 would be called `_`.
    plain = [re.sub(r"[^\w.]+", "_", word).encode()[:_LONGEST_WORD].decode(errors="ignore") for word in words]
    return "-".join(plain)
