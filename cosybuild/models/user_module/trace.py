"""The trace of a user's module: the code, the data and the packages that its construction read."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cosybuild
from cosybuild.digest import digest_of
from cosybuild.errors import ConfigurationError
from cosybuild.models.user_module.audit import Reads
from cosybuild.models.user_module.declared import source_file
from cosybuild.models.user_module.installed import fingerprint, owners, site_of
from cosybuild.system.typed_json import from_json

SCHEMA = 1
_OURS = Path(cosybuild.__file__).parent
_METADATA = re.compile(r"\.(?:dist|egg)-info(?=/)")
_STARTED = ("__main__", "_distutils_hack")
"""Modules that the interpreter loads by itself."""
_SHORT = 32
"""The number of hexadecimal digits of a digest in a key."""
_LISTING, _PACKAGE, _FILE = "names in ", "package ", "file "
"""Prefixes of the names in `Trace.parts`. A file has the prefix only if its name begins with one of the prefixes."""
_KERNEL = ("/proc/", "/sys/", "/dev/")
_RAM_DISK = "/dev/shm/"  # noqa: S108  # users put files here, although it is below /dev
_WEIGHTS = frozenset([".safetensors", ".bin", ".pt", ".pth", ".ckpt"])
"""Suffixes of the files in which PyTorch's libraries keep weights. Tables, such as mel filters, come as .npz or .h5."""
_MADE_HERE = frozenset(["__pycache__", "outputs", "multirun"])
"""Directories that Python, cosybuild and Hydra create beside a user's files; they do not change the trace."""


@dataclass(frozen=True)
class Trace:
    """Everything that the construction of one `_target_` read.

    Attributes:
        files: every local file that was read: name in keys -> (path, sha256).
        directories: every local directory that was listed: name in keys -> (path, sha256 of the names in it).
        absent: paths that the code tried to open and that do not exist.
        modules: every local Python module, every module that was not found, and every installed top-level package that
            was imported: name -> source file, or None if it was not found.
        packages: name of an installed distribution -> its `installed.fingerprint`.
        hidden: phrases for actions that cannot be traced, see `Reads.hidden`.
        learned: paths that were read only by a later step, not by the construction.
        void: True if the trace is known to be incomplete, so that a new one must be made.
        memo: the file in which this trace is stored; None if it is not stored.
    """

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    directories: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    modules: Mapping[str, str | None] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    void: bool = False
    memo: str | None = field(default=None, compare=False)

    @property
    def parts(self) -> dict[str, str]:
        """The name and a digest of everything in the trace, for keys; equal on every machine with the same content."""
        return {
            **{_part_of_file(name): digest[:_SHORT] for name, (_, digest) in self.files.items()},
            **{f"{_LISTING}{name}": digest[:_SHORT] for name, (_, digest) in self.directories.items()},
            **{f"{_PACKAGE}{name}": value for name, value in self.packages.items()},
        }

    @property
    def is_local(self) -> bool:
        """True if the trace has files, directories or missing paths of the user, outside installed packages."""
        return bool(self.files or self.directories or self.absent)

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all local files that were read."""
        return frozenset(path for path, _ in self.files.values())

    @property
    def weight_files(self) -> tuple[str, ...]:
        """The file names of the weights that the construction read, e.g. those of a `from_pretrained` directory."""
        return tuple(sorted({Path(path).name for path in self.paths if Path(path).suffix in _WEIGHTS}))

    @property
    def sources(self) -> dict[str, str]:
        """The sha256 of the source of every local module by its name, without the modules of cosybuild."""
        digests = dict(self.files.values())
        theirs = {name: path for name, path in self.modules.items() if name.partition(".")[0] != cosybuild.__name__}
        return {name: digests[path] for name, path in theirs.items() if path is not None and path in digests}

    def change(self, digest: Callable[[Path], str]) -> str | None:
        """Return the name of the first file, directory, module or package that changed since the trace was made.

        The result is None if nothing changed. For a `void` trace it is the text of `learned`.

        Args:
            digest: returns the sha256 of a file.
        """
        if self.void:
            return ", ".join(self.learned)
        for name, (path, was) in self.files.items():
            if not Path(path).is_file() or digest(Path(path)) != was:
                return name
        for name, (path, was) in self.directories.items():
            if names_in(path) != was:
                return name
        for path in self.absent:
            if Path(path).exists():
                return path
        for name, file in self.modules.items():
            if _resolved(name) != file:
                return name
        return next((name for name, was in self.packages.items() if fingerprint(name) != was), None)

    def to_json(self) -> str:
        """Return the trace as JSON text, which `trace_from_json` reads."""
        return json.dumps({**dataclasses.asdict(self), "schema": SCHEMA, "memo": None})


def trace_from_json(text: str) -> Trace | None:
    """Return the trace that `Trace.to_json` wrote; None if the text is damaged or has another schema number."""
    try:
        facts = json.loads(text)
        if facts.pop("schema") != SCHEMA:
            return None
        return from_json(facts, Trace, "the trace")
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return None


def is_local(path: str) -> bool:
    """Return True if a file belongs to the user, and not to an installed package, Python, cosybuild or the kernel."""
    if path.startswith((*_KERNEL, f"{_OURS}/")) and not path.startswith(_RAM_DISK):
        return False
    return site_of(path) is None and not path.startswith(_standard())


def trace_of(reads: Reads, targets: Sequence[str], learned: Sequence[str] = ()) -> Trace:
    """Return the trace of the targets. Call it in a process that did nothing else than construct the targets.

    Args:
        reads: the record of the construction.
        targets: the `_target_` names.
        learned: paths to include even if the construction did not read them.
    """
    loaded = {name: file for name, module in list(sys.modules.items()) if (file := _file(module)) is not None}
    loaded = {name: file for name, file in loaded.items() if name.partition(".")[0] not in _STARTED}
    listed = owners()
    seen = {source for path in (*reads.files, *loaded.values(), *learned) if (source := _source(path)) is not None}
    installed = {path: listed[path] for path in seen if path in listed}
    # A local file is outside of every installation directory, or inside one but not listed by a distribution.
    local = {path for path in seen - set(installed) if is_local(path) or site_of(path) is not None}
    local = {path for path in local if path not in reads.written}
    if any(name.partition(".")[0] == cosybuild.__name__ for name in targets) or _names_ours(local):
        local |= {path for path in seen if path.startswith(f"{_OURS}/") and path not in installed}
    else:
        installed = {path: name for path, name in installed.items() if name != cosybuild.__name__}
    there = sorted(path for path in local if Path(path).is_file())
    names = {name for name, file in loaded.items() if _source(file) in local}
    tops = {name for name, file in loaded.items() if "." not in name and _source(file) in installed}
    folders = sorted(path for path in reads.listed if is_local(f"{path}/"))
    return Trace(
        files={name: (path, digest_of(Path(path))) for name, path in _named(there)},
        directories={name: (path, found) for name, path in _named(folders) if (found := names_in(path)) is not None},
        absent=tuple(sorted(path for path in local if not Path(path).exists())),
        modules={name: _resolved(name) for name in sorted({*names, *tops, *_missing(reads.imports)})},
        packages={name: fingerprint(name) for name in sorted(set(installed.values()))},
        hidden=tuple(sorted(reads.hidden)),
        learned=tuple(learned),
    )


def untraced_reads(reads: Reads, trace: Trace, loaded: Collection[str]) -> tuple[str, ...]:
    """Return the local files that were read and that the trace does not contain.

    Args:
        reads: the record of a step.
        trace: the trace of the module that the step called.
        loaded: files of Python modules that were imported before the step. They are ignored, because warnings and
            tracebacks read source files.
    """
    seen = {source for path in reads.files if (source := _source(path)) is not None}
    new = seen - trace.paths - reads.written - set(loaded)
    return tuple(sorted(path for path in new if is_local(path) and Path(path).is_file()))


def loaded_files() -> frozenset[str]:
    """Return the paths of the files of all imported Python modules."""
    return frozenset(file for module in list(sys.modules.values()) if (file := _file(module)) is not None)


def names_in(path: str) -> str | None:
    """Return the sha256 of the names in a directory; None if the directory cannot be listed."""
    try:
        names = sorted(name for name in os.listdir(path) if name not in _MADE_HERE)  # noqa: PTH208  # names only
    except OSError:
        return None
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


@cache
def _standard() -> tuple[str, ...]:
    """Return the places of Python's standard library: its directories and its zip file on the import path."""
    places = [f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")]
    own = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return (*places, *(entry for entry in sys.path if Path(entry).name == own))


def _missing(imports: Collection[str]) -> Iterator[str]:
    """Yield the names of modules whose import was tried and that were not found, except in installed packages."""
    for name in imports:
        top = name.partition(".")[0]
        if name in sys.modules:
            continue
        if top not in sys.modules:
            yield top
        elif (file := _file(sys.modules[top])) is None or is_local(file):
            yield name


def _part_of_file(name: str) -> str:
    return f"{_FILE}{name}" if name.startswith((_LISTING, _PACKAGE, _FILE)) else name


def _file(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and Path(file).is_absolute() else None


def _source(path: str) -> str | None:
    """Return the source file for a file of byte code, and any other path unchanged.

    The result is None for a file of package metadata, because keys contain the versions of packages.
    """
    if path.endswith(".pyc"):
        try:
            source = importlib.util.source_from_cache(path)
        except ValueError:
            return path
        return source if Path(source).is_file() else path
    return None if _is_metadata(path) else path


def _is_metadata(path: str) -> bool:
    """Return True if a file is in a `.dist-info` or `.egg-info` directory that contains METADATA or PKG-INFO."""
    if (found := _METADATA.search(path)) is None:
        return False
    directory = Path(path[: found.end()])
    return any((directory / name).is_file() for name in ("METADATA", "PKG-INFO"))


def _names_ours(paths: set[str]) -> bool:
    """Return True if one of the source files contains the word `cosybuild`, so that it may use cosybuild's code."""
    sources = (Path(path) for path in paths if path.endswith(".py"))
    return any(cosybuild.__name__.encode() in path.read_bytes() for path in sources if path.is_file())


def _named(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a unique name for keys and the path of each file or directory.

    The name is the path relative to the import path or the working directory. Elsewhere, it is the file's name.
    """
    roots = sorted({os.path.abspath(entry) for entry in (*sys.path, os.curdir)}, key=len, reverse=True)  # noqa: PTH100
    count: dict[str, int] = {}
    for path in paths:
        root = next((root for root in roots if path.startswith(f"{root}/")), None)
        name = Path(path).name if root is None else Path(path).relative_to(root).as_posix()
        count[name] = count.get(name, 0) + 1
        yield (name if count[name] == 1 else f"{name} ({count[name]})"), path


def _resolved(name: str) -> str | None:
    file = source_file(name.split("."))
    return None if file is None else str(file)
