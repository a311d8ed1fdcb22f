#!/usr/bin/env python3
"""Make the README's pictures from real runs: docs/images/run.svg and docs/images/sweep.png.

    scripts/capture.py                     # of the very small model that the tests of the documentation use
    scripts/capture.py --model-dir DIR     # of another one

The sweep's page needs chromium on the path, and the extra `report`.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
WIDTH = 112
# Colours without animation: the display of a running step is not part of the picture.
COLOURS = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "0"}
COMMANDS = (
    "model_dir=CosyVoice2-0.5B trt=fp16",
    "model_dir=CosyVoice2-0.5B trt=fp16",
    "model_dir=CosyVoice2-0.5B trt=bf16 dry_run=true",
)
SWEEP = "-m model_dir=CosyVoice2-0.5B export=opset18,opset20 trt=fp32,fp16,bf16"


def cosybuild(words: str, directory: Path, environment: dict[str, str]) -> str:
    """Return the output of a command that must succeed."""
    command = [sys.executable, "-m", "cosybuild", *words.split()]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


def picture(lines: Iterable[Text]) -> str:
    """Draw lines as an SVG that looks like a terminal and loads no other file."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in lines:
        console.print(line, overflow="ellipsis", no_wrap=True, crop=True)
    svg = console.export_svg(title="cosybuild", unique_id="run")
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.replace("Fira Code", "ui-monospace").splitlines()) + "\n"


def run_lines(directory: Path) -> Iterable[Text]:
    """Return the commands, each with its output."""
    for words in COMMANDS:
        yield Text.assemble(("$ ", "bold green"), (f"python -m cosybuild {words}", "bold"))
        begun = False
        for line in cosybuild(words, directory, COLOURS).splitlines():
            text = Text.from_ansi(line)
            text.rstrip()
            # Without the display of the running step, an empty line is left in its place.
            if text.plain or not begun:
                yield text
            begun = text.plain.startswith("building")
        yield Text("")


def photograph(page: Path, image: Path) -> None:
    """Make a picture of a page with a browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("chromium is not on the path")
    flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,900"]
    # Plots draw themselves after the page has loaded.
    command = [browser, *flags, "--virtual-time-budget=4000", f"--screenshot={image}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, help="default: a very small model of random weights")
    given = parser.parse_args().model_dir
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        model = directory / "CosyVoice2-0.5B"
        if given is not None:
            model.symlink_to(given.resolve())
        else:
            sys.path.insert(0, str(ROOT))
            from tests.docs.models import make_model_directory

            make_model_directory(model)
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / "run.svg").write_text(picture(run_lines(directory)), encoding="utf-8")
        cosybuild(SWEEP, directory, {})
        (page,) = directory.glob("outputs/sweeps/*/sweep.html")
        photograph(page, IMAGES / "sweep.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
