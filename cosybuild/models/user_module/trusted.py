"""Check the targets (`_target_`) in an imported record before they are called.

An imported record is the configuration of a run that somebody else made. A call of a `_target_` runs code. A target is
allowed if the user allowed its top-level package by name, if an installed distribution contains the package, and if the
target is a class of torch modules. Hydra's own list of forbidden targets is not sufficient, because it has only a few
names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError

_SAFE_PATH = "PYTHONSAFEPATH"


def targets_of(node: Any) -> Iterator[str]:
    """Yield every `_target_` in plain data, the outermost first. Hydra's `instantiate` also calls nested ones."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets_of(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from targets_of(value)


def leaves_of(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every value in plain data that is neither a mapping nor a list.

    Args:
        node: the data.
        where: the dotted name of `node` itself.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from leaves_of(value, f"{where}.{name}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from leaves_of(value, f"{where}[{index}]")
    else:
        yield where, node


def refuse_paths(target: Any, where: str = "model.target") -> None:
    """Check that no argument of a target in a record could name a file, or is an interpolation of Hydra.

    An interpolation such as `${oc.env:HOME}` would be replaced by a value of this machine.

    Args:
        target: plain data, as in `model.target`.
        where: the dotted name of `target`, for error messages.

    Raises:
        ConfigurationError: there is such an argument; the message names it.
    """
    for name, value in leaves_of(target, where):
        if not isinstance(value, str) or name.endswith("._target_"):
            continue
        if "${" in value:
            raise ConfigurationError(
                f"{name}={value!a} of the record is an interpolation, which would read a value of this machine.",
                hint=f"Next: give the value yourself: {name}=VALUE.",
            )
        if any(char in value for char in "/\\\0") or value.startswith("~") or os.path.lexists(value):
            raise ConfigurationError(
                f"{name}={value!a} of the record could name a file, and an imported record must not name files of "
                "this machine.",
                hint=f"Next: give the value yourself: {name}=VALUE.",
            )


def vet_targets(target: Any, allowed: Collection[str]) -> None:
    """Check that every `_target_` in a record, at any depth, may be called. Call this within `installed_only`.

    Args:
        target: plain data, as in `model.target`.
        allowed: the top-level packages that the user allowed.

    Raises:
        ConfigurationError: a target is not allowed; the message names it and the reason.
    """
    names = list(dict.fromkeys(targets_of(target)))
    strange = [name for name in names if not all(_is_public(part) for part in name.split(".")) or "." not in name]
    if strange:
        raise _refused(strange[0], "is not a public name of a package")
    tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
    if missing := [top for top in tops if top not in allowed]:
        raise ConfigurationError(
            f"The record was imported and wants to call {', '.join(names)}. Code runs only from packages that "
            f"you allow by name, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not allowed.",
            hint=f"Next: if you trust what is installed here, add {' '.join(f'--trust {m}' for m in missing)}.",
        )
    for top in tops:
        _refuse_uninstalled(top)
    for name in names:
        _refuse_other_than_modules(name)


@contextmanager
def installed_only() -> Iterator[None]:
    """Remove the working directory and the directories below it from the import path in the `with` block.

    Installation directories such as those of a virtual environment stay on the import path.
    """
    path, safe = list(sys.path), os.environ.get(_SAFE_PATH)
    here = Path.cwd()
    sys.path[:] = [one for one in path if one and not _is_below(one, here)]
    os.environ[_SAFE_PATH] = "1"  # for processes that this one starts
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        if safe is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = safe


def _is_public(part: str) -> bool:
    return part.isidentifier() and part.isascii() and not part.startswith("_")


def _is_below(entry: str, here: Path) -> bool:
    place = Path(entry).absolute()
    if any(place == home for home in _installations()):
        return False
    return place.is_relative_to(here) or place.resolve().is_relative_to(here.resolve())


def _installations() -> set[Path]:
    """Return the directories in which installers put packages, and those of Python's standard library."""
    named = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")]
    places = [*named, *site.getsitepackages(), site.getusersitepackages()]
    found = {Path(place) for place in places if place}
    return found | {place / "lib-dynload" for place in found}


def _refuse_uninstalled(top: str) -> None:
    spec = PathFinder.find_spec(top, sys.path)
    if spec is None or spec.origin is None or not spec.has_location:
        raise _refused(top, "is not an installed package")
    file = Path(spec.origin)
    distributions = importlib.metadata.packages_distributions().get(top, [])
    if not any(_brought(name, top, file) for name in distributions):
        raise _refused(top, f"is in {file}, which belongs to no installed distribution")
    loaded = getattr(sys.modules.get(top), "__file__", spec.origin)
    if loaded is None or Path(loaded) != file:
        raise _refused(top, f"was loaded from {loaded}, and the installed one is {file}")


def _brought(distribution: str, top: str, file: Path) -> bool:
    """Return True if a distribution's RECORD lists the file; an editable installation does not list source files."""
    listed = {f"{top}/{file.name}", file.name}
    files = importlib.metadata.files(distribution) or ()
    return any(str(one) in listed and Path(str(one.locate())).resolve() == file.resolve() for one in files)


def _refuse_other_than_modules(name: str) -> None:
    from torch import nn

    found = _located(name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise _refused(name, "is not a class of torch.nn.Module, and an imported record can call nothing else")


def _located(name: str) -> Any:
    parts = name.split(".")
    found: Any = None
    for index in range(len(parts)):
        module = ".".join(parts[: index + 1])
        if found is not None and hasattr(found, parts[index]):
            found = getattr(found, parts[index])
            continue
        try:
            found = importlib.import_module(module)
        except Exception as error:  # an import may raise anything
            raise _refused(name, f"cannot be imported: {type(error).__name__}: {error}") from error
    return found


def _refused(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The record was imported, and its _target_ {name!a} {why}.",
        hint="Next: check the record; to build this model anyway, give model.target=... yourself.",
    )
