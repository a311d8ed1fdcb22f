"""docs/configuration.md is up to date with the settings and option files."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_configuration_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "configuration_page.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0, "docs/configuration.md is out of step: run scripts/configuration_page.py"
