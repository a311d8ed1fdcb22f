"""cosybuild: a declarative build system for deployable neural networks.

`build`, `plan` and `sweep` are the Python API (docs/howto/python-api.md), and `Settings` is its typed configuration.
They are imported when they are first used, so that `import cosybuild` and the start of a command stay fast.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing is not imported at run time
    from cosybuild.api.commands import build, plan, sweep
    from cosybuild.config.settings import Settings

__all__ = ["Settings", "__version__", "build", "plan", "sweep"]

_PLACES = dict.fromkeys(("build", "plan", "sweep"), "cosybuild.api.commands")
_PLACES["Settings"] = "cosybuild.config.settings"


def __getattr__(name: str) -> object:
    """Import a name of the API when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module 'cosybuild' has no attribute '{name}'")
    import importlib

    value: object = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
