"""Find the files with a model's weights: one file, or an index and its shards. This module imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cosybuild.errors import CheckpointError
from cosybuild.filename import fault_of

INDEX_SUFFIX = ".index.json"

_USUAL = ("model.safetensors", "pytorch_model.bin", "mp_rank_00_model_states.pt", "flow.pt", "flow.safetensors")
"""Usual names of files with all weights of a model, the preferred name first."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_MAX_INDEX_BYTES = 2**26
_SHOWN = 8


def weights_parts(path: Path) -> tuple[Path, ...]:
    """Return the files with the weights: a single file, or an index followed by its shards in the same directory.

    Args:
        path: a weights file, an index (`*.index.json`), or a directory that a trainer wrote.

    Raises:
        CheckpointError: the path does not exist, the directory has no weights or several files of weights, or the index
            is damaged or names a missing file.
    """
    if path.is_dir():
        path = _of_directory(path)
    if not path.is_file():
        raise CheckpointError(
            f"There is no weights file at {path}.", hint="Next: give a .pt or .safetensors file, or a directory."
        )
    if not path.name.endswith(INDEX_SUFFIX):
        return (path,)
    shards = tuple(path.parent / name for name in sorted(set(read_index(path).values())))
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(
                f"{path} names {shard.name}, which is not beside it.",
                hint="Next: download all files that the index names.",
            )
    return (path, *shards)


def read_index(path: Path) -> dict[str, str]:
    """Read an index of sharded weights: name of a tensor -> name of the file that contains it.

    Raises:
        CheckpointError: the file is not such an index, or it names a file outside its directory.
    """
    again = "Next: download it again, or compare it with the original."
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError(f"it has more than {_MAX_INDEX_BYTES:,} bytes")
        document: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as an index of weights: {error}.", hint=again) from error
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise CheckpointError(f"{path} has no weight_map of names and files.", hint=again)
    for file in found.values():
        if (fault := fault_of(file)) is not None or file.endswith(INDEX_SUFFIX):
            why = fault or "is that of another index"
            raise CheckpointError(
                f"{path} names the file {file[:300]!a}; a name without a directory is expected, and this one {why}.",
                hint=again,
            )
    return found


def _of_directory(path: Path) -> Path:
    """Return the weights file or the index in a directory that Hugging Face, DeepSpeed or another trainer wrote.

    Raises:
        CheckpointError: the directory has no weights, several weights files, or only a distributed checkpoint.
    """
    entries = sorted(entry for entry in path.iterdir() if entry.is_file())
    indices = [
        entry for entry in entries if entry.name.endswith((f".safetensors{INDEX_SUFFIX}", f".bin{INDEX_SUFFIX}"))
    ]
    usual = [path / name for name in _USUAL if (path / name).is_file()]
    # DeepSpeed stores the optimizer's states beside the weights, one file for each process.
    others = [e for e in entries if e.suffix in _SUFFIXES and not e.name.endswith("_optim_states.pt")]
    if any(entry.suffix == ".distcp" for entry in entries):
        raise CheckpointError(
            f"{path} is a distributed checkpoint of torch (.distcp files), which cosybuild does not read.",
            hint=f"Next: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} weights.pt, then "
            "model.weights=weights.pt.",
        )
    for found in (indices, usual[:1], others):
        if len(found) == 1:
            return found[0]
        if found:
            raise _several(path, found)
    latest = path / "latest"
    if latest.is_file() and latest.stat().st_size < 256:
        tag = latest.read_text("utf-8", errors="replace").strip()
        if Path(tag).name == tag and tag not in ("", ".", "..") and (path / tag).is_dir():
            return _of_directory(path / tag)
    shown = ", ".join(entry.name for entry in sorted(path.iterdir())[:_SHOWN])
    raise CheckpointError(
        f"The directory {path} has no weights (files with {', '.join(_SUFFIXES)}). It has: {shown or 'nothing'}.",
        hint="Next: model.weights=FILE, or a directory with weights.",
    )


def _several(path: Path, found: list[Path]) -> CheckpointError:
    names = [entry.name for entry in found]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return CheckpointError(
        f"The directory {path} has several weights files: {shown}.", hint=f"Next: model.weights={found[0]}, or another."
    )
