"""Events, errors and tables print foreign names as text."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from cosybuild.building.events import Event
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.failure import present
from cosybuild.cli.flags import Volume
from cosybuild.cli.printed import Terminal, say

ROOT = Path(__file__).parents[2]
HOSTILE = "[red]x[/red]\x1b[2J\u202ey\r :warning: [link=file:///etc/passwd]z[/link]"
SHOWN = r"[red]x[/red]\x1b[2J\u202ey\r :warning: [link=file:///etc/passwd]z[/link]"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("wrap", [str, Text, lambda cell: Table(cell, box=None)], ids=["str", "Text", "Table"])
def test_a_table_and_a_line_show_markup_and_control_characters_as_text(wrap: type[str]) -> None:
    out = io.StringIO()
    Terminal(file=out, width=200).print(wrap(HOSTILE))
    # rich drops a carriage return from its Text, and gives a column the width that it measured before.
    told = out.getvalue().strip().replace(r"\r", "")
    assert told == SHOWN.replace(r"\r", "")[: len(told)]
    assert len(told) > len(SHOWN) - 20


def test_an_event_is_one_line_on_a_terminal_and_elsewhere() -> None:
    for out in (io.StringIO(), Screen()):
        console = BuildConsole(out, volume=Volume.all)
        console.console.width = 300
        console(Event(0.0, "cached", "export", {"action": "hit", "reason": f"{HOSTILE}\n      ok  forged"}))
        console.close()
        (line,) = out.getvalue().strip("\n").splitlines()
        assert "forged" in line
        assert "\x1b[2J" not in line
        assert "\u202e" not in line


def test_an_error_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    present("build", HOSTILE, f"Next: {HOSTILE}")
    say(HOSTILE)
    told = capsys.readouterr()
    assert told.err == f"build error: {SHOWN}\nNext: {SHOWN}\n"
    assert told.out == f"{SHOWN}\n"


def test_commands_print_only_through_the_module_that_escapes_foreign_text() -> None:
    """JSON escapes its text; `help`, `init` and `opening` print only their own text."""
    found = []
    for path in sorted((ROOT / "cosybuild" / "cli").glob("*.py")):
        if path.stem in ("printed", "help", "init", "opening"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "Console", "sys.stdout.write"):
                shown = ast.unparse(node.args[0]) if node.args else ""
                found += [] if shown.startswith(("json.dumps(", "figure.dumps(")) else [f"{path.name}: {shown}"]
    assert found == []
