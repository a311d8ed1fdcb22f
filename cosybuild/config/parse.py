"""The conversion between the composed DictConfig, the typed settings and plain data. Only this module converts them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf

from cosybuild.config.quoting import add_quotes
from cosybuild.config.rules import check
from cosybuild.config.scalars import add_brackets
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.system.typed_json import from_json, to_json

_PATHS = ("store.path", "deploy.dir", "deploy.sign", "hold_to", "precision.calibration", "verify.inputs")
"""Settings with paths in which this module expands `~`. Paths of the model are recorded as they were given."""

_HINT = "Next: `python -m cosybuild --cfg job` prints every setting with its value."


def parse(config: DictConfig) -> Settings:
    """Convert a composed configuration to settings, and check them for contradictions.

    Args:
        config: the root configuration without the `hydra` node.

    Raises:
        ConfigurationError: two settings contradict each other, or a value is out of its range.
        omegaconf.errors.OmegaConfBaseException: a mandatory value is missing or an interpolation fails.
    """
    return checked_settings(plain_from_config(config))


def plain_from_config(config: DictConfig) -> Mapping[str, Any]:
    """Convert a composed configuration to plain data, with every interpolation resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a mandatory value is missing or an interpolation fails.
    """
    plain = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    for name in _PATHS:
        *way, last = name.split(".")
        node: Any = plain
        for step in way:
            node = node.get(step) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(path := node.get(last), str) and path.startswith("~"):
            node[last] = str(Path(path).expanduser())
    return plain


def checked_settings(plain: Mapping[str, Any]) -> Settings:
    """Convert plain data to settings, and check them for contradictions.

    Raises:
        ConfigurationError: a setting is unknown, missing or of another type, two settings contradict each other, or a
            value is out of its range.
    """
    settings = settings_from_plain(plain)
    check(settings)
    return settings


def settings_from_plain(plain: Mapping[str, Any]) -> Settings:
    """Convert plain data, such as a recorded configuration, to settings without checking for contradictions.

    Raises:
        ConfigurationError: a setting is unknown, missing or of another type.
    """
    settings = from_json(plain, Settings, "", _HINT)
    _check_fields(plain, to_json(settings))
    return settings


def apply_overrides(plain: Mapping[str, Any], words: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a copy of a plain configuration with the changes that a user gives as `key=value`.

    Args:
        plain: the configuration.
        words: the overrides.

    Returns:
        The changed configuration, and the dotted names of the changed settings.

    Raises:
        ConfigurationError: a word does not set one setting to one value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType

    result: dict[str, Any] = copy.deepcopy(dict(plain))
    names = []
    for override in OverridesParser.create().parse_overrides([add_brackets(add_quotes(word)) for word in words]):
        name = override.key_or_group
        if override.type is not OverrideType.CHANGE or override.is_sweep_override() or "/" in name or "@" in name:
            raise ConfigurationError(
                f"'{override.input_line}' does not set one setting to one value.",
                hint="Next: give key=value, e.g. model_dir=/models/CosyVoice2-0.5B; options of groups are not allowed "
                "here.",
            )
        *way, last = name.split(".")
        node = result
        for step in way:
            inner = node.get(step)
            node[step] = node = inner if isinstance(inner, dict) else {}
        node[last] = override.value()
        names.append(name)
    return result, tuple(names)


def _check_fields(given: Any, parsed: Any, where: str = "") -> None:
    """Raise an error for a name that is not a setting, and for a mandatory setting without a value.

    Args:
        given: the configuration as plain data.
        parsed: the settings that were made from it, as plain data. They have every field that exists.
        where: the dotted name of this part of the configuration; an empty text for the root.
    """
    unknown = [name for name in given if name not in parsed] if isinstance(parsed, dict) else []
    if unknown:  # Hydra itself does not check the name in `+group.name=...`
        raise ConfigurationError(
            f"'{unknown[0]}' is not a setting of {where or 'the configuration'}; it has: {', '.join(parsed)}.",
            hint="Next: correct the name, or remove it.",
        )
    for name, value in parsed.items() if isinstance(parsed, dict) else enumerate(parsed):
        place = f"{where}[{name}]" if isinstance(name, int) else f"{where}.{name}".lstrip(".")
        if isinstance(value, str) and value == MISSING:  # OmegaConf does not look for missing values inside lists
            raise ConfigurationError(f"{place} is mandatory and has no value.", hint=_HINT)
        if isinstance(value, dict | list | tuple) and (isinstance(name, int) or name in given):
            _check_fields(given[name], value, place)
