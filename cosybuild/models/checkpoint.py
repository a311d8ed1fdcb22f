"""Read from a weights file the tensors that a module needs, and check them. No code in the file is executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cosybuild.errors import CheckpointError
from cosybuild.models.weights.choice import choose
from cosybuild.models.weights.recognition import recognise_model
from cosybuild.models.weights.source import Source, open_weights
from cosybuild.printable import one_line

_PARTS = {"flow.pt": "the flow model (flow.pt)", "hift.pt": "the vocoder (hift.pt)"}
"""The network whose weights a file has, in words for error messages, by the usual name of the file."""

_SHOWN = 8


@dataclass(frozen=True)
class Weights:
    """The tensors of a module, read from a weights file.

    Attributes:
        tensors: name in the module -> tensor; floating-point tensors are finite and float32.
        notes: sentences for the user, e.g. about tensors that were converted to float32.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_weights(
    path: Path,
    wanted: Mapping[str, Tensor],
    prefixes: Sequence[str],
    *,
    spelled: Callable[[str], str] = str,
    file: str = "",
    foreign: tuple[str, ...] = (),
    asked: str | None = None,
) -> Weights:
    """Read the tensors that `wanted` names, and no others. A zip file is mapped into memory, not copied.

    Args:
        path: a safetensors file, a file written by `torch.save` with a state dict under any usual keys, or the index of
            sharded weights. The format is recognised by the content, not by the suffix.
        wanted: the module's state dict; its values may be on the meta device.
        prefixes: the prefixes that the names can have in a file with the weights of a larger model.
        spelled: converts a name in the file to the name in `wanted`; by default, the two are equal.
        file: the usual name of the file, for error messages; empty for a user's module.
        foreign: beginnings of names (after the prefix) that belong to other networks; such names are ignored.
        asked: the setting `model.weights_from`, which chooses one of several state dicts; None if it is not set.

    Raises:
        CheckpointError: the file cannot be read, contains more than tensors, or does not fit the module.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no weights file at {path}." if not path.exists() else f"{path} is not a file.",
            hint="Next: check model_dir or model.weights.",
        )
    with open_weights(path) as source:
        choice = choose(path, source.states, wanted, prefixes, spelled=spelled, asked=asked)
        if choice is None:
            raise _foreign(path, source, wanted, prefixes, file)
        present = {name: stored for name, stored in choice.names.items() if not name.startswith(foreign)}
        shapes = {name: source.shape(choice.place, full) for name, full in present.items() if name in wanted}
        _compare(path, present, shapes, wanted, file)
        casts = Counter[str]()
        tensors = {
            name: _float32(path, name, source.tensor(choice.place, present[name]), value, casts)
            for name, value in wanted.items()
        }
        return Weights(tensors, (*choice.notes, *_notes(path, source, casts)))


def _notes(path: Path, source: Source, casts: Mapping[str, int]) -> Iterator[str]:
    for dtype, count in casts.items():
        yield f"{count} tensors of {path.name} were converted from {dtype} to float32"
    if source.skipped:
        yield f"{path.name} also has objects that are no tensors, which were not read: {', '.join(source.skipped)}"


def _foreign(
    path: Path, source: Source, wanted: Mapping[str, Tensor], prefixes: Sequence[str], file: str
) -> CheckpointError:
    """Return the error for a file that contains none of the tensors in `wanted`."""
    names = [f"{place}.{name}" if place else name for place, state in source.states.items() for name in state]
    tops = Counter(one_line(".".join(name.split(".")[:2])) for name in names)
    listing = ", ".join(f"{top}.* ({count})" for top, count in tops.most_common(_SHOWN)) or "no tensors at all"
    begin = f"no name starts with '{prefixes[0]}', and " if prefixes[0] else ""
    part = _PARTS.get(file, "the module that model.target names")
    return CheckpointError(
        f"{path} has no weights of this model: {begin}none is among the {len(wanted)} expected names, such as "
        f"'{next(iter(wanted), '')}'. It has {listing}.{_of_other_model(names, wanted)}",
        hint=f"Next: give the weights of {part}{', of the same version as its yaml' if file else ''}.",
    )


def _of_other_model(names: Collection[str], wanted: Collection[str]) -> str:
    """Return a sentence that names the model with these tensor names; empty if it is the wanted model or unknown."""
    found = recognise_model(names)
    return "" if found is None or found == recognise_model(wanted) else f" These are weights of {found}."


def _compare(
    path: Path,
    present: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, Tensor],
    file: str,
) -> None:
    misshaped = [
        f"{name}: {shapes[name]}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in shapes and shapes[name] != tensor.shape
    ]
    missing = [name for name in wanted if name not in present]
    unexpected = [name for name in present if name not in wanted]
    if not misshaped and not missing and not unexpected:
        return
    parts = [f"{path} does not fit the model.{_of_other_model(present, wanted)}"]
    for title, entries in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped)):
        if entries:
            more = [f"... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
            # Names come from the file. A line feed in a name would begin a new line of the message.
            shown = [*map(one_line, entries[:_SHOWN]), *more]
            parts.append(f"{len(entries)} {title}:\n    " + "\n    ".join(shown))
    raise CheckpointError("\n  ".join(parts), hint=_hint(unexpected, shapes, wanted, file))


def _hint(
    unexpected: Sequence[str], shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Tensor], file: str
) -> str:
    if any("lora" in name.lower() for name in unexpected):
        return "Next: merge the adapter into the weights first (peft: merge_and_unload)."
    if shapes and all(shape == (0,) != wanted[name].shape for name, shape in shapes.items()):
        return "Next: join the parts that DeepSpeed ZeRO-3 wrote: python zero_to_fp32.py . weights.pt"
    if recognise_model(unexpected) not in (None, recognise_model(wanted)):
        return "Next: give the weights and the yaml of the same version."
    if not file:
        return "Next: compare the arguments of model.target with those of the training."
    return "Next: compare the hyper-parameters in the model directory's yaml with those of the training."


def _float32(path: Path, name: str, tensor: Tensor, wanted: Tensor, casts: Counter[str]) -> Tensor:
    """Check the type and the values of a tensor, and return it; a floating-point tensor is converted to float32.

    `casts` counts the converted tensors by their original type.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_floating_point() != wanted.is_floating_point():
        raise CheckpointError(
            f"{path}: '{name}' is {dtype}; {str(wanted.dtype).removeprefix('torch.')} is expected.",
            hint="Next: give weights that are not quantized; cosybuild lowers the precision itself (precision=...).",
        )
    if not tensor.is_floating_point():
        return tensor
    try:
        cast = tensor.to(torch.float32)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: '{name}' is {dtype}, which cannot be converted to float32.",
            hint="Next: give weights that are not quantized; cosybuild lowers the precision itself (precision=...).",
        ) from error
    faulty = int((~torch.isfinite(cast)).sum())
    if faulty:
        raise CheckpointError(
            f"{path}: {faulty} of {tensor.numel()} values in '{name}' {'is' if faulty == 1 else 'are'} NaN or "
            "infinite.",
            hint="Next: use an earlier checkpoint; the training diverged, or the file is damaged.",
        )
    if tensor.dtype is not torch.float32:
        casts[dtype] += 1
    return cast
