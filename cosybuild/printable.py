"""Escaping of foreign text for the place where it is shown: the terminal, the shell or Markdown.

Names and reasons come from bundles, models, remote stores and reports of other people. In such a text a control
character could move the cursor, a newline could imitate another line, a change of direction could reverse a name.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_SPOKEN = "\u200c\u200d\u00ad"
"""Joiners that some scripts need, and the soft hyphen; they neither hide nor reorder anything."""

_SPECIAL = re.compile(r"[\\`*<]|\](?=[(\[])|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w+;)|~(?=~)")
"""The beginnings of markup in Markdown. Other underscores and brackets are not escaped, for readability."""

_LINE_START = re.compile(r"^(?:(?P<mark>[#>+\-=|\[])|(?P<number>\d+)(?P<stop>[.)]))")


class Markdown(str):
    """Text that is Markdown already, as `code` returns it; `table` escapes every other text."""

    __slots__ = ()


def visible(text: str, keep: str = "\n\t") -> str:
    r"""Return the text for a terminal; characters that control it or reorder text become escapes such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char in keep or not _is_unprintable(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    """Return the text for a place with room for one line: like `visible`, but a newline becomes an escape too."""
    return visible(text, "")


def everywhere(value: Any) -> Any:
    """Return JSON data with `visible` applied to every text, including the names of fields."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): everywhere(inner) for name, inner in value.items()}
    return [everywhere(inner) for inner in value] if isinstance(value, list | tuple) else value


def shell(words: Iterable[str]) -> str:
    """Return words as a line to paste into bash or zsh, without invisible characters."""
    return " ".join(_shell_word(word) for word in words)


def text(value: object) -> Markdown:
    """Return text for a place within a line of Markdown; markup in it is escaped."""
    return value if isinstance(value, Markdown) else Markdown(_SPECIAL.sub(r"\\\g<0>", one_line(str(value))))


def paragraph(value: str) -> Markdown:
    """Return text of one or more lines as one paragraph or item of a list; markup in it is escaped."""
    lines = (line.strip() for line in value.splitlines())
    return Markdown("\n".join(_LINE_START.sub(_harmless, text(line)) for line in lines if line))


def code(value: str) -> Markdown:
    """Return a code span; no backtick in the text can end it."""
    line = one_line(value)
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    room = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return Markdown(f"{fence}{room}{line}{room}{fence}" if line else "` `")


def _harmless(match: re.Match[str]) -> str:
    """Escape the beginning of a heading, quotation or list; in a numbered list, escape the full stop."""
    return f"\\{match['mark']}" if match["mark"] else f"{match['number']}\\{match['stop']}"


def _is_unprintable(char: str) -> bool:
    if char in _SPOKEN:
        return False
    # XML cannot contain U+FFFE and U+FFFF, and no text uses the other noncharacters.
    is_noncharacter = ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF
    return is_noncharacter or unicodedata.category(char) in _UNPRINTABLE


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
    # Always three octal digits for each byte, so that a digit that follows is not read as a part of it.
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
