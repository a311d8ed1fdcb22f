"""The first output of a command, with and without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosybuild.cli.opening import Opening

if os.name == "posix":
    import pty

SIGN = "starting  reading the configuration"


def seen(screen: str) -> list[str]:
    """Return the lines that a terminal shows after this output, without erased lines."""
    return [line.rpartition("\r\x1b[2K")[2] for line in screen.replace("\r\n", "\n").split("\n")]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("dry_run=true", "trt=none"), "4 steps to run"),
        (("model_dir=modle",), "model directory error: model_dir=modle"),
    ],
)
def test_on_a_terminal_the_line_is_shown_first_and_removed_before_other_output(
    tmp_path: Path, words: tuple[str, ...], shown: str
) -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "cosybuild", *words], cwd=tmp_path, stdout=end, stderr=end):
        os.close(end)
        text = b"".join(iter(lambda: _read(terminal), b""))
    os.close(terminal)
    screen = text.decode()
    assert screen.startswith(f"\r\x1b[2K{SIGN}  0 s")
    lines = seen(screen)
    assert any(line.startswith(shown) for line in lines), lines
    assert not any("starting" in line for line in lines)


def _read(terminal: int) -> bytes:
    # Linux reports an error for a terminal whose last writer has ended.
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def test_without_a_terminal_a_plain_line_is_printed_if_nothing_was_built_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, printed in ((["--help"], ""), (["--cfg", "job"], ""), (["-m", "a=1,2"], f"{SIGN}\n"), ([], f"{SIGN}\n")):
        opening = Opening().begin(words)
        opening.close()
        assert capsys.readouterr().out == printed
    (tmp_path / "outputs").mkdir()
    Opening().begin([]).close()
    assert capsys.readouterr().out == ""
