"""A directory in service has one build: a deployment retires other builds, but no files of the user."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from cosybuild.cli import check
from cosybuild.config.groups.deploy import DeploySettings, Service, TritonSettings
from cosybuild.deploy.deploy import deploy, facts_text
from cosybuild.deploy.rollback import rollback
from cosybuild.errors import ArtifactRefused, DeployError, ServingError, VariantRefused
from cosybuild.manifest import manifest_path, read_manifest, write_manifest
from cosybuild.runtime import load_estimator
from cosybuild.system.environment import Environment
from tests.deploy.delivering import answer_of, estimator_shapes, put_estimator, put_graph, put_plan, tree

E = "flow.decoder.estimator"
FULL, STREAMING, DYNAMIC = f"{E}.fp32.onnx", f"{E}.streaming.fp32.onnx", f"{E}.fp32.dynamic_batch.onnx"
CACHED = f"{E}.cached.fp32.onnx"
ENGINE = f"{E}.fp16.sm89.rtx.engine"


def run_of(root: Path, answer: float, kind: str = "full", *, engine: bool = False, **facts: Any) -> Path:
    """Write the artifacts of one run: a graph that returns `answer`, and an engine if requested."""
    folder = root / f"run-{answer:g}-{kind}-{len(list(root.glob('run-*')))}"
    folder.mkdir(parents=True)
    variant = {"streaming": kind == "streaming", "dynamic": kind == "dynamic"}
    name = {"full": FULL, "streaming": STREAMING, "dynamic": DYNAMIC}[kind]
    path = put_estimator(folder / name, answer, **variant, **facts)
    if engine:
        model = json.loads(manifest_path(path).read_text())["model"]
        source = json.loads(manifest_path(path).read_text())["file"]["sha256"]
        put_plan(
            folder / ENGINE, estimator_shapes(), dtype="float16", library="tensorrt_rtx", seed=int(answer), model=model,
            built_from={"onnx_sha256": source},
        )  # fmt: skip
    return folder


def put_in_service(artifacts: Path, target: Path, service: str = "bundle", **more: Any) -> dict[str, Any]:
    settings = DeploySettings(service=Service(service), dir=str(target), target_sm=89, **more)
    return deploy(artifacts, settings, Environment(gpu_list=()), profiles=[{"seq_len": (4, 500, 3000)}])


def graphs(target: Path) -> set[str]:
    return {name for name in tree(target) if not name.endswith(".manifest.json")}


@pytest.mark.attack("stale", "the files of the old build are retired")
def test_another_build_retires_every_variant_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming"), target)
    put_in_service(run_of(tmp_path, 1, "full", engine=True), target)
    put_in_service(run_of(tmp_path, 1, "dynamic"), target)
    # Variants of one build are in one directory, and each call gets its variant.
    assert graphs(target) == {FULL, STREAMING, DYNAMIC, ENGINE}
    assert answer_of(target) == answer_of(target, streaming=True) == answer_of(target, batch=3) == 1
    before = tree(target)
    facts = put_in_service(run_of(tmp_path, 2, "full"), target)
    assert facts["retired"] == [ENGINE, DYNAMIC, STREAMING]
    assert f"retired {ENGINE}: this deployment replaces it, and the backup keeps it" in facts_text(facts)
    assert graphs(target) == {FULL}
    assert answer_of(target) == 2
    with pytest.raises(VariantRefused):
        answer_of(target, streaming=True)
    assert check.main([str(target)]) == 0
    rollback(target)
    assert tree(target) == before
    assert answer_of(target, batch=3) == 1


def test_the_same_build_again_replaces_its_own_variant_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming"), target)
    put_in_service(run_of(tmp_path, 1, "full", engine=True), target)
    # Another opset gives other bytes of the same weights; the engine of the old graph is retired.
    again = run_of(tmp_path, 1)
    put_graph(again / FULL, estimator_shapes(), model={"weights_digest": f"{1:064.0f}"})
    assert put_in_service(again, target)["retired"] == [ENGINE]
    assert graphs(target) == {FULL, STREAMING}


def test_changed_code_of_a_module_of_the_user_is_another_build(tmp_path: Path) -> None:
    target = tmp_path / "service"
    for number, kind in ((1, FULL), (2, DYNAMIC)):
        run = tmp_path / f"module{number}"
        run.mkdir()
        model = {"family": "module", "code": {"est.py": f"{number}"}}
        put_estimator(run / kind, 1, dynamic=kind == DYNAMIC, model=model)
        facts = put_in_service(run, target)
    assert facts["retired"] == [FULL]
    assert graphs(target) == {DYNAMIC}


@pytest.mark.parametrize("name", ["current.json", "journal.json"])
def test_a_fifo_in_place_of_a_record_does_not_block(tmp_path: Path, name: str) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1), target)
    record = target / ".cosybuild-backup" / name
    record.unlink(missing_ok=True)
    os.mkfifo(record)
    with pytest.raises(ServingError, match="not a regular file"):
        answer_of(target)
    with pytest.raises(DeployError, match="regular file"):
        check.main([str(target)])


def test_an_engine_that_another_machine_built_from_the_same_graph_stays(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, engine=True), target)
    other = run_of(tmp_path, 1, engine=True)
    for suffix in ("", ".manifest.json"):
        (other / f"{ENGINE}{suffix}").rename(other / f"{E}.fp16.sm90.rtx.engine{suffix}")
    assert put_in_service(other, target)["retired"] == []
    assert graphs(target) == {FULL, ENGINE, f"{E}.fp16.sm90.rtx.engine"}


def test_two_services_of_one_build_share_a_directory(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "dynamic"), target, "token2wav")
    facts = put_in_service(run_of(tmp_path, 1), target, "cosyvoice")
    assert facts["retired"] == []
    assert put_in_service(run_of(tmp_path, 2), target, "cosyvoice")["retired"] == [DYNAMIC]


def test_other_parts_and_files_of_the_user_are_never_touched(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    theirs = {"flow.pt": b"w", "cosyvoice2.yaml": b"y", "llm.pt": b"l", "speech_tokenizer_v2.onnx": b"graph"}
    theirs |= {"flow.cache/engine.plan": b"theirs", f"{E}.old.onnx": b"kept by hand", "campplus.onnx": b"upstream's"}
    for name, content in theirs.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
    for answer in (1, 2, 3):
        put_in_service(run_of(tmp_path, answer, engine=True), target)
        assert theirs.items() <= tree(target).items()
    speaker = tmp_path / "speaker"
    speaker.mkdir()
    put_graph(speaker / "campplus.fp32.onnx", {"input": [1, "T", 80], "output": [1, 192]}, model={"family": "onnx"})
    put_in_service(speaker, target)
    put_in_service(run_of(tmp_path, 4), target)
    assert {"campplus.fp32.onnx", FULL} <= graphs(target)
    assert answer_of(target / FULL) == 4


def test_a_copy_of_another_build_that_no_deployment_put_there_stops_a_deployment(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    mine = run_of(tmp_path, 1, "streaming")
    for path in mine.iterdir():
        shutil.copy(path, target)
    before = tree(target)
    with pytest.raises(DeployError, match=r"streaming\.fp32\.onnx comes from another build.*not replaced"):
        put_in_service(run_of(tmp_path, 2), target)
    assert tree(target) == before
    put_in_service(run_of(tmp_path, 1), target)
    assert graphs(target) == {FULL, STREAMING}


def mixed(tmp_path: Path) -> Path:
    """Return a directory of an earlier cosybuild, with two builds."""
    target = tmp_path / "service"
    target.mkdir()
    for folder in (run_of(tmp_path, 1, "dynamic"), run_of(tmp_path, 2)):
        for path in folder.iterdir():
            shutil.copy(path, target)
    return target


@pytest.mark.attack("stale", "the directory is refused, or reported as stale")
@pytest.mark.parametrize("trust", [False, True])
def test_the_runtime_refuses_a_directory_of_two_builds_and_names_both(tmp_path: Path, trust: bool) -> None:
    with pytest.raises(
        ArtifactRefused, match=rf"2 builds: {E}\.fp32\.dynamic_batch.* comes from .*, and {E}\.fp32\.onnx"
    ):
        load_estimator(mixed(tmp_path), trust=trust)


@pytest.mark.attack("stale", "the directory is refused, or reported as stale")
def test_an_engine_of_another_build_is_retired_even_if_it_cannot_be_loaded_here(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    for folder, keep in ((run_of(tmp_path, 1, engine=True), "fp16"), (run_of(tmp_path, 2), "fp32")):
        for path in folder.glob(f"*{keep}*"):
            shutil.copy(path, target)
    with pytest.raises(ArtifactRefused, match="2 builds"):
        load_estimator(target)


@pytest.mark.attack("stale", "the directory is refused, or reported as stale")
def test_check_calls_no_file_current_in_a_directory_of_two_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([str(mixed(tmp_path)), "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert {each["state"] for each in found} == {"stale"}
    assert all(FULL in each["reason"] and DYNAMIC in each["reason"] for each in found)


def test_other_hyperparameters_of_the_same_weights_are_another_build(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming", model={"hyperparameters": {"static_chunk_size": 50}}), target)
    facts = put_in_service(run_of(tmp_path, 1, model={"hyperparameters": {"static_chunk_size": 25}}), target)
    assert facts["retired"] == [STREAMING]


@pytest.mark.attack("stale", "the files of the old build are retired")
@pytest.mark.parametrize("spoil", [lambda text: text.replace('"seal"', '"sael"'), lambda text: text[:-30]])
def test_a_deployed_file_whose_manifest_cannot_be_read_is_retired(tmp_path: Path, spoil: Any) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming"), target)
    path = manifest_path(target / STREAMING)
    path.write_text(spoil(path.read_text()))
    assert put_in_service(run_of(tmp_path, 2), target)["retired"] == [STREAMING]
    assert answer_of(target) == 2


def test_the_weights_of_a_graph_are_retired_and_restored_with_it(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "dynamic", beside=True), target)
    before = tree(target)
    put_in_service(run_of(tmp_path, 2, "full", beside=True), target)
    assert graphs(target) == {FULL, f"{FULL}.data"}
    assert answer_of(target) == 2
    rollback(target)
    assert tree(target) == before
    assert answer_of(target, batch=4) == 1


@pytest.mark.attack("stale", "the files of the old build are retired")
def test_a_variant_whose_weights_are_replaced_is_retired(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming", beside=True), target)
    fixed = run_of(tmp_path, 1, "full", beside=True)
    # Both variants name the same file of weights, with different contents.
    data = (fixed / f"{FULL}.data").rename(fixed / f"{STREAMING}.data")
    data.write_bytes(data.read_bytes() + b"more")
    write_manifest(fixed / FULL, json.loads(manifest_path(fixed / FULL).read_text()), [data])
    assert put_in_service(fixed, target)["retired"] == [STREAMING]


def test_a_repository_of_triton_keeps_its_versions(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    for version in (1, 2):
        settings = TritonSettings(version=version)
        assert put_in_service(run_of(tmp_path, version), target, "triton", triton=settings)["retired"] == []
    model = target / "flow_decoder_estimator"
    assert (answer_of(model / "1"), answer_of(model / "2")) == (1, 2)
    assert check.main([str(target)]) == 0


def cached_run(root: Path, digest: float) -> Path:
    """Write the artifacts of a run with model.cache=true, whose tensors all have one type, as in version 2."""
    folder = root / f"cached-{digest:g}"
    folder.mkdir()
    shapes = estimator_shapes()
    output = shapes.pop("estimator_out")
    shapes |= {"conv_cache": [2, 80, 2], "att_cache": ["history", 2, 2, 8, 64], "estimator_out": output}
    put_graph(
        folder / CACHED, {**shapes, "new_conv_cache": [2, 80, 2], "new_att_cache": ["seq_len", 2, 2, 8, 64]},
        model={"streaming": True, "weights_digest": f"{digest:064.0f}", "name": E},
    )  # fmt: skip
    manifest = read_manifest(folder / CACHED)
    assert manifest is not None
    ports = [*manifest["interface"]["inputs"], *manifest["interface"]["outputs"]]
    manifest["interface"] = {"inputs": ports[:-3], "outputs": ports[-3:]}
    write_manifest(folder / CACHED, manifest)
    return folder


@pytest.mark.attack("stale", "the streaming estimator stays, and a cached one of other weights is retired")
def test_a_cached_estimator_stands_beside_the_streaming_one_of_its_build(tmp_path: Path) -> None:
    target = tmp_path / "service"
    put_in_service(run_of(tmp_path, 1, "streaming"), target)
    assert put_in_service(cached_run(tmp_path, 1), target)["retired"] == []
    assert graphs(target) == {STREAMING, CACHED}
    assert answer_of(target, streaming=True) == 1
    put_in_service(run_of(tmp_path, 2, "streaming"), target)
    assert graphs(target) == {STREAMING}
    put_in_service(cached_run(tmp_path, 3), target)
    assert graphs(target) == {CACHED}


def test_a_cached_estimator_is_a_model_of_its_own_in_triton(tmp_path: Path) -> None:
    target = tmp_path / "repository"
    put_in_service(run_of(tmp_path, 1, "streaming", model={"name": E}), target, "triton")
    put_in_service(cached_run(tmp_path, 1), target, "triton")
    assert {name.partition("/")[0] for name in graphs(target)} == {
        "flow_decoder_estimator_streaming",
        "flow_decoder_estimator_cached",
    }
