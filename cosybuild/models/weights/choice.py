"""The choice of a state dict in a checkpoint, and the names of its tensors without the prefixes of trainers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosybuild.errors import CheckpointError
from cosybuild.printable import one_line

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Segments that DistributedDataParallel, torch.compile, FSDP, activation checkpointing and Lightning Fabric add."""

CONTAINERS = frozenset(
    (*WRAPPERS, "state_dict", "model", "model_state_dict", "model_state", "net", "network", "generator", "weights")
) | {"params", "parameters", "flow", "student", "online_model", "ema", "ema_model", "model_ema", "ema_state_dict"} | {
    "state_dict_ema", "ema_weights", "ema_params", "shadow", "averaged_model", "swa_model", "teacher",
}  # fmt: skip
"""Names of state dicts, and of the attributes that hold a model, which are understood without a setting."""

_COUNTERS = ("n_averaged", "initted", "step", "epoch", "global_step", "num_updates")
"""Tensors that averaging and training put beside a model's own."""

_AVERAGES = re.compile(r"(.*[._])?(ema|shadow|swa|averaged|teacher)([._].*)?")


@dataclass
class Candidate:
    """The tensors of a state dict whose names are one prefix followed by a name of the model.

    Attributes:
        place: the keys that lead to the state dict in the file, joined by dots.
        prefix: the prefix without names of wrappers; it is empty or ends with a dot.
        outer: shorter prefixes, shortest first; each is `prefix` without an ending that is a prefix of whole models.
        names: name in the model -> name in the state dict.
        double: two names in the state dict for the same name in the model, if there are any.
    """

    place: str
    prefix: str
    outer: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    double: tuple[str, str] | None = None

    @property
    def labels(self) -> list[str]:
        """The values of `model.weights_from` that choose this candidate, the shortest first."""
        return [_joined(self.place, part) for part in (*self.outer, self.prefix)]

    @property
    def is_usual(self) -> bool:
        """True if the candidate can be chosen without the setting, because trainers usually write such labels."""
        return any(set(label.split(".")) <= CONTAINERS for label in self.labels[:-1] if label) or "" in self.labels[:-1]

    @property
    def is_average(self) -> bool:
        """True for a moving average of the weights."""
        return _AVERAGES.fullmatch(self.labels[0]) is not None


@dataclass(frozen=True)
class Choice:
    """The chosen tensors.

    Attributes:
        place: the keys that lead to their state dict in the file, joined by dots.
        names: name without prefix and wrappers -> name in the state dict, for all tensors with the prefix.
        notes: notes for the user.
    """

    place: str
    names: Mapping[str, str]
    notes: tuple[str, ...]


def choose(
    path: Path,
    states: Mapping[str, Sequence[str]],
    wanted: Collection[str],
    prefixes: Sequence[str],
    *,
    spelled: Callable[[str], str] = str,
    asked: str | None = None,
) -> Choice | None:
    """Return the tensors of a file that a model needs; None if the file has none of them.

    The candidate with the largest number of wanted names is chosen. If several candidates have this number, weights are
    preferred to a moving average of them, and then the first candidate in the file is chosen; a note names the others.

    Args:
        path: the file, for messages.
        states: path of a state dict in the file, see `Source.states` -> names of its tensors.
        wanted: the model's names.
        prefixes: possible prefixes of these names in a file of the whole model.
        spelled: maps a name in the file to the spelling of `wanted`.
        asked: the setting `model.weights_from`: the path of the state dict, or the prefix, to choose.

    Raises:
        CheckpointError: `asked` fits no candidate, or two tensors have the same name.
    """
    # A segment is not a wrapper if it occurs in a name of the model.
    wrappers = set(WRAPPERS) - {segment for name in wanted for segment in name.split(".")}
    found = list(_candidates(states, set(wanted), prefixes, spelled, wrappers))
    usual = [one for one in found if one.is_usual]
    if asked is not None:
        usual = [one for one in found if asked.strip(".") in one.labels]
        if not usual:
            raise CheckpointError(
                f"model.weights_from={asked}: {path} has no weights of this model there.", hint=_hint(found)
            )
    if not usual:
        complete = [one for one in found if len(one.names) == len(wanted)]
        if not complete:
            return None
        raise CheckpointError(
            f"{path} has the weights of this model only under the unusual prefix '{complete[0].labels[0]}'.",
            hint=_hint(complete),
        )
    most = max(len(one.names) for one in usual)
    best = sorted((one for one in usual if len(one.names) == most), key=lambda one: one.is_average)
    chosen = best[0]
    if chosen.double is not None:
        raise CheckpointError(
            f"{path} has two tensors for one name of the model: {' and '.join(map(one_line, chosen.double))}.",
            hint="Next: save the state dict of one model only: torch.save(model.state_dict(), path).",
        )
    pairs = ((_unwrapped(spelled(name), wrappers), name) for name in states[chosen.place])
    names = {name.removeprefix(chosen.prefix): stored for name, stored in pairs if name.startswith(chosen.prefix)}
    names = {name: stored for name, stored in names.items() if name in wanted or name not in _COUNTERS}
    return Choice(chosen.place, names, tuple(_notes(path, chosen, best[1:], names.values(), wrappers)))


def _candidates(
    states: Mapping[str, Sequence[str]],
    wanted: set[str],
    prefixes: Sequence[str],
    spelled: Callable[[str], str],
    wrappers: set[str],
) -> Iterator[Candidate]:
    for place, names in states.items():
        found: dict[str, Candidate] = {}
        for stored in names:
            segments = _unwrapped(spelled(stored), wrappers).split(".")
            for index in range(len(segments)):
                outer, rest = ".".join(segments[:index]), ".".join(segments[index:])
                for prefix in prefixes:
                    name = rest.removeprefix(prefix)
                    if not rest.startswith(prefix) or name not in wanted:
                        continue
                    whole = f"{outer}.{prefix}" if outer else prefix
                    one = found.setdefault(whole, Candidate(place, whole))
                    if outer not in one.outer:
                        one.outer.append(outer)
                    if (first := one.names.setdefault(name, stored)) != stored:
                        one.double = (first, stored)
        yield from found.values()


def _unwrapped(name: str, wrappers: set[str]) -> str:
    return ".".join(segment for segment in name.split(".") if segment not in wrappers)


def _joined(place: str, prefix: str) -> str:
    return ".".join(part for part in (place, prefix.rstrip(".")) if part)


def _hint(found: Sequence[Candidate]) -> str:
    labels = list(dict.fromkeys(one.labels[0] for one in sorted(found, key=lambda one: -len(one.names))))
    labels = [label for label in labels if label][:4]
    if not labels:
        return "Next: remove model.weights_from."
    others = f" (or {', or '.join(labels[1:])})" if labels[1:] else ""
    return f"Next: model.weights_from={labels[0]}{others}."


def _notes(
    path: Path, chosen: Candidate, others: Sequence[Candidate], stored: Collection[str], wrappers: set[str]
) -> Iterator[str]:
    label = chosen.labels[0]
    if label:
        average = ", a moving average," if chosen.is_average else ""
        yield f"the weights of this model{average} are those under '{label}' of {path.name}"
    if others:
        names = " and ".join(f"'{other.labels[0]}'" for other in others)
        yield (
            f"{path.name} has complete weights of this model also under {names}; model.weights_from="
            f"{others[0].labels[0]} takes those"
        )
    removed = Counter(segment for name in stored for segment in set(name.split(".")) & wrappers)
    for segment, count in removed.items():
        yield f"'{segment}.' was removed from the names of {count} tensors of {path.name}"
