"""Inert stand-ins for harmless objects beside tensors in a checkpoint, so that torch can read the rest.

`torch.load(weights_only=True)` refuses every class that it does not know. For the classes listed here it gets a
stand-in that ignores its arguments, so neither their code nor any other code of the file runs, and their packages need
not be installed.
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
    """The base of stand-ins; it takes any arguments and any state, and keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Mapping:
    """The stand-in of subclasses of dict: a plain dict, whose entries are read."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def stand_in(name: str) -> type | None:
    """Return a new inert class if the class with this full name is harmless, else None."""
    if _HARMLESS.fullmatch(name) is None:
        return None
    base = _Mapping if name.rpartition(".")[2] in _MAPPINGS else _Inert
    return type(name.rpartition(".")[2], (base,), {})


def skipped(names: list[str]) -> list[str]:
    """Return the classes that stand-ins replaced, as sorted texts for the user."""
    shown = {next((said for end, said in _SHOWN.items() if name.endswith(end)), name) for name in names}
    return sorted(name for name in shown if not _UNSHOWN.fullmatch(name))
