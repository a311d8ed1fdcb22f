"""Directories that a service reads are accepted as targets of a deployment; others are refused with the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.config.groups.model import Family
from cosybuild.deploy.directory_check import check_target
from cosybuild.errors import DeployError

DATA = Path(__file__).resolve().parents[1] / "data"
SECOND = str(DATA / "cosyvoice2_tiny")


def asked(service: Service, directory: Path | str, *, create: bool = False) -> DeploySettings:
    return DeploySettings(service=service, dir=str(directory), create=create)


@pytest.mark.parametrize("service", list(Service))
def test_an_absent_directory_needs_the_explicit_word(tmp_path: Path, service: Service) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(DeployError, match="does not exist") as caught:
        check_target(asked(service, tmp_path / "modles"), Family.cosyvoice2)
    assert f"did you mean deploy.dir={tmp_path / 'models'}?" in (caught.value.hint or "")
    assert "deploy.create=true" in (caught.value.hint or "")
    check_target(asked(service, tmp_path / "modles", create=True), Family.cosyvoice2)
    assert not (tmp_path / "modles").exists()


@pytest.mark.parametrize("create", [False, True])
def test_a_file_is_refused(tmp_path: Path, create: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for name in ("file", "link"):
        with pytest.raises(DeployError, match="is not a directory"):
            check_target(asked(Service.bundle, tmp_path / name, create=create), Family.cosyvoice2)


@pytest.mark.parametrize("service", [Service.cosyvoice, Service.token2wav])
def test_a_model_directory_of_the_version_is_expected(tmp_path: Path, service: Service) -> None:
    check_target(asked(service, SECOND), Family.cosyvoice2)
    with pytest.raises(DeployError, match=r"model directory of cosyvoice2 \(cosyvoice2.yaml\).*cosyvoice3"):
        check_target(asked(service, SECOND, create=True), Family.cosyvoice3)
    with pytest.raises(DeployError, match="is not a model directory of CosyVoice") as caught:
        check_target(asked(service, tmp_path), Family.cosyvoice2)
    assert "cosyvoice2.yaml" in caught.value.message
    check_target(asked(service, tmp_path, create=True), Family.cosyvoice2)


def test_a_network_of_no_version_goes_into_a_model_directory_of_any_version(tmp_path: Path) -> None:
    check_target(asked(Service.cosyvoice, SECOND), Family.onnx)
    with pytest.raises(DeployError, match="one of"):
        check_target(asked(Service.cosyvoice, tmp_path), Family.onnx)


def test_a_directory_that_has_deployments_needs_no_yaml(tmp_path: Path) -> None:
    (tmp_path / ".cosybuild-backup").mkdir()
    check_target(asked(Service.cosyvoice, tmp_path), Family.cosyvoice2)


def test_a_repository_is_empty_or_has_a_model(tmp_path: Path) -> None:
    check_target(asked(Service.triton, tmp_path), Family.cosyvoice2)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DeployError, match="no directory in it is a model"):
        check_target(asked(Service.triton, tmp_path), Family.cosyvoice2)
    check_target(asked(Service.triton, tmp_path, create=True), Family.cosyvoice2)
    (tmp_path / "other" / "1").mkdir(parents=True)
    (tmp_path / "other" / "1" / "model.onnx").touch()
    check_target(asked(Service.triton, tmp_path), Family.cosyvoice2)


def test_one_model_of_a_repository_is_not_the_repository(tmp_path: Path) -> None:
    (tmp_path / "estimator").mkdir()
    (tmp_path / "estimator" / "config.pbtxt").touch()
    with pytest.raises(DeployError, match="it is one model") as caught:
        check_target(asked(Service.triton, tmp_path / "estimator"), Family.cosyvoice2)
    assert caught.value.hint == f"Next: deploy.dir={tmp_path}."


def test_a_bundle_goes_into_any_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    check_target(asked(Service.bundle, tmp_path), Family.cosyvoice2)
