"""Choose a state dict in a weights file, and remove from its names the prefixes that trainers add."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosybuild.errors import CheckpointError
from cosybuild.printable import one_line

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Parts of names that DistributedDataParallel, torch.compile, FSDP, checkpointing and Lightning Fabric insert."""

CONTAINERS = frozenset(
    (*WRAPPERS, "state_dict", "model", "model_state_dict", "model_state", "net", "network", "generator", "weights")
) | {"params", "parameters", "flow", "student", "online_model", "ema", "ema_model", "model_ema", "ema_state_dict"} | {
    "state_dict_ema", "ema_weights", "ema_params", "shadow", "averaged_model", "swa_model", "teacher",
}  # fmt: skip
"""Usual keys of state dicts, and usual attributes that hold a model; they need no setting `model.weights_from`."""

_COUNTERS = ("n_averaged", "initted", "step", "epoch", "global_step", "num_updates")
"""Names of tensors that trainers and weight averaging store in a state dict beside the model's tensors."""

_AVERAGES = re.compile(r"(.*[._])?(ema|shadow|swa|averaged|teacher)([._].*)?")


@dataclass
class Candidate:
    """A group of tensors that may be the weights: their names are a common prefix and then a name of the model.

    Attributes:
        place: the keys that lead to the state dict in the file, joined by dots; empty if it is the whole content.
        prefix: the common prefix, without `WRAPPERS`; it is empty or ends with a dot.
        outer: the beginnings of `prefix` that remain if one of the network's usual prefixes is removed from its end.
        names: name in the model -> name in the state dict.
        double: two names in the state dict that stand for the same name in the model; None if there are none.
    """

    place: str
    prefix: str
    outer: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    double: tuple[str, str] | None = None

    @property
    def labels(self) -> list[str]:
        """The values of the setting `model.weights_from` that choose this candidate, the shortest first."""
        return [_joined(self.place, part) for part in (*self.outer, self.prefix)]

    @property
    def is_usual(self) -> bool:
        """True if the candidate can be chosen without `model.weights_from`, because trainers usually use such names."""
        return any(set(label.split(".")) <= CONTAINERS for label in self.labels[:-1] if label) or "" in self.labels[:-1]

    @property
    def is_average(self) -> bool:
        """True if the name of the candidate says that it is a moving average of the weights, such as `ema`."""
        return _AVERAGES.fullmatch(self.labels[0]) is not None


@dataclass(frozen=True)
class Choice:
    """The tensors that were chosen from a weights file.

    Attributes:
        place: the keys that lead to the state dict in the file, joined by dots.
        names: for every tensor with the chosen prefix, its name without the prefix and wrappers -> its name in the
            state dict. It can contain names that the model does not have.
        notes: sentences for the user, e.g. about the state dict that was chosen.
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
    """Choose the tensors of a weights file that a model needs; return None if the file has none of them.

    The candidate with the largest number of wanted names is chosen. If several have the same number, a candidate that
    is not a moving average is preferred, and then the first one in the file. A note names the others.

    Args:
        path: the file, for error messages.
        states: the names of the tensors of each state dict in the file, as in `Source.states`.
        wanted: the names of the model's tensors.
        prefixes: possible prefixes of these names in a file with the weights of a larger model.
        spelled: converts a name in the file to the name in `wanted`; by default, the two are equal.
        asked: the setting `model.weights_from`, the path or the prefix of a candidate; None if it is not set.

    Raises:
        CheckpointError: `asked` fits no candidate, the only complete candidate has an unusual name, or two tensors
            stand for the same name of the model.
    """
    # A part of a name is not a wrapper if it occurs in a name of the model.
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
