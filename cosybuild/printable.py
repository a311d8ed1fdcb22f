"""Foreign text made harmless for where it is shown: one function for the terminal, the shell and Markdown each.

Names and reasons come from bundles, models, remote stores and reports of other people. A control character in one could
move the cursor, a newline could imitate another line, a change of direction could show a name backwards.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_SPOKEN = "\u200c\u200d\u00ad"
"""Joiners that some scripts are written with, and the soft hyphen; they neither hide nor reorder anything."""

_SPECIAL = re.compile(r"[\\`*<]|\](?=[(\[])|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w+;)|~(?=~)")
"""What begins markup in Markdown. An underscore or a bracket that begins none stays, for text that reads well."""

_LINE_START = re.compile(r"^(?:(?P<mark>[#>+\-=|\[])|(?P<number>\d+)(?P<stop>[.)]))")


class Markdown(str):
    """Text that is Markdown already, as `code` gives it; `table` escapes every other text."""

    __slots__ = ()


def visible(text: str, keep: str = "\n\t") -> str:
    """Return the text for a terminal: what would control it or reorder it becomes an escape such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char in keep or not _is_unprintable(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    """Return the same for a place that has room for one line: a newline becomes an escape too."""
    return visible(text, "")


def everywhere(value: Any) -> Any:
    """Return JSON data whose texts are `visible`, names of fields included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): everywhere(inner) for name, inner in value.items()}
    return [everywhere(inner) for inner in value] if isinstance(value, list | tuple) else value


def shell(words: Iterable[str]) -> str:
    """Return words as a line that a person may paste into bash or zsh, without any character that they cannot see."""
    return " ".join(_shell_word(word) for word in words)


def text(value: object) -> Markdown:
    """Return text for a place within a line of Markdown, in which nothing is markup."""
    return value if isinstance(value, Markdown) else Markdown(_SPECIAL.sub(r"\\\g<0>", one_line(str(value))))


def paragraph(value: str) -> Markdown:
    """Return text that may have several lines as one paragraph or item of a list, in which nothing is markup."""
    lines = (line.strip() for line in value.splitlines())
    return Markdown("\n".join(_LINE_START.sub(_harmless, text(line)) for line in lines if line))


def code(value: str) -> Markdown:
    """Return a code span; no backtick in the text can end it."""
    line = one_line(value)
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    room = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return Markdown(f"{fence}{room}{line}{room}{fence}" if line else "` `")


def _harmless(match: re.Match[str]) -> str:
    """Escape what makes a heading, a quotation or a list of a line; a digit takes no backslash, its full stop does."""
    return f"\\{match['mark']}" if match["mark"] else f"{match['number']}\\{match['stop']}"


def _is_unprintable(char: str) -> bool:
    return char not in _SPOKEN and unicodedata.category(char) in _UNPRINTABLE


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _shell_word(word: str) -> str:
    if not any(map(_is_unprintable, word)):
        return shlex.quote(word)
    return "$'" + "".join(_ansi_c(char) for char in word) + "'"


def _ansi_c(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if not _is_unprintable(char):
        return char
    # Octal digits of each byte, always three: a digit that follows is not taken in.
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
