"""A remote behind the store: a directory, an S3 server, and a server out of reach."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.errors import ConfigurationError, StoreError
from tests.s3 import Server
from tests.scenarios.commands import QUICK, Place, actions


class Remote:
    """A team's remote; `words` are its settings on the command line."""

    def __init__(self, url: str, options: dict[str, str]) -> None:
        self.url, self.options = url, options
        given = ",".join(f"{name}: '{value}'" for name, value in options.items())
        self.words = [f"store.remote={url}", f"store.remote_options={{{given}}}"]


@pytest.fixture(params=["file", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    if request.param == "file":
        yield Remote(f"file://{tmp_path / 'team'}", {})
        return
    server = Server()
    server.files().mkdir("team")
    yield Remote("s3://team/some/prefix", server.options)
    server.stop()


def copy_of(place: Place, directory: Path) -> Place:
    """Stand for another machine: it has the same model, and nothing is built."""
    shutil.copytree(place.directory / "model", directory / "model")
    return Place(directory)


def test_results_that_one_machine_built_are_pulled_by_another(
    used_place: Place, tmp_path: Path, remote: Remote
) -> None:
    """Each file is verified on arrival; if it is damaged, the result is built."""
    steps = set(actions(used_place.report()))
    shutil.rmtree(used_place.directory / "outputs")
    used_place.cosybuild(*QUICK, *remote.words)
    assert set(actions(used_place.report()).values()) == {"built"}
    other = copy_of(used_place, tmp_path / "other")
    ran = other.cosybuild(*QUICK, *remote.words)
    assert actions(other.report()) == dict.fromkeys(steps, "pulled")
    assert re.search(r"^export +pulled", ran.out, re.MULTILINE), ran.out
    digests = [{a["name"]: a["digest"] for a in place.report()["artifacts"]} for place in (used_place, other)]
    assert digests[0] == digests[1]
    other.cosybuild("store", "verify")
    assert other.cosybuild(*QUICK, *remote.words).out.startswith("Nothing to do")


def test_store_push_sends_results_that_were_built_before(used_place: Place, tmp_path: Path, remote: Remote) -> None:
    options = [f"--option={name}={value}" for name, value in remote.options.items()]
    sent = used_place.cosybuild("store", "push", remote.url, *options).out
    assert f"are in {remote.url}." in sent
    other = copy_of(used_place, tmp_path / "other")
    other.cosybuild(*QUICK, *remote.words)
    assert set(actions(other.report()).values()) == {"pulled"}


def test_a_push_that_fails_is_an_error(used_place: Place) -> None:
    ran = used_place.cosybuild("store", "push", "file:///proc/nowhere/team", code=StoreError.exit_code)
    assert "0 results were sent before" in ran.err
    ran = used_place.cosybuild("store", "push", "s3://team", "--option=key", code=ConfigurationError.exit_code)
    assert "is not NAME=VALUE" in ran.err


def test_a_damaged_object_is_named_and_built_again_and_repaired(used_place: Place, tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path / 'team'}", {})
    shutil.rmtree(used_place.directory / "outputs")
    used_place.cosybuild(*QUICK, *remote.words)
    exported = next(s for s in used_place.report()["steps"] if s["label"] == "export")["outputs"]["graph"]["digest"]
    damaged = tmp_path / "team" / "objects" / exported[:2] / exported
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    other = copy_of(used_place, tmp_path / "other")
    ran = other.cosybuild(*QUICK, *remote.words)
    assert "has other content than its name says" in ran.out
    assert exported in ran.out
    assert actions(other.report())["export"] == "built"
    assert actions(other.report())["simplify"] == "pulled"
    assert damaged.read_bytes() == good


@pytest.mark.parametrize("url", ["s3://team/x", "file:///proc/nowhere/team"])
def test_a_remote_that_cannot_be_reached_costs_a_warning(used_place: Place, url: str) -> None:
    shutil.rmtree(used_place.directory / "outputs")
    options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9"} if url.startswith("s3") else {}
    ran = used_place.cosybuild(*QUICK, *Remote(url, options).words)
    assert ran.out.count("warning") == 1
    assert f"The remote store {url} cannot be used (" in ran.out
    assert "this run continues without it" in ran.out
    assert set(actions(used_place.report()).values()) == {"built"}
    events = next(used_place.directory.glob("outputs/runs/*/events.jsonl")).read_text(encoding="utf-8").splitlines()
    warnings = [json.loads(line) for line in events if json.loads(line)["kind"] == "warning"]
    assert len(warnings) == 1, "console and log are one stream"
    assert used_place.cosybuild(*QUICK).out.startswith("Nothing to do")


def test_a_wrong_url_is_refused(used_place: Place) -> None:
    refused = used_place.cosybuild(*QUICK, "store.remote=nonsense://team", "verify.seed=6", code=7)
    assert "store.remote=nonsense://team cannot be opened" in refused.err
    assert "Next: " in refused.err
