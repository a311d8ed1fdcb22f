"""The files of weights: directories of trainers, and indices that name shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.errors import CheckpointError
from cosybuild.models.weights.shards import weights_parts


def write(directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("last.ckpt", "config.yaml"), "last.ckpt"),
        (("pytorch_model.bin", "optimizer.pt"), "pytorch_model.bin"),
        (("model.safetensors", "pytorch_model.bin"), "model.safetensors"),
        (("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"), "mp_rank_00_model_states.pt"),
    ],
)
def test_a_directory_of_a_trainer_gives_its_main_file(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    write(tmp_path, *names)
    assert weights_parts(tmp_path) == (tmp_path / found,)


def test_a_directory_of_deepspeed_names_its_latest_step(tmp_path: Path) -> None:
    write(tmp_path / "global_step7", "mp_rank_00_model_states.pt")
    write(tmp_path / "global_step3", "mp_rank_00_model_states.pt")
    (tmp_path / "latest").write_text("global_step7\n", "utf-8")
    assert weights_parts(tmp_path) == (tmp_path / "global_step7" / "mp_rank_00_model_states.pt",)


@pytest.mark.attack("read or write", "nothing outside the directory is read")
def test_the_latest_step_is_a_directory_of_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "other", "flow.pt")
    write(tmp_path / "checkpoint", "latest")
    (tmp_path / "checkpoint" / "latest").write_text("../other", "utf-8")
    with pytest.raises(CheckpointError, match="has no weights"):
        weights_parts(tmp_path / "checkpoint")


def test_directories_without_a_choice_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "none", "readme.md")
    with pytest.raises(CheckpointError, match=r"has no weights .* It has: readme\.md"):
        weights_parts(tmp_path / "none")
    write(tmp_path / "two", "a.pt", "b.ckpt")
    with pytest.raises(CheckpointError, match=r"has several weights files: a\.pt, b\.ckpt"):
        weights_parts(tmp_path / "two")
    write(tmp_path / "dcp", ".metadata", "__0_0.distcp")
    with pytest.raises(CheckpointError) as caught:
        weights_parts(tmp_path / "dcp")
    assert "dcp_to_torch" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match="There is no weights file"):
        weights_parts(tmp_path / "absent.pt")


def index_of(directory: Path, content: str) -> Path:
    path = directory / "model.safetensors.index.json"
    path.write_text(content, "utf-8")
    return path


def test_an_index_gives_its_shards(tmp_path: Path) -> None:
    write(tmp_path, "b", "a")
    path = index_of(tmp_path, json.dumps({"weight_map": {"x": "b", "y": "a", "z": "a"}}))
    for given in (path, tmp_path):
        assert weights_parts(given) == (path, tmp_path / "a", tmp_path / "b")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = index_of(tmp_path, json.dumps({"weight_map": {"x": "b"}}))
    with pytest.raises(CheckpointError, match="names b, which is not beside it"):
        weights_parts(path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "[" * 100_000])
def test_a_damaged_index_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CheckpointError):
        weights_parts(index_of(tmp_path, content))


@pytest.mark.attack("read or write", "nothing outside the directory is read")
@pytest.mark.parametrize("name", ["../flow.pt", "/etc/passwd", "a/b", "..", ""])
def test_an_index_may_only_name_files_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path, "flow.pt")
    with pytest.raises(CheckpointError, match="a name without a directory is expected"):
        weights_parts(index_of(tmp_path / "in", json.dumps({"weight_map": {"x": name}})))
