"""Empty replacement classes for harmless objects in a checkpoint, so that torch can read the tensors beside them.

`torch.load(weights_only=True)` refuses a file with a class that it does not know. For the classes listed here, it gets
a replacement class that ignores its arguments. No code of the listed classes and no other code in the file runs, and
the packages of the classes need not be installed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

_HARMLESS = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|uuid\.UUID|decimal\.Decimal|fractions\.Fraction"
    r"|datetime\.(datetime|date|time|timedelta|timezone)"
    r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path"
    r"|numpy(\.core|\._core)?\.(multiarray\.(scalar|_reconstruct)|dtype|ndarray)"
    r"|collections\.(deque|defaultdict)"
    r"|builtins\.(list|dict|tuple|int|float|str|bool|bytes|frozenset|slice|range)"
    r"|omegaconf(\.\w+)+|typing\.Any|torch\.torch_version\.TorchVersion"
    r"|(pytorch_lightning|lightning|lightning_fabric)(\.\w+)*\.AttributeDict"
    r"|easydict\.EasyDict|addict\.(addict\.)?Dict|yacs\.config\.CfgNode"
    r"|deepspeed\.runtime\.fp16\.loss_scaler\.\w+"
)
_MAPPINGS = ("AttributeDict", "defaultdict", "EasyDict", "Dict", "CfgNode")
_SHOWN = {"multiarray.scalar": "numpy scalar", "multiarray._reconstruct": "numpy array"}
_UNSHOWN = re.compile(r"builtins\..*|numpy\.(dtype|ndarray)|typing\.Any")


class _Inert:
    """The base of replacement classes. It accepts any arguments and any state, and stores nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Mapping:
    """The base of the classes that replace subclasses of dict. A new object is an OrderedDict with all entries."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def stand_in(name: str) -> type | None:
    """Return a new replacement class if `name` is the full name of a harmless class, else None."""
    if _HARMLESS.fullmatch(name) is None:
        return None
    base = _Mapping if name.rpartition(".")[2] in _MAPPINGS else _Inert
    return type(name.rpartition(".")[2], (base,), {})


def skipped(names: list[str]) -> list[str]:
    """Return the names of the replaced classes, as the user sees them, sorted. Some need no mention and are left out.

    Args:
        names: the full names of the classes.
    """
    shown = {next((said for end, said in _SHOWN.items() if name.endswith(end)), name) for name in names}
    return sorted(name for name in shown if not _UNSHOWN.fullmatch(name))
