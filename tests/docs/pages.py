"""Parsing of the pages: the commands and files that they ask a reader for.

Fenced blocks of language `sh` are commands. A comment on the line before a block marks special blocks:

    <!-- not run: REASON -->   the block cannot run in a test; REASON is one of `REASONS`
    <!-- ends with: N -->      its last command ends with this exit code
    <!-- file: PATH -->        the block is a file that the reader is asked to write
    <!-- needs: MODULE -->     the block runs only if MODULE, from an extra, is installed
    <!-- printed -->           the commands so far have printed the block, apart from figures and digests
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosybuild.lazy import is_installed

ROOT = Path(__file__).parents[2]
REASONS = (
    "needs a GPU",
    "needs a processor with AVX512-BF16",
    "needs a Slurm cluster",
    "needs a Ray cluster",
    "needs tritonserver",
    "needs the network",
    "needs a terminal",
    "needs root",
    "needs the extra `sign`",
    "builds at full size",
    "takes too long",
    "CI runs it",
    "sets up the reader's machine",
    "names a file that the reader has",
)
"""The permitted reasons not to run a block."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>[a-z ]+?)(?:: (?P<said>[^\n]*?))? -->\n+(?P=indent))?"
    r"```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)
_MARKS = ("", "not run", "ends with", "file", "needs", "printed")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: the line at which its text begins, from 1.
        mark, said: the mark and the text of the comment before it; empty if there is none.
    """

    line: int
    language: str
    text: str
    mark: str
    said: str

    @property
    def is_run(self) -> bool:
        if self.language != "sh" or self.mark == "not run":
            return False
        return self.mark != "needs" or is_installed(self.said)


def pages() -> list[Path]:
    """Yield every page with commands, except README.zh-CN.md, which has those of README.md."""
    top = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*top, *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/*/README.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["text"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(line, match["language"].strip(), body, match["mark"] or "", (match["said"] or "").strip()))
    return found


def script(found: list[Block]) -> str:
    """Return a shell script that runs the blocks and ends at the first error."""
    return "set -eu\n" + "".join(map(_part, found))


def _part(block: Block) -> str:
    if block.mark == "file":
        path, text = shlex.quote(block.said), shlex.quote(block.text)
        return f'mkdir -p "$(dirname {path})"\nprintf %s {text} > {path}\n'
    if not block.is_run:
        return ""
    if block.mark == "ends with":
        told = f'echo "line {block.line}: ended with $code, expected {block.said}" >&2'
        return f"set +e\n{block.text}code=$?\nset -e\ntest $code -eq {block.said} || {{ {told}; exit 99; }}\n"
    return block.text


def faults(page: Path) -> Iterator[str]:
    """Return the command blocks of a page that would not be run."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        if not block.language:
            yield f"{where}: a block without a language"
        if block.mark not in _MARKS:
            yield f"{where}: no mark is called '{block.mark}'"
        if block.mark == "not run" and block.said.partition(",")[0] not in REASONS:
            yield f"{where}: '{block.said}' is no reason that is known ({', '.join(REASONS)})"
        if block.mark in ("not run", "needs", "ends with") and block.language != "sh":
            yield f"{where}: '{block.mark}' stands before a block that is not sh"
        if block.language in ("bash", "shell", "console"):
            yield f"{where}: commands are in blocks of language sh"
    plain = _FENCE.sub("", text)
    for line in plain.splitlines():
        if re.match(r" {4,}(\$ )?(python|pip|cosybuild) ", line):
            yield f"{name_of(page)}: a command outside a block of language sh: {line.strip()}"


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `python -m cosybuild` of every command within a sentence."""
    for command in re.findall(r"`python -m cosybuild ([^`]+)`", _FENCE.sub("", page.read_text(encoding="utf-8"))):
        yield shlex.split(command)


def comparable(text: str) -> str:
    """Return text without machine-dependent parts: figures, digests, widths of columns."""
    text = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,64}\b", "DIGEST", text)
    text = re.sub(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", "0", text)
    text = re.sub(r"\b0 (?:h|min|ms|s)\b(?: 0 (?:min|s)\b)?", "TIME", text)
    text = re.sub(r"\b0 [kMGT]?B\b", "SIZE", text)
    return re.sub(r"[ \t]+", " ", text)
