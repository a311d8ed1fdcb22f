"""docs/sharing.md does what it says: its commands are run as they stand."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from tests.scenarios.commands import DATA, Place, actions

PAGE = Path(__file__).parents[2] / "docs" / "sharing.md"


def commands(page: str) -> str:
    """The page's shell blocks, as one script that ends at the first failure."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    return "set -eu\n" + "\n".join(blocks)


def test_two_teams_use_one_package_and_one_store(place: Place) -> None:
    packages = place.directory / "site-packages"
    environment = {
        "MODEL_DIR": str(DATA / "cosyvoice2_tiny"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(packages),
        # The package goes where this test can throw it away, and nothing is fetched for it.
        "PIP_TARGET": str(packages),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this switch the other way round
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    ran = place.run("sh", "-c", commands(PAGE.read_text(encoding="utf-8")), env=environment)
    assert "acme/edge" in ran.out
    assert "[acme]" in ran.out
    reports = []
    for team in ("acme", "umbrella"):
        (report,) = (place.directory / team / "outputs" / "runs").glob("*/report.json")
        reports.append(json.loads(report.read_text(encoding="utf-8")))
    assert set(actions(reports[0]).values()) == {"built"}
    assert set(actions(reports[1]).values()) == {"hit"}
    digests = [{artifact["name"]: artifact["digest"] for artifact in report["artifacts"]} for report in reports]
    assert digests[0] == digests[1] != {}
    assert reports[0]["config"]["trt_profile"]["name"] == "acme-edge"
    assert not (place.directory / "umbrella" / "outputs" / "store").exists()
    assert ran.out.count("same") >= 1
