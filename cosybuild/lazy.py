"""Imports of heavy or optional packages, with an error that names the command which brings them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from cosybuild.errors import MissingRequirement

# module -> what to install; a module that is absent here belongs to the plain installation
_INSTALL = {
    "tensorrt": "pip install 'cosybuild[tensorrt]'",
    "tensorrt_rtx": "pip install tensorrt-rtx",
    "modelopt": "pip install 'cosybuild[autocast]'",
    "huggingface_hub": "pip install 'cosybuild[hub]'",
    "modelscope": "pip install 'cosybuild[modelscope]'",
    "s3fs": "pip install 'cosybuild[s3]'",
    "ray": "pip install 'cosybuild[ray]'",
    "mlflow": "pip install 'cosybuild[mlflow]'",
    "gcsfs": "pip install 'cosybuild[gcs]'",
}


def is_installed(module: str) -> bool:
    """Whether `module` can be found, without importing it (but for the packages it lies in)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package it would lie in
        return False


def require(module: str, purpose: str) -> ModuleType:
    """Import `module` for `purpose`.

    Raises:
        MissingRequirement: the module or one of the libraries it loads is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = _INSTALL.get(module.partition(".")[0], "pip install --force-reinstall cosybuild")
        raise MissingRequirement(
            f"{purpose} needs the Python package '{module}', which does not load here: {error}.",
            hint=f"Next: {command}",
        ) from error
