"""Escape text from elsewhere for the place where it is shown: a terminal, a shell command or Markdown.

Some names and messages come from bundles, models, remote stores and reports of other people. In such a text, a control
character could move the cursor, a newline could imitate another line, and a change of direction could reverse a name.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""The Unicode categories of characters that are escaped."""
_SPOKEN = "\u200c\u200d\u00ad"
"""Characters of these categories that are not escaped: joiners that some scripts need, and the soft hyphen."""

_SPECIAL = re.compile(r"[\\`*<]|\](?=[(\[])|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w+;)|~(?=~)")
"""The characters that begin markup in Markdown. Other underscores and brackets are not escaped, for readability."""

_LINE_START = re.compile(r"^(?:(?P<mark>[#>+\-=|\[])|(?P<number>\d+)(?P<stop>[.)]))")
"""The beginning of a line that Markdown reads as a heading, a quotation, a list or a table."""


class Markdown(str):
    """Text that is already Markdown, such as the result of `code`. `text` does not escape it again."""

    __slots__ = ()


def visible(text: str, keep: str = "\n\t") -> str:
    r"""Return text that is safe to print on a terminal: control characters and others become escapes such as `\x1b`.

    Args:
        text: the text.
        keep: characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep or not _is_unprintable(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    """Return the text on one line: the same as `visible`, but newlines and tabs also become escapes."""
    return visible(text, "")


def everywhere(value: Any) -> Any:
    """Return a copy of JSON data with `visible` applied to every text, including the names of fields."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): everywhere(inner) for name, inner in value.items()}
    return [everywhere(inner) for inner in value] if isinstance(value, list | tuple) else value


def shell(words: Iterable[str]) -> str:
    """Return the words of a command as one line to paste into bash or zsh; invisible characters become escapes."""
    return " ".join(_shell_word(word) for word in words)


def text(value: object) -> Markdown:
    """Return a value as text within a line of Markdown. Markup is escaped, unless the value is `Markdown` already."""
    return value if isinstance(value, Markdown) else Markdown(_SPECIAL.sub(r"\\\g<0>", one_line(str(value))))


def paragraph(value: str) -> Markdown:
    """Return text of one or more lines as one paragraph of Markdown, or one item of a list. Markup is escaped."""
    lines = (line.strip() for line in value.splitlines())
    return Markdown("\n".join(_LINE_START.sub(_harmless, text(line)) for line in lines if line))


def code(value: str) -> Markdown:
    """Return text as a code span of Markdown, on one line. Backticks in the text do not end the span."""
    line = one_line(value)
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    room = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return Markdown(f"{fence}{room}{line}{room}{fence}" if line else "` `")


def _harmless(match: re.Match[str]) -> str:
    r"""Return a match of `_LINE_START` with an escape that makes it plain text, e.g. `\#` for `#`, `1\.` for `1.`."""
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
    # Each byte has exactly three octal digits, so that the shell does not read a following digit as a part of it.
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
