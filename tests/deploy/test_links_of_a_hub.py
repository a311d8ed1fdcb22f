"""Files in service that are symbolic links into the cache of a hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosybuild.deploy import transaction
from cosybuild.deploy.rollback import rollback
from tests.deploy.test_rollback import FULL, killed, put_in_service


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return a directory in service whose estimator is a link to a blob."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0a").write_bytes(b"of the hub")
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / FULL).symlink_to("../blobs/0a")
    return tmp_path / "service" / FULL


def hold_linked(linked: Path) -> None:
    assert linked.is_symlink()
    assert os.readlink(linked) == "../blobs/0a"  # noqa: PTH115  # the text itself
    assert linked.read_bytes() == b"of the hub"


def test_a_rollback_restores_the_link_and_the_blob_stays(tmp_path: Path, linked: Path) -> None:
    for _ in range(2):
        put_in_service(tmp_path, 1)
        assert not linked.is_symlink()
        assert (tmp_path / "blobs" / "0a").read_bytes() == b"of the hub"
        rollback(tmp_path / "service")
        hold_linked(linked)


def test_a_rollback_over_two_deployments_restores_the_link(tmp_path: Path, linked: Path) -> None:
    put_in_service(tmp_path, 1)
    put_in_service(tmp_path, 2)
    rollback(tmp_path / "service", 1)
    hold_linked(linked)


def test_a_link_that_leads_to_other_content_becomes_the_file_of_the_backup(tmp_path: Path, linked: Path) -> None:
    put_in_service(tmp_path, 1)
    (tmp_path / "blobs" / "0a").unlink()
    (tmp_path / "blobs" / "0a").write_bytes(b"of another revision")
    rollback(tmp_path / "service")
    assert not linked.is_symlink()
    assert linked.read_bytes() == b"of the hub"


@pytest.mark.parametrize("where", ["_put_in_place", "_restore_link", "_folders"])
def test_an_interrupted_rollback_is_finished_with_the_link(
    tmp_path: Path, linked: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    put_in_service(tmp_path, 1)
    killed(monkeypatch, where, lambda: rollback(tmp_path / "service"))
    assert transaction.recover(tmp_path / "service")
    hold_linked(linked)
