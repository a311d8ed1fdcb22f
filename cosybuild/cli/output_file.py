"""The check of the name of a file that a command is asked to write, before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from cosybuild.errors import ConfigurationError


def output_file(flag: str, name: str) -> Path:
    """Return the path of a file to write.

    Args:
        flag: the option that names the file, such as `--junit`.
        name: the value of the option.

    Raises:
        ConfigurationError: the directory of the file does not exist, or the name is that of a directory: it exists as
            one, or ends with a slash, which `Path` would drop; or it is a pipe or a device.
    """
    path = Path(name)
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"{flag} {name}: the directory {path.parent} does not exist.", hint=f"Next: mkdir -p {path.parent}"
        )
    if path.is_dir() or name.endswith(os.sep):
        raise ConfigurationError(
            f"{flag} {name} is a directory; the name of a file is expected.",
            hint=f"Next: {flag} {path / 'results.xml' if path.is_dir() else path}",
        )
    if path.exists() and not path.is_file():
        raise ConfigurationError(
            f"{flag} {name} is a pipe or a device; the name of a file is expected.", hint=f"Next: {flag} results.xml"
        )
    return path
