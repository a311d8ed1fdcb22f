"""Directories in service from elsewhere, and deployments of parts that do not belong together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.cli.check import main as check
from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.deploy import TritonSettings
from cosybuild.deploy.deliverable import Deliverable
from cosybuild.deploy.inspect import CURRENT, STALE, inspect
from cosybuild.deploy.rollback import rollback
from cosybuild.deploy.transaction import Put, changing, prune, publish
from cosybuild.deploy.triton import config_text
from cosybuild.directory_in_service import LARGEST, STATE, view_of
from cosybuild.errors import ArtifactRefused, DeployError, ModelError
from cosybuild.manifest import read_manifest
from cosybuild.models.components.registry import GRAPH_FILES
from cosybuild.onnxgraph.file_spec import spec_of_file
from cosybuild.runtime import load_estimator
from cosybuild.system.environment import Environment
from tests.deploy.delivering import certify, put_estimator, put_graph

JOURNAL = {"staging": "staging-0001", "puts": {}, "removes": [], "files": {}, "discards": False}


def deploy(root: Path, text: str) -> int | None:
    with changing(root):
        return publish(root, [Put("a.txt", text)], [])


@pytest.mark.attack("malformed", "every command refuses the journal, and states what is wrong with it")
@pytest.mark.parametrize("number", ["1e999", "Infinity", "NaN", "1e30", "-1", "1.5", "true", '"7"', "[]", "9" * 5000])
@pytest.mark.parametrize("field", ["number", "position"])
def test_a_journal_with_invalid_numbers_is_refused(tmp_path: Path, field: str, number: str) -> None:
    (tmp_path / STATE).mkdir()
    plain = json.dumps({**JOURNAL, "number": 1, "position": 0, field: 4711})
    (tmp_path / STATE / "journal.json").write_text(plain.replace("4711", number), encoding="utf-8")
    with pytest.raises(DeployError, match="is not a journal of a deployment"):
        check([str(tmp_path)])
    with pytest.raises(DeployError, match="is not a journal of a deployment"):
        rollback(tmp_path)
    with pytest.raises(ArtifactRefused, match="is not a journal of a deployment"):
        load_estimator(tmp_path)


@pytest.mark.attack("fill or wait", "no more than the size of a real record is read")
@pytest.mark.parametrize("name", ["journal.json", "current.json"])
def test_an_endless_record_of_the_state_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / STATE).mkdir()
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    (tmp_path / STATE / name).symlink_to(tmp_path / "large")
    with pytest.raises(ValueError, match=f"has more than {LARGEST:,} bytes"):
        view_of(tmp_path)
    with pytest.raises(ArtifactRefused, match=f"has more than {LARGEST:,} bytes"):
        load_estimator(tmp_path)


@pytest.mark.attack("interrupt", "the deployment is refused, and later deployments and rollbacks work")
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "directory"])
@pytest.mark.parametrize("through", [False, True], ids=["itself", "through a link"])
def test_a_name_in_service_that_is_no_file_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], None], through: bool
) -> None:
    root, other = tmp_path / "service", tmp_path / "other"
    root.mkdir()
    assert deploy(root, "first") == 1
    (root / "a.txt").unlink()
    make(other if through else root / "a.txt")
    if through:
        (root / "a.txt").symlink_to(other)
    with pytest.raises(DeployError, match=r"'a\.txt' in it is not a regular file"):
        deploy(root, "second")
    if (root / "a.txt").is_dir() and not through:
        (root / "a.txt").rmdir()
    else:
        (root / "a.txt").unlink()
    assert deploy(root, "third") == 2
    assert rollback(root)[0] == 2
    assert rollback(root)[0] == 1


@pytest.mark.attack("malformed", "directories with other names are no backups")
@pytest.mark.parametrize("name", ["²", "1²", "٣٣٣٣", "1" * 200, "0001x"])
def test_a_directory_whose_name_is_not_a_number_does_not_count_as_a_backup(tmp_path: Path, name: str) -> None:
    assert deploy(tmp_path, "first") == 1
    (tmp_path / STATE / name).mkdir()
    assert deploy(tmp_path, "second") == 2
    with changing(tmp_path):
        prune(tmp_path, 1)
    assert (tmp_path / STATE / "0002").is_dir()
    assert not (tmp_path / STATE / "0001").exists()
    assert rollback(tmp_path)[0] == 2
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "first"


FRONT_END: dict[str, list[int | str]] = {"token": [1, "tokens"], "mu": [1, 80, "seq_len"]}


@pytest.mark.attack("stale", "check reports both files, and names their builds")
@pytest.mark.parametrize("other", [{"weights_digest": "2" * 64}, {"family": "cosyvoice3"}], ids=["weights", "version"])
def test_a_front_end_of_another_flow_model_than_the_estimator_is_stale(tmp_path: Path, other: dict[str, str]) -> None:
    put_estimator(tmp_path / "flow.decoder.estimator.fp32.onnx", 1, model={"weights_digest": "1" * 64})
    put_graph(tmp_path / "flow.frontend.fp32.onnx", FRONT_END)
    put_graph(
        tmp_path / "hift.fp32.onnx", {"mel": [1, 80, "seq_len"], "f0": [1, "seq_len"]}, model={"weights": "hift.pt"}
    )
    assert {finding.state for finding in inspect(tmp_path, Environment())} == {CURRENT}
    put_graph(tmp_path / "flow.frontend.fp32.onnx", FRONT_END, model=other)
    found = {finding.name: finding for finding in inspect(tmp_path, Environment())}
    assert {name: finding.state for name, finding in found.items()} == {
        "flow.decoder.estimator.fp32.onnx": STALE,
        "flow.frontend.fp32.onnx": STALE,
        "hift.fp32.onnx": CURRENT,
    }
    assert "flow.frontend.fp32.onnx comes from" in found["flow.decoder.estimator.fp32.onnx"].reason


def test_an_estimator_with_weights_of_its_own_is_not_compared(tmp_path: Path) -> None:
    put_estimator(tmp_path / "flow.decoder.estimator.fp32.onnx", 1, model={"weights": "tuned.pt"})
    put_graph(tmp_path / "flow.frontend.fp32.onnx", FRONT_END)
    assert {finding.state for finding in inspect(tmp_path, Environment())} == {CURRENT}


@pytest.mark.attack(
    "malformed", "whole numbers are zero in the warm-up; random ones would be indices beyond every table"
)
def test_the_warm_up_of_tokens_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "flow.frontend.fp32.onnx"
    path.write_bytes(b"graph")
    certify(path, {"prompt_feat": [1, "frames", 80], "mu": [1, 80, "frames"]}, "float32", model={"name": "frontend"})
    manifest = read_manifest(path)
    assert manifest is not None
    manifest["interface"]["inputs"].append({"name": "token", "dtype": "int64", "shape": [1, "tokens"]})
    text = config_text(Deliverable(path, manifest), TritonSettings(), {"frames": (4, 8, 12), "tokens": (1, 2, 3)})
    warmed = [line for line in text.splitlines() if line.startswith("  inputs")]
    assert len(warmed) == 6
    assert all(("zero_data: true" in line) == ('key: "token"' in line) for line in warmed)
    assert all(("random_data: true" in line) == ('key: "prompt_feat"' in line) for line in warmed)


@pytest.mark.attack("execute", "the name is one string of the configuration, and no field of it")
def test_a_tensor_name_cannot_add_a_field_to_the_triton_configuration(tmp_path: Path) -> None:
    """A field that it adds, such as the backend `python`, would make tritonserver run code."""
    name = 'x" data_type: TYPE_FP32 dims: [ 1 ] } ]\nbackend: "python"\ninput [ { name: "y\\'
    path = put_graph(tmp_path / "campplus.onnx", {name: [1, "seq_len", 80], "output": [1, 192]})
    manifest = read_manifest(path)
    assert manifest is not None
    text = config_text(Deliverable(path, manifest), TritonSettings(), {"seq_len": (4, 8, 12)})
    assert [line for line in text.splitlines() if line.startswith("backend")] == ['backend: "onnxruntime"']
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', text)
    assert [json.loads(each) for each in strings].count(name) == 4  # the input, and three requests of the warm-up


@pytest.mark.attack("execute", "the file is refused, with the name in escapes")
@pytest.mark.parametrize("name", ['a"b', "a\x1b[31mb", "a\nb"])
def test_a_speaker_model_with_an_unsafe_input_name_is_refused(tmp_path: Path, name: str) -> None:
    put_graph(tmp_path / "campplus.onnx", {name: [1, "seq_len", 80], "output": [1, 192]})
    with pytest.raises(ModelError, match="quotation marks or control characters") as refused:
        spec_of_file(tmp_path / "campplus.onnx", GRAPH_FILES[ComponentName.speaker].spec)
    assert ascii(name) in refused.value.message
