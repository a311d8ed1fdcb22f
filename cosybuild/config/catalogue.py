"""The list of configuration groups and of their options: cosybuild's own, installed and added ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf

from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.searchpath import OURS


@dataclass(frozen=True)
class Option:
    """One option of a configuration group.

    Attributes:
        name: the name after `group=`.
        purpose: the first comment of the option's file.
        provider: the name of the search path entry that has the option; empty for cosybuild's own options.
        chosen: True if the option is the group's default.
    """

    name: str
    purpose: str
    provider: str
    chosen: bool


@contextmanager
def open_loader(directories: Sequence[Path] = ()) -> Iterator[ConfigLoaderImpl]:
    """Yield Hydra's loader of configurations.

    The loader searches `directories`, then cosybuild's configurations, then installed packages of configurations.
    """
    prepare()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        for directory in directories:
            loader.get_search_path().prepend("command-line", f"file://{directory.absolute()}")
        # The loader reads the search path once, when it is made.
        fresh = ConfigLoaderImpl(loader.get_search_path())
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.config_loader = fresh
        yield fresh


def groups(loader: ConfigLoaderImpl) -> list[str]:
    """Return the names of all configuration groups except Hydra's own, in the order of the root defaults list."""
    root = compose_root(loader, [])
    # Hydra records its choices in reverse order.
    return [str(group) for group in reversed(list(root.hydra.runtime.choices)) if not str(group).startswith("hydra/")]


def options(loader: ConfigLoaderImpl, group: str) -> Iterator[Option]:
    """Yield every option of a group, also those in sub-directories such as `acme/edge`."""
    choice = str(compose_root(loader, []).hydra.runtime.choices.get(group))
    for name in option_names(loader, group):
        source = _source_of(loader, group, name)
        provider = "" if source.provider in OURS else source.provider
        yield Option(name, purpose(_text(source, f"{group}/{name}.yaml")), provider, name == choice)


def composed_piece(loader: ConfigLoaderImpl, group: str, name: str) -> str:
    """Return the YAML of what an option sets: the values of its own group, and of every other key that it changes.

    Args:
        loader: Hydra's loader.
        group: the group of the option.
        name: the name of the option.
    """
    try:
        plain, changed = _plain(loader, []), _plain(loader, [f"{group}={name}"])
    except HydraException:
        source = _source_of(loader, group, name)
        text = _text(source, f"{group}/{name}.yaml")
        if "sweeper" not in ((yaml.safe_load(text) or {}).get("hydra") or {}):
            raise
        return text  # an option for another sweeper, e.g. hydra/sweeper=optuna, composes only together with it
    keys = [key for key in changed if key == group or changed[key] != plain.get(key)]
    return OmegaConf.to_yaml(OmegaConf.create({key: changed[key] for key in keys}))


def compose_root(loader: ConfigLoaderImpl, overrides: list[str]) -> DictConfig:
    """Return the whole composed configuration, including the node `hydra`."""
    return compose("config", overrides=overrides, return_hydra_config=True)


def _source_of(loader: ConfigLoaderImpl, group: str, name: str) -> ConfigSource:
    return next(source for source in loader.get_sources() if source.is_config(f"{group}/{name}"))


def purpose(text: str) -> str:
    """Return the first comment of an option's file as one line, without the directive `# @package`."""
    lines = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines)


def _plain(loader: ConfigLoaderImpl, overrides: list[str]) -> dict[str, Any]:
    config = compose_root(loader, overrides)
    sweeper = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    assert isinstance(sweeper, dict)
    mode = {"mode": str(config.hydra.mode.name)} if config.hydra.mode is not None else {}
    kept = {str(key): value for key, value in plain.items() if key != "hydra"}
    # Of Hydra's part, show only the settings of a sweep.
    return {**kept, "hydra": {**mode, "sweeper": {"params": sweeper.get("params")}}} if sweeper.get("params") else kept


def option_names(loader: ConfigLoaderImpl, group: str, prefix: str = "") -> Iterator[str]:
    """Yield the name of every option of a group, also of those in sub-directories such as `acme/edge`.

    Args:
        loader: Hydra's loader.
        group: the group.
        prefix: only the options in this sub-directory, with `/` at its end; an empty text for all.
    """
    place = f"{group}/{prefix}".rstrip("/")
    for name in loader.get_group_options(place, results_filter=ObjectType.CONFIG):
        yield f"{prefix}{name}"
    for directory in loader.get_group_options(place, results_filter=ObjectType.GROUP):
        yield from option_names(loader, group, f"{prefix}{directory}/")


def _text(source: ConfigSource, file: str) -> str:
    if source.scheme() == "pkg":
        return resources.files(source.path).joinpath(file).read_text(encoding="utf-8")
    return Path(source.path, file).read_text(encoding="utf-8")
