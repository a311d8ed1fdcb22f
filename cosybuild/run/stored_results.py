"""Descriptions of stored results: the model and the options of each, from its key and the keys of its inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cosybuild.store.entry import Entry

_FAMILY, _FILE = "settings.family", "settings.file"
_OPTIONS = {
    "settings.opset": "opset",
    "settings.streaming": "streaming",
    "settings.target": "precision",
    "settings.precision": "precision",
    "settings.flavour": "library",
    "settings.sm": "sm",
    "settings.mode": "verify",
}
"""The parts of keys that stand for an option of the user, and the word that is printed for each."""

_ENDING = re.compile(r"\.((fp32|tf32|fp16|bf16|mixed)\b.*|onnx)$")
"""The suffix that follows the name of the network in the file name of an artifact, such as `.fp16.onnx`."""

_SILENT = ("null", "false", "")


@dataclass(frozen=True)
class Description:
    """The model and the options of a stored result; a text is empty if no key states it.

    Attributes:
        model: the family of the model and the stem of the network's files.
        options: the options that changed the result, e.g. `opset=18 precision=fp16`.
    """

    model: str
    options: str


def describe(entries: Iterable[Entry]) -> dict[str, Description]:
    """Return digest of the key -> description, for every entry of a store.

    The key of an entry has only the settings of its own step. The settings of earlier steps are in the keys of the
    entries that made the inputs. These entries are found by the digests of the inputs, if the store still has them.
    """
    known = list(entries)
    makers = {artifact.digest: entry for entry in known for artifact in entry.outputs.values()}
    facts: dict[str, Mapping[str, str]] = {}
    return {entry.key.digest: _description(_facts(entry, makers, facts)) for entry in known}


def made_at(entry: Entry) -> float | None:
    """Return the time at which a result was built, in seconds since the epoch; None if the entry does not state it."""
    try:
        return datetime.fromisoformat(str(entry.made.get("at"))).timestamp()
    except ValueError:
        return None


def _facts(entry: Entry, makers: Mapping[str, Entry], known: dict[str, Mapping[str, str]]) -> Mapping[str, str]:
    """Return the facts of an entry and of the entries that made its inputs; later steps replace earlier facts."""
    if entry.key.digest in known:
        return known[entry.key.digest]
    known[entry.key.digest] = {}  # in a damaged store, entries can depend on each other in a cycle
    found: dict[str, str] = {}
    for name, value in sorted(entry.key.parts.items()):
        maker = makers.get(value) if name.startswith("input.") else None
        if maker is not None:
            found |= _facts(maker, makers, known)
    found |= dict(_own(entry))
    known[entry.key.digest] = found
    return found


def _own(entry: Entry) -> Iterator[tuple[str, str]]:
    for part, value in entry.key.parts.items():
        if part in (_FAMILY, _FILE) or (part in _OPTIONS and value not in _SILENT):
            yield _OPTIONS.get(part, part), _plain(value)


def _plain(value: str) -> str:
    """Return the value of a part of a key as text; remove the quotes of a JSON string."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def _description(facts: Mapping[str, str]) -> Description:
    network = _ENDING.sub("", facts.get(_FILE, ""))
    words = dict.fromkeys(word for word in _OPTIONS.values() if word in facts)
    model = " ".join(part for part in (facts.get(_FAMILY, ""), network) if part)
    return Description(model, " ".join(f"{word}={facts[word]}" for word in words))
