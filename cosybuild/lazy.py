"""Import heavy or optional packages; if one is missing, the error names the command that installs it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from cosybuild.errors import MissingRequirement

# The command that installs each module. Modules that are not listed are installed with cosybuild itself.
_INSTALL = {
    "torch": "pip install torch",
    "tensorrt": "pip install 'cosybuild[tensorrt]'",
    "tensorrt_rtx": "pip install tensorrt-rtx",
    "openvino": "pip install 'cosybuild[openvino]'",
    "modelopt": "pip install 'cosybuild[autocast]'",
    "huggingface_hub": "pip install 'cosybuild[hub]'",
    "modelscope": "pip install 'cosybuild[modelscope]'",
    "s3fs": "pip install 'cosybuild[s3]'",
    "ray": "pip install 'cosybuild[ray]'",
    "mlflow": "pip install 'cosybuild[mlflow]'",
    "gcsfs": "pip install 'cosybuild[gcs]'",
    "model_signing": "pip install 'cosybuild[sign]'",
    "cryptography": "pip install 'cosybuild[sign]'",
}


def is_installed(module: str) -> bool:
    """Return True if the module `module` (a dotted name) is installed. Only its parent packages are imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def require(module: str, purpose: str) -> ModuleType:
    """Import a module and return it.

    Args:
        module: its dotted name.
        purpose: the subject of the error message, e.g. `A signature` for "A signature needs the Python package ...".

    Raises:
        MissingRequirement: the module, or a library that it loads, is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        command = _INSTALL.get(module.partition(".")[0], "pip install --force-reinstall cosybuild")
        raise MissingRequirement(
            f"{purpose} needs the Python package '{module}', which does not load: {error}.",
            hint=f"Next: {command}",
        ) from error
