"""Cache keys made of named parts. The parts in which two keys differ are the reasons of a rebuild."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"

# The separators of names and indices in a dotted path, and the escape character.
_ESCAPED = re.compile(r"[.\[\\]")
_BACKSLASH = r"\\\g<0>"
_PLAIN = re.compile(r"\\([.\[\\])")
_DIGEST = re.compile(r'"?([0-9a-f]{32}|[0-9a-f]{64})"?')


@dataclass(frozen=True)
class Reason:
    """One named part in which two keys differ, e.g. `settings.opset: 17 -> 18`."""

    part: str
    old: str
    new: str

    def __str__(self) -> str:
        part = _PLAIN.sub(r"\1", self.part)
        return f"{part}: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True)
class CacheKey:
    """Everything that the result of a step depends on.

    Attributes:
        stage: the stage's name, e.g. `export`.
        parts: name of a part -> its value as text. Names are dotted paths that begin with `stage.`, `settings.`,
            `input.` or `environment.`.
    """

    stage: str
    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The sha256 of the stage's name and the parts. The order of the parts does not matter."""
        text = json.dumps([self.stage, sorted(self.parts.items())], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def diff(self, old: CacheKey) -> tuple[Reason, ...]:
        """Return the parts in which this key differs from the key `old`, sorted by name."""
        names = sorted(set(self.parts) | set(old.parts))
        pairs = ((n, old.parts.get(n, ABSENT), self.parts.get(n, ABSENT)) for n in names)
        return tuple(Reason(name, was, now) for name, was, now in pairs if was != now)


def flatten(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield `(dotted name, text)` for every leaf of a tree of mappings, sequences and scalars.

    Different trees give different pairs. An empty mapping or sequence is a leaf. Text is quoted, so that the string "1"
    differs from the number 1. A dot or bracket in a name is escaped, so that `{"a[0]": 1}` differs from `{"a": [1]}`.
    Only a list and a tuple with the same items give the same pairs.

    Args:
        prefix: the beginning of every name.
        value: the tree.

    Raises:
        TypeError: a leaf is none of str, bool, int, float and None, or a name is not a str. Both are defects of the
            stage.
    """
    if isinstance(value, Mapping) and value:
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{prefix}: the name {name!r} is a {type(name).__name__}; a key's names are text")
        for name in sorted(value):
            yield from flatten(f"{prefix}.{_ESCAPED.sub(_BACKSLASH, name)}", value[name])
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from flatten(f"{prefix}[{index}]", item)
    elif isinstance(value, (Mapping, list, tuple)):
        yield prefix, "{}" if isinstance(value, Mapping) else "[]"
    elif value is None or isinstance(value, (str, bool, int, float)):
        yield prefix, json.dumps(value, ensure_ascii=False)
    else:
        raise TypeError(f"{prefix}: {value!r} is a {type(value).__name__}; a key holds plain data only")


def _short(text: str, limit: int = 60) -> str:
    if (digest := _DIGEST.fullmatch(text)) is not None:
        return digest[1][:12]
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
