"""Places for output that are not files: no command may replace them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cosybuild.errors import StoreError
from cosybuild.system.files import write_atomic
from tests.attacks.ground import Ground


def place(at: Path, through: bool) -> Path:
    """Return the path of a pipe, or of a link to one. A device needs root, and is found by the same check."""
    os.mkfifo(at / "pipe")
    if through:
        (at / "link").symlink_to("pipe")
    return at / ("link" if through else "pipe")


@pytest.mark.attack("read or write", "an error, and the pipe stays")
@pytest.mark.parametrize("through", [False, True], ids=["itself", "through a link"])
def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path, through: bool) -> None:
    target = place(tmp_path, through)
    with pytest.raises(StoreError, match="not a regular file"):
        write_atomic(target, b"text")
    assert stat.S_ISFIFO(target.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["link", "pipe"] if through else ["pipe"])


@pytest.mark.attack("read or write", "an error, and the link to a directory stays")
def test_a_link_to_a_directory_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "link", b"text")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.attack("read or write", "the command ends with a sentence, and the pipe stays")
@pytest.mark.parametrize(
    "words",
    [("bundle", "RUN", "--without-artifacts", "--into"), ("requirements", "RUN", "--output")],
    ids=lambda words: words[0],
)
def test_no_command_replaces_a_pipe(ground: Ground, words: tuple[str, ...]) -> None:
    assert ground.command("import", str(ground.bundle)).code == 0
    pipe = place(ground.directory, False)
    said = ground.command(*(ground.run().name if word == "RUN" else word for word in words), str(pipe))
    assert said.code == StoreError.exit_code, said.text
    assert "not a regular file" in said.text
    assert stat.S_ISFIFO(pipe.stat().st_mode)
