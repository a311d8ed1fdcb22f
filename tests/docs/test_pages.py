"""Every command in the documentation is run unchanged, page by page, on a very small model."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.cli.verbs import VERBS
from cosybuild.config.catalogue import groups, open_loader
from cosybuild.config.settings import Settings
from tests.docs import pages
from tests.docs.models import make_model_directory
from tests.importing import importing
from tests.scenarios.commands import DATA, Place, Ran, actions
from tests.warm.processes import write_python

PAGES = [page for page in pages.pages() if any(block.is_run for block in pages.blocks(page))]

FROM_NOTHING = (
    "docs/quickstart.md",
    "docs/concepts.md",
    "docs/sharing.md",
    "docs/howto/fine-tuned.md",
    "docs/howto/shared-store.md",
)
"""Pages that show a first build or inspect a store get an empty store; the others share one."""


WHOLE_MODELS = (
    "docs/howto/serving-a-voice.md",
    "docs/howto/triton.md",
    "docs/howto/replace-token2wav.md",
    "examples/serve-voice/README.md",
)
"""Pages that need a model directory with a front end and a vocoder."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store that all pages share, also in other processes of a parallel run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("store")
    (base.parent / "pages-store").mkdir(exist_ok=True)
    return base.parent / "pages-store"


@pytest.fixture(scope="session")
def model_directories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make `CosyVoice2-0.5B` and `fine-tuned`, the same model with other weights."""
    directory = tmp_path_factory.mktemp("models")
    make_model_directory(directory / "CosyVoice2-0.5B")
    make_model_directory(directory / "fine-tuned", seed=1)
    return directory


@pytest.fixture
def environment(tmp_path: Path, model_directories: Path) -> dict[str, str]:
    """Return the environment of the pages: two model directories, and a pip without network."""
    packages, models, programs = (tmp_path / name for name in ("site-packages", "models", "bin"))
    shutil.copytree(model_directories, models)
    programs.mkdir()
    write_python(programs)
    return {
        "MODEL_DIR": str(models / "CosyVoice2-0.5B"),
        "FINE_TUNED": str(models / "fine-tuned"),
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        **importing(packages),
        # A package is installed into a temporary directory without a download.
        "PIP_TARGET": str(packages),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this switch the other way round
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.mark.parametrize("page", PAGES, ids=pages.name_of)
def test_the_commands_of_the_page_run(page: Path, tmp_path: Path, store: Path, environment: dict[str, str]) -> None:
    place = Place(tmp_path / "here")
    if page.parent.parent.name == "examples":
        shutil.copytree(page.parent, place.directory)
    if pages.name_of(page) not in FROM_NOTHING:
        (place.directory / "outputs").mkdir(parents=True)
        (place.directory / "outputs" / "store").symlink_to(store)
    place.directory.mkdir(exist_ok=True)
    if pages.name_of(page) in WHOLE_MODELS:
        environment["MODEL_DIR"] = str(DATA / "token2wav2_tiny")
    found = pages.blocks(page)
    ran = place.run("sh", "-c", pages.script(found), env=environment)
    printed = pages.comparable(ran.out + ran.err)
    for block in found:
        for line in block.text.splitlines() if block.mark == "printed" else ():
            shown = pages.comparable(line).strip().removesuffix("...").strip()
            assert shown in printed, f"{pages.name_of(page)}:{block.line} shows '{line}', and printed was:\n{printed}"
    FURTHER.get(pages.name_of(page), lambda place, ran: None)(place, ran)


def two_teams_one_store(place: Place, ran: Ran) -> None:
    """Check for docs/sharing.md that the second team builds nothing and has the same artifacts."""
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


FURTHER: dict[str, Callable[[Place, Ran], None]] = {"docs/sharing.md": two_teams_one_store}
"""Checks of a page's statements, in addition to the success of its commands."""


def test_every_command_block_is_run_or_states_why_not() -> None:
    assert [fault for page in pages.pages() for fault in pages.faults(page)] == []


def test_commands_within_sentences_exist() -> None:
    roots = {field.name for field in dataclasses.fields(Settings)} | {"hydra"}
    with open_loader() as loader:
        roots |= set(groups(loader))
    wrong = []
    for page in pages.pages():
        for first, *rest in pages.inline_commands(page):
            for word in () if first in VERBS or first.startswith("-") else (first, *rest):
                if "=" not in word or word.split("=")[0].split("/")[0].split(".")[0].lstrip("+~") not in roots:
                    wrong.append(f"{pages.name_of(page)}: {first} ... {word}")
    assert wrong == []


def test_most_command_blocks_are_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the blocks that are not run, with their reasons; most commands must run."""
    found = [(page, block) for page in pages.pages() for block in pages.blocks(page) if block.language == "sh"]
    left_out = [(page, block) for page, block in found if not block.is_run]
    with capsys.disabled():
        for page, block in left_out:
            print(f"\n  {pages.name_of(page)}:{block.line}: {block.mark}: {block.said}", end="")
    assert len(left_out) * 4 < len(found)
