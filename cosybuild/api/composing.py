"""Compose a request from overrides or from typed settings, in the same way as the command line does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cosybuild.config.compose import config_directory, explain, prepare
from cosybuild.config.naming import run_name
from cosybuild.config.parse import checked_settings, plain_from_config
from cosybuild.config.quoting import add_quotes
from cosybuild.config.rules import check
from cosybuild.config.scalars import add_brackets
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings
from cosybuild.run.run_names import RUNS
from cosybuild.system.typed_json import to_json

Overrides = Sequence[str] | Settings
"""The words of a command line, or typed settings. With settings, options of groups cannot be chosen."""


@dataclass(frozen=True)
class Composed:
    """A request and the things that it was composed from.

    Attributes:
        request: the request.
        overrides: the words of the command line; empty if settings were given.
        directory: the run directory, relative to the working directory.
        config: the configuration as YAML.
    """

    request: Request
    overrides: tuple[str, ...]
    directory: Path
    config: str


def compose_request(overrides: Overrides, config_dirs: Sequence[Path | str] = ()) -> Composed:
    """Return the request for overrides or for settings.

    Args:
        overrides: the words of a command line, or typed settings.
        config_dirs: directories with options that are searched first, as with `--config-dir`.

    Raises:
        CosybuildError: the configuration cannot be built, or its model cannot be read.
    """
    if isinstance(overrides, Settings):
        check(overrides)
        text = OmegaConf.to_yaml(OmegaConf.create(to_json(overrides)))
        return Composed(request_from_settings(overrides), (), RUNS / run_name(overrides, {}), text)
    words, directories = words_of(overrides), _directories_of(config_dirs)
    with own_hydra(), convert_hydra_errors():
        prepare()
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            search = [f"file://{directory}" for directory in directories]
            given = [*([f"hydra.searchpath={search}"] if search else []), *map(add_brackets, map(add_quotes, words))]
            root = compose("config", overrides=given, return_hydra_config=True)
            config = OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"])
            settings = checked_settings(plain_from_config(config))
            directory = RUNS / run_name(settings, dict(root.hydra.runtime.choices))
    return Composed(request_from_settings(settings), words, directory, OmegaConf.to_yaml(config))


def words_of(overrides: object) -> tuple[str, ...]:
    """Check overrides given by a user of the API, and return them as a tuple of texts.

    Raises:
        ConfigurationError: the overrides are a single text, or not a series of texts.
    """
    if isinstance(overrides, str):
        raise ConfigurationError(
            f"overrides={overrides!r} is one text; a list with one text for each override is expected.",
            hint=f"Next: give {overrides.split()!r}.",
        )
    words = tuple(overrides) if isinstance(overrides, Iterable) else (overrides,)
    wrong = [word for word in words if not isinstance(word, str)]
    if isinstance(overrides, Iterable) and not wrong:
        return words
    raise ConfigurationError(
        f"overrides={overrides!r} is not a list of texts, but has {wrong[0]!r}.",
        hint='Next: give one text for each override, e.g. ["model=estimator", "trt=none"], or a Settings.',
    )


def _directories_of(config_dirs: object) -> list[Path]:
    """Check the directories given by a user of the API, and return their absolute paths.

    Raises:
        ConfigurationError: a single path was given, or one of the paths is not a directory.
    """
    single = isinstance(config_dirs, str | bytes | Path) or not isinstance(config_dirs, Iterable)
    given: list[Any] = [config_dirs] if single else list(config_dirs)  # type: ignore[call-overload]  # it is iterable
    found = [Path(one).absolute() for one in given if isinstance(one, str | Path) and Path(one).is_dir()]
    if single or len(found) < len(given):
        raise ConfigurationError(
            f"config_dirs={config_dirs!r} is not a list of directories that exist.",
            hint='Next: give a list of existing directories, e.g. ["conf"].',
        )
    return found


@contextmanager
def own_hydra() -> Iterator[None]:
    """Clear Hydra's global state for the `with` block and restore it afterwards.

    A program that calls the API may use Hydra itself.
    """
    before, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().hydra = None
    try:
        yield
    finally:
        # Hydra may have replaced the instances.
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = before, config


@contextmanager
def convert_hydra_errors() -> Iterator[None]:
    """Convert an error of Hydra in the `with` block into the error that a user is shown."""
    try:
        yield
    except Exception as error:
        known = explain(error)
        if known is None or known is error:
            raise
        raise known from error
