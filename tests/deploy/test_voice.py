"""A voice is deployed, rolled back, checked and refused as one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cosybuild.cli.check import main as check
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy, facts_text
from cosybuild.deploy.inspect import CURRENT, Finding, inspect
from cosybuild.deploy.rollback import rollback
from cosybuild.directory_in_service import STATE
from cosybuild.errors import ArtifactRefused, DeployError
from cosybuild.manifest import SUFFIX, read_manifest
from cosybuild.runtime import load_part, load_voice
from cosybuild.system.environment import Environment
from cosybuild.voice_description import DESCRIPTION, read_description
from tests.deploy.delivering import tree
from tests.deploy.voices import ESTIMATOR, FRONT_END, FULL, STREAMING, VOCODER, run_of
from tests.runtime.voice.services import edit

HERE = Environment(gpu_list=())
Services = Callable[[int], Path]


def put(run: Path, service: Path, **more: Any) -> Mapping[str, Any]:
    return deploy(run, DeploySettings(service=Service.bundle, dir=str(service), **more), HERE)


def states(service: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in inspect(service, HERE)}


@pytest.fixture
def one(tmp_path: Path, services: Services) -> Path:
    """Deploy a voice and return its directory."""
    put(run_of(services(2), tmp_path / "run1"), tmp_path / "service")
    return tmp_path / "service"


@pytest.fixture
def other(tmp_path: Path, services: Services) -> Path:
    """Deploy a voice of other weights into a directory of its own."""
    put(run_of(services(2), tmp_path / "other-run", flow="7", vocoder="7"), tmp_path / "other")
    return tmp_path / "other"


def test_a_deployment_lists_its_parts_in_one_change(one: Path, tmp_path: Path, services: Services) -> None:
    description = read_description(one / DESCRIPTION)
    assert description is not None
    assert {name: member.part for name, member in description.members.items()} == {
        FRONT_END: "frontend", ESTIMATOR: "estimator", VOCODER: "vocoder"
    }  # fmt: skip
    for name, member in description.members.items():
        manifest = read_manifest(one / name)
        assert manifest is not None
        assert (member.sha256, member.manifest) == (manifest["file"]["sha256"], manifest["seal"])
        assert manifest["deployment"]["whole"] is True
    assert [path.name for path in (one / STATE).glob("[0-9]*")] == ["0001"]
    assert all(finding.state == CURRENT for finding in states(one).values())
    assert DESCRIPTION in states(one)
    assert check([str(one)]) == 0
    assert load_voice(one, threads=1).facts.family == "cosyvoice2"
    facts = put(run_of(services(2), tmp_path / "again"), one)
    assert (facts["changed"], facts["whole"]) == (False, True)


def test_a_rollback_brings_the_whole_voice_back(one: Path, tmp_path: Path, services: Services) -> None:
    before = tree(one)
    facts = put(run_of(services(2), tmp_path / "run2", flow="2", vocoder="3"), one)
    assert f"  {DESCRIPTION} lists the parts of the voice" in facts_text(facts)
    after = tree(one)
    assert all(after[name] != before[name] for name in before)
    load_voice(one, threads=1)
    rollback(one)
    assert tree(one) == before
    load_voice(one, threads=1)
    rollback(one)
    assert tree(one) == {}


def test_both_attentions_of_one_model_are_one_voice(one: Path, tmp_path: Path, services: Services) -> None:
    put(run_of(services(2), tmp_path / "streaming", streaming=True), one)
    description = read_description(one / DESCRIPTION)
    assert description is not None
    assert set(description.members) == {*FULL, *STREAMING}
    load_voice(one, threads=1)
    assert check([str(one)]) == 0


@pytest.mark.parametrize(("flow", "vocoder"), [("2", ""), ("", "2"), ("2", "2")])
def test_parts_of_other_weights_are_retired_with_their_voice(
    one: Path, tmp_path: Path, services: Services, flow: str, vocoder: str
) -> None:
    facts = put(run_of(services(2), tmp_path / "streaming", flow=flow, vocoder=vocoder, streaming=True), one)
    assert set(facts["retired"]) == {FRONT_END, ESTIMATOR}
    assert {name for name in tree(one) if name.endswith(".onnx")} == {*STREAMING, VOCODER}
    load_voice(one, threads=1)
    assert check([str(one)]) == 0


def copy(name: str, source: Path, target: Path, *, manifest: bool) -> None:
    for suffix in ("", SUFFIX) if manifest else ("",):
        shutil.copy(source / f"{name}{suffix}", target / f"{name}{suffix}")


SWAPS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    **{
        f"{name}, with its manifest": (
            lambda one, other, name=name: copy(name, other, one, manifest=True),
            rf"{name}: it is not the \w+ of this voice: {DESCRIPTION} lists sha256 ",
        )
        for name in FULL
    },
    **{
        f"{name} alone": (
            lambda one, other, name=name: copy(name, other, one, manifest=False),
            f"{name} (is|has).*(not the file that its manifest describes|bytes but)",
        )
        for name in FULL
    },
    **{
        f"the manifest of {name}, sealed again": (
            lambda one, other, name=name: edit(one / name, lambda manifest: manifest.update(notes=["other"])),
            f"{name}: its manifest is not the one that {DESCRIPTION} lists",
        )
        for name in FULL
    },
    "the description": (
        lambda one, other: shutil.copy(other / DESCRIPTION, one),
        f"{ESTIMATOR}: it is not the estimator of this voice",
    ),
    "no description": (
        lambda one, other: (one / DESCRIPTION).unlink(),
        f"{VOCODER} was deployed as a part of a whole voice, and {DESCRIPTION} is missing",
    ),
    "an edited description": (
        lambda one, other: (one / DESCRIPTION).write_text((one / DESCRIPTION).read_text().replace("2", "3")),
        "does not match its seal",
    ),
    "a description that is none": (
        lambda one, other: (one / DESCRIPTION).write_text("{}"),
        "is not the description of a voice",
    ),
    "a missing part": (
        lambda one, other: [(one / f"{VOCODER}{suffix}").unlink() for suffix in ("", SUFFIX)],
        f"{VOCODER}: it is missing, and {DESCRIPTION} lists it",
    ),
    "a part more": (
        lambda one, other: [
            shutil.copy(other / f"{VOCODER}{suffix}", one / f"a.onnx{suffix}") for suffix in ("", SUFFIX)
        ],
        f"a.onnx is a vocoder that {DESCRIPTION} does not list",
    ),
}


@pytest.mark.attack("deceive", "the voice is refused, and `check` names the file")
@pytest.mark.parametrize("name", SWAPS)
def test_a_directory_whose_parts_do_not_belong_together_is_refused(name: str, one: Path, other: Path) -> None:
    change, message = SWAPS[name]
    change(one, other)
    with pytest.raises(ArtifactRefused, match=message) as caught:
        load_voice(one, threads=1)
    assert caught.value.hint is not None
    found = states(one)
    assert any(finding.state in ("stale", "damaged") for finding in found.values()), found
    assert check([str(one)]) == 5


@pytest.mark.attack("deceive", "the deployment is refused, and nothing changes")
@pytest.mark.parametrize("name", FULL)
def test_a_run_whose_parts_do_not_belong_together_is_not_deployed(
    name: str, one: Path, tmp_path: Path, services: Services
) -> None:
    run, other = run_of(services(2), tmp_path / "a"), run_of(services(2), tmp_path / "b", flow="7", vocoder="7")
    copy(name, other, run, manifest=True)
    before = tree(one)
    words = "were not built together" if name == VOCODER else "are of two flow models"
    with pytest.raises(DeployError, match=f"the voice is not deployed: .*{name}.* {words}"):
        put(run, one)
    assert tree(one) == before


def test_a_part_of_another_version_is_not_deployed(tmp_path: Path, services: Services) -> None:
    run = run_of(services(2), tmp_path / "run")
    edit(run / VOCODER, lambda manifest: manifest["model"].update(family="cosyvoice3"))
    with pytest.raises(DeployError, match=r"hift.* are of two versions"):
        put(run, tmp_path / "service")


@pytest.mark.parametrize("name", FULL)
def test_a_part_alone_does_not_replace_one_of_a_whole_voice(
    name: str, one: Path, tmp_path: Path, services: Services
) -> None:
    run, before = run_of(services(2), tmp_path / "run", flow="7", vocoder="7"), tree(one)
    for each in FULL:
        if each != name:
            (run / each).unlink()
            (run / f"{each}{SUFFIX}").unlink()
    with pytest.raises(DeployError, match=f"holds a whole voice, and this deployment would replace {name} alone"):
        put(run, one)
    assert tree(one) == before


def test_parts_that_were_built_together_are_told_apart_without_a_description(one: Path, other: Path) -> None:
    """A vocoder is in another file than the flow; the manifests of a joint build state the weights of both."""
    copy(VOCODER, other, one, manifest=True)
    (one / DESCRIPTION).unlink()
    for name in FULL:
        edit(one / name, lambda manifest: manifest["deployment"].pop("whole"))
    with pytest.raises(ArtifactRefused, match=rf"was built with the vocoder of weights .*{VOCODER} from"):
        load_voice(one)


def test_the_new_voice_counts_from_the_journal_on(
    one: Path, tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is in place yet; the new parts, their manifests and the description are read from where they wait."""

    def never(root: Path, journal: object) -> None:
        raise KeyboardInterrupt

    before = tree(one)
    with monkeypatch.context() as patch:
        patch.setattr("cosybuild.deploy.transaction.apply", never)
        with pytest.raises(KeyboardInterrupt):
            put(run_of(services(2), tmp_path / "run", flow="2", vocoder="2"), one)
    assert tree(one) == before
    loaded: list[Path] = []

    def recorded(path: Path, **options: Any) -> object:
        loaded.append(path)
        return load_part(path, **options)

    monkeypatch.setattr("cosybuild.runtime.voice.load.load_part", recorded)
    load_voice(one, threads=1)
    assert {path.parent.name for path in loaded} == {"staging-0002"}
    assert {path.name for path in loaded} == set(FULL)
    # `check` finishes the change.
    assert check([str(one)]) == 0
    assert all(tree(one)[name] != content for name, content in before.items())
