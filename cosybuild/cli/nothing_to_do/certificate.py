"""The no-op certificate: proof that a command has nothing to do, checked without slow imports.

Composing the configuration alone takes most of the time that a command with nothing to do may take. So a
finished run records everything that its result depends on. While none of that has changed, the same command
repeats the run's last line and ends. A certificate only saves time: if in doubt, both when it is
written and when it is checked, a file counts as changed, and the build runs as usual.

A certificate depends on:
    the command line, the working directory, the interpreter and its import path, the environment variables
        except VOLATILE;
    files: size, mtime, ctime, inode, device; also that a file is absent. Programs cannot set the ctime, so
        the replacement of a file by one of the same size and mtime is detected too;
    every directory and symbolic link on the path to such a file: device and inode, and for a link also its
        target and ctime;
    directories: names and inodes of their entries (a reinstalled package has a new directory);
    the kernel's boot id and the driver's version (a GPU that was swapped).

The identity of a file is read twice: before the file is read, and when the certificate is written. Both
must be equal. One kind of change escapes this comparison: a file that is written twice within one tick of the
file system's clock has the same times at both reads. So no certificate is written if a file changed less than a
tick before its identity was first read. This moment is needed as a time of the file system's clock, from which
the host's clock may differ. It is the mtime of a new file, minus the time that has passed since the first read.
The run itself has just written its results. For a small result, the certificate therefore holds the sha256. If
there is a large one, the certificate is written only after the tick has passed.

Besides `observed_state`, only json, os, time and hashlib are imported here.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH109, PTH110, PTH118, PTH123 - pathlib alone takes longer to import than the whole check

from __future__ import annotations

import hashlib
import json
import os
import time

from cosybuild.cli.nothing_to_do.observed_state import (
    Look,
    absolute,
    content_digest,
    identity_of,
    listing_of,
    place_of,
    setting_now,
    stat_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes longer to import than the check may
    from collections.abc import Iterable, Sequence
    from typing import Any

    PathLike = str | os.PathLike[str]

SCHEMA = 2

_KERNEL = ("/proc/sys/kernel/random/boot_id", "/proc/driver/nvidia/version")
# Nanoseconds, longer than a tick of any kernel's clock. The coarse tick is for file systems that keep whole
# seconds and for files stamped by another machine's clock.
_TICK = 50_000_000
_COARSE_TICK = 2_000_000_000
_SMALL = 1 << 20
_KEPT = 200


def write(
    directory: PathLike,
    argv: Sequence[str],
    message: str,
    looks: Sequence[Look],
    *,
    results: Iterable[PathLike] = (),
) -> str | None:
    """Write a certificate that `argv` has nothing to do as long as nothing changes.

    Args:
        directory: the directory of the certificates.
        argv: the command line's overrides, in order.
        message: the line that the command prints when it has nothing to do.
        looks: the observed states of the files that the run has read. Each state was taken before the run read the
            files in it, and the first one before the run read any file.
        results: files that the run itself has written, linked or checked, in the store and in the run directory.

    Returns:
        None if the certificate was written, else the reason why not: a file may have changed, or the disk reported an
            error.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        path = _path(directory, argv)
        beside = f"{path}.{os.getpid()}.new"
        try:
            with open(beside, "w", encoding="ascii") as file:
                stamp = os.fstat(file.fileno())  # a new file has the present time of the file system's clock
                now = time.monotonic_ns()
                certificate: dict[str, Any] = {"schema": SCHEMA, "message": message, "command line": list(argv)}
                certificate["setting"] = looks[0].setting
                certificate["kernel"] = {name: content_digest(name) for name in _KERNEL}
                for part in ("directories", "places", "files"):
                    certificate[part] = {}
                for look in looks:
                    _check_unchanged(look, stamp, stamp.st_mtime_ns - (now - look.at))
                    certificate["directories"].update(look.listings)
                    certificate["places"].update(look.places)
                    certificate["files"].update({name: [identity, None] for name, identity in look.files.items()})
                certificate["files"].update(_certify_results(results, stamp))
                json.dump(certificate, file)
            os.replace(beside, path)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)
        _prune(directory)
    except (_Doubtful, OSError) as error:
        return str(error)
    return None


def check(directory: PathLike, argv: Sequence[str]) -> str | None:
    """Return the message of the certificate for a command line if it is still valid, else None.

    Args:
        directory: the directory of the certificates.
        argv: the command line's overrides, in order.
    """
    return examine(directory, argv)[0]


def examine(directory: PathLike, argv: Sequence[str]) -> tuple[str | None, str]:
    """Check the certificate for a command line.

    Args:
        directory: the directory of the certificates.
        argv: the command line's overrides, in order.

    Returns:
        The message of the certificate and an empty text if it is valid; else None and the reason, such as the name of a
            file that changed.
    """
    try:
        with open(_path(directory, argv), encoding="ascii") as file:
            certificate = json.load(file)
        if certificate["schema"] != SCHEMA:
            return None, "another version of cosybuild wrote the certificate"
        moved = _moved(certificate, argv)
        return (str(certificate["message"]), "") if moved is None else (None, moved)
    except FileNotFoundError:
        return None, "there is no certificate"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"the certificate cannot be read: {error!r}"


class _Doubtful(Exception):
    """Raised if a run cannot be certified. The message gives the reason."""


def _check_unchanged(look: Look, stamp: os.stat_result, moment: int) -> None:
    """Raise an error if a path changed after its state was observed, or a file changed less than a tick before.

    Args:
        look: the observed state.
        stamp: the stat of a file made just now, on the file system of the certificates.
        moment: the time at which `look` was taken, by the file system's clock, in ns.

    Raises:
        _Doubtful: a path changed.
    """
    name = look.changed()
    if name is None:
        fresh = (name for name in look.files if _fresh(stat_of(name), moment, stamp.st_dev))
        name = next(fresh, None)
    if name is not None:
        raise _Doubtful(f"{name} changed during the run")


def _certify_results(results: Iterable[PathLike], stamp: os.stat_result) -> dict[str, list[Any]]:
    """Return path -> [identity, digest] of the results. Only a small file that was written just now has a digest."""
    certified: dict[str, list[Any]] = {}
    restless = []
    for name in map(absolute, results):
        found = stat_of(name)
        certified[name] = [identity_of(found), None]
        if found is None or not _fresh(found, stamp.st_mtime_ns, stamp.st_dev):
            continue
        if found.st_size <= _SMALL:
            certified[name][1] = content_digest(name)
        else:
            restless.append(name)
    if restless:
        time.sleep(_TICK / 1e9)
    for name in restless:
        later = stat_of(name)
        if identity_of(later) != certified[name][0] or _fresh(later, stamp.st_mtime_ns + _TICK, stamp.st_dev):
            raise _Doubtful(f"{name} was written a moment ago")
    return certified


def _moved(certificate: Any, argv: Sequence[str]) -> str | None:
    if certificate["command line"] != list(argv):
        return "the command line changed"
    for name, value in setting_now().items():
        if certificate["setting"][name] != value:
            return f"the {name} changed"
    for name, digest in certificate["kernel"].items():
        if content_digest(name) != digest:
            return f"{name} changed"
    for name, (identity, digest) in certificate["files"].items():
        if identity_of(stat_of(name)) != identity or (digest is not None and content_digest(name) != digest):
            return f"{name} changed"
    for name, place in certificate["places"].items():
        if place_of(name) != place:
            return f"{name} changed"
    for name, listing in certificate["directories"].items():
        if listing_of(name) != listing:
            return f"{name} changed"
    return None


def _path(directory: PathLike, argv: Sequence[str]) -> str:
    name = hashlib.sha256(json.dumps([os.getcwd(), *argv]).encode()).hexdigest()
    return os.path.join(directory, f"{name[:32]}.json")


def _fresh(found: os.stat_result | None, moment: int, device: int) -> bool:
    """Return True if the file may have changed after `moment`, within the resolution of its file system's times.

    Args:
        found: the stat of the file; None for a missing file.
        moment: a time of the file system's clock, in ns.
        device: the only device whose times may be assumed to have a fine resolution.
    """
    if found is None:
        return False
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    fine = found.st_dev == device and changed % 1_000_000 != 0
    return changed > moment - (_TICK if fine else _COARSE_TICK)


def _prune(directory: PathLike) -> None:
    """Delete all but the newest certificates. A deleted certificate can be written again quickly."""
    with os.scandir(directory) as entries:
        aged = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(".json"))
    for _, path in aged[:-_KEPT]:
        os.unlink(path)
