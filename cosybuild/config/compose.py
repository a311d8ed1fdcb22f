"""The preparation of Hydra before it composes, and the conversion of its errors into errors for users."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from cosybuild.config.groups.field import settings_class
from cosybuild.config.launchers import register_launchers
from cosybuild.config.naming import register_resolvers
from cosybuild.config.parse import parse
from cosybuild.config.schema import register
from cosybuild.config.searchpath import register_search_path
from cosybuild.config.settings import Settings
from cosybuild.config.suggestions import refused_value, suggestion
from cosybuild.errors import ConfigurationError, CosybuildError
from cosybuild.shipped import shipped


def config_directory() -> Path:
    """Return the path of `conf/`, in the source tree or in an installed package."""
    return shipped("conf")


def prepare(settings_of: Callable[[DictConfig], Settings] = parse) -> None:
    """Register the schema, launchers, resolvers and installed configurations with Hydra; call this before composing.

    Args:
        settings_of: called with a composed configuration; returns its settings. It raises CosybuildError for a
            configuration that cannot be built, before Hydra creates a directory.
    """
    register()
    register_search_path()
    register_launchers()
    register_resolvers(settings_of)


def explain(error: BaseException) -> CosybuildError | None:
    """Convert an error of Hydra or OmegaConf into the error that a user is shown.

    Return None if neither of them raised the error. Hydra wraps errors of resolvers and of instantiation, so a
    CosybuildError in the chain of causes is returned first.
    """
    absent = _setting_of_absent_group(error)
    if absent is not None:
        return group_is_off(absent)
    if isinstance(error, RecursionError) and _was_parsing(error):
        return ConfigurationError(
            "An override is nested too deeply.", hint="Next: give it as an option file, or with fewer brackets."
        )
    if not isinstance(error, HydraException | OmegaConfBaseException) and not _raised_by_hydra(error):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CosybuildError):
            return cause
        cause = cause.__cause__ or cause.__context__
    origin: BaseException = error
    while isinstance(origin.__cause__, HydraException | OmegaConfBaseException):
        origin = origin.__cause__
    if isinstance(origin, ConfigKeyError):
        return unknown_setting(str(origin.full_key or origin.key))
    if (mistake := refused_value(error, origin)) is not None:
        return mistake
    refused = re.match(r"Could not override '([^']+)'\.(?:\s+To append to your config use \+[^=\s]+=(.*))?", str(error))
    if refused:
        return unknown_setting(refused[1], refused[2])
    if isinstance(error, OverrideParseException):
        return ConfigurationError(
            f"'{error.override}' is not a valid override; key=value is expected, e.g. export=opset18 or "
            "export.opset=20.",
            hint="Next: quote values that contain commas, brackets or quotes: 'key=\"a value\"'.",
        )
    return ConfigurationError(_clean(error, origin), hint=_hint(str(error)))


def _raised_by_hydra(error: BaseException) -> bool:
    """Return True if Hydra itself raised a plain ValueError, as it does for `export=null`."""
    frame = _origin(error)
    module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return isinstance(error, ValueError) and module.partition(".")[0] == "hydra"


def _was_parsing(error: BaseException) -> bool:
    """Return True if an error was raised while Hydra or its parsers ran, and not in cosybuild's own code."""
    packages = []
    trace = error.__traceback__
    while trace is not None:
        packages.append(str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0])
        trace = trace.tb_next
    known = [package for package in packages if package in ("cosybuild", "hydra", "omegaconf", "antlr4")]
    return bool(known) and known[-1] != "cosybuild"


def _setting_of_absent_group(error: BaseException) -> str | None:
    """Return the setting of a switched-off group that made OmegaConf raise an AssertionError, else None.

    An example is `trt.sm` for `trt=none trt.sm=[89]`.
    """
    frame = _origin(error)
    if (
        not isinstance(error, AssertionError)
        or frame is None
        or frame.f_globals.get("__name__") != "omegaconf.omegaconf"
    ):
        return None
    key = frame.f_locals.get("key")
    return key if isinstance(key, str) and "." in key else None


def _origin(error: BaseException) -> FrameType | None:
    """Return the frame in which an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame


def group_is_off(key: str) -> ConfigurationError:
    """Return the error for a setting of a switched-off group, e.g. `benchmark.rounds` without a benchmark."""
    group = key.partition(".")[0]
    options = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    on = [option for option in options if option not in ("none", "off")]
    return ConfigurationError(
        f"{key} is set, but '{group}' is switched off, so the setting has no effect.",
        hint=f"Next: remove {key}" + (f", or choose one of {group}={', '.join(on)}." if on else "."),
    )


def unknown_setting(full_key: str, value: str | None = None) -> ConfigurationError:
    """Return the error for a setting that does not exist, such as `export.opsett=18`.

    It names the settings of the group and suggests the most similar one.

    Args:
        full_key: the dotted name as it was given.
        value: the value that was given, for the suggestion; None if it is not known.
    """
    group, _, key = full_key.rpartition(".")
    known = _settings_of(group)
    where = f"'{group}'" if group else "the configuration"
    guess = suggestion(full_key, known, value)
    return ConfigurationError(
        f"{full_key}: {where} has no setting '{key}'.{guess} It has: {', '.join(known) or '(none)'}.",
        hint="Next: correct the name; `python -m cosybuild --cfg job` prints every setting with its value.",
    )


def _settings_of(group: str) -> list[str]:
    """Return the names of the settings under a dotted path, from the settings classes."""
    cls: Any = Settings
    for name in filter(None, re.split(r"[.\[\]]+", group)):
        cls = cls and settings_class(cls, name)
    return [field.name for field in dataclasses.fields(cls)] if cls else []


def _clean(error: BaseException, origin: BaseException) -> str:
    """Return the message of an error without Hydra's search path, error codes and object types."""
    if isinstance(origin, MissingMandatoryValue):
        return f"{getattr(origin, 'full_key', '')}: this setting is mandatory and has no value."
    text = str(origin) if isinstance(origin, ValidationError) else str(error)
    text = text.split("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    fields = dict(line.split(": ", 1) for line in lines if line.startswith("full_key: "))
    kept = [
        line
        for line in lines
        if line and not re.match(r"(full_key|object_type|reference_type|sub_key)\b|See https?://|Set the env", line)
    ]
    name = fields.get("full_key", "").strip()
    message = " ".join(kept)
    return f"{name}: {message}" if name and name not in message else message


def _hint(message: str) -> str:
    if "Config group override" in message:
        return "Next: name one of the group's options; trt=none or verify=off switches a group off."
    if "Available options" in message:
        return "Next: use one of the options named above."
    if "COSYBUILD_STORE" in message:
        return "Next: set COSYBUILD_STORE to the team's store, or give store.path=DIR."
    return "Next: `python -m cosybuild --help` shows the groups and how to override them."
