"""For each row of the contract's table, the deployed file is the one that the runtime expects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.errors import DeployError
from cosybuild.onnxgraph.header import read_header
from cosybuild.system.environment import Environment
from tests.deploy.delivering import campplus_shapes, estimator_shapes, put_graph, put_plan, tree

E = "flow.decoder.estimator"
HERE = Environment(gpu_list=())


def put_in_service(artifacts: Path, service: str, target: Path, **more: Any) -> dict[str, Any]:
    settings = DeploySettings(service=Service(service), dir=str(target), **{"target_sm": 89, **more})
    return deploy(artifacts, settings, HERE, profiles=[{"batch": (2, 4, 32), "seq_len": (4, 500, 3000)}])


def delivered(artifacts: Path, family: str, *, batch: int | str = 2, streaming: bool = False) -> None:
    """Write everything that a run of the estimator can deliver: both precisions, graph and plan, and engines of RTX."""
    artifacts.mkdir(exist_ok=True)
    shapes, model = estimator_shapes(batch), {"family": family, "streaming": streaming}
    infix = "streaming." if streaming else ""
    for precision, dtype in (("fp32", "float32"), ("fp16", "float16")):
        put_graph(artifacts / f"{E}.{infix}{precision}.onnx", shapes, dtype=dtype, model=model)
        put_plan(artifacts / f"{E}.{infix}{precision}.mygpu.plan", shapes, dtype=dtype, model=model)
        put_plan(
            artifacts / f"{E}.{infix}{precision}.sm89.rtx.engine",
            shapes,
            dtype=dtype,
            library="tensorrt_rtx",
            model=model,
        )


# service, family, batch, streaming -> name: dtype
TABLE: list[tuple[str, str, int | str, bool, dict[str, str]]] = [
    *(
        ("cosyvoice", f"cosyvoice{version}", 2, False, {
            f"{E}.fp32.onnx": "float32",
            f"{E}.fp32.mygpu.plan": "float32",
            f"{E}.fp16.mygpu.plan": "float16",
        })
        for version in (1, 2, 3)
    ),
    ("token2wav", "cosyvoice2", "batch", False, {
        f"{E}.fp32.dynamic_batch.onnx": "float32",
        f"{E}.fp16.dynamic_batch.l20.plan": "float16",
    }),
    ("token2wav", "cosyvoice3", 2, False, {
        f"{E}.autocast_fp16.onnx": "float16",
        f"{E}.autocast_fp16.0.plan": "float16",
    }),
    ("token2wav", "cosyvoice3", 2, True, {
        f"{E}.streaming.autocast_fp16.onnx": "float16",
        f"{E}.streaming.autocast_fp16.0.plan": "float16",
    }),
    *((service, "cosyvoice3", 2, False, {f"{E}.autocast_fp16.onnx": "float16"})
      for service in ("vllm_omni", "sglang_omni")),
]  # fmt: skip


@pytest.mark.parametrize(("service", "family", "batch", "streaming", "files"), TABLE)
def test_each_row_of_the_table_for_the_estimator_gives_its_files(
    tmp_path: Path, service: str, family: str, batch: int | str, streaming: bool, files: dict[str, str]
) -> None:
    delivered(tmp_path / "artifacts", family, batch=batch, streaming=streaming)
    facts = put_in_service(tmp_path / "artifacts", service, tmp_path / "service")
    assert set(facts["files"]) == set(files)
    assert set(tree(tmp_path / "service")) == {name + suffix for name in files for suffix in ("", ".manifest.json")}
    for name, dtype in files.items():
        manifest = json.loads((tmp_path / "service" / f"{name}.manifest.json").read_text())
        ports = [*manifest["interface"]["inputs"], *manifest["interface"]["outputs"]]
        varying: int | str = batch if name.endswith(".onnx") else -1 if isinstance(batch, str) else batch
        length: int | str = "seq_len" if name.endswith(".onnx") else -1
        expected = [
            [length if axis == "seq_len" else axis for axis in shape] for shape in estimator_shapes(varying).values()
        ]
        assert [port["name"] for port in ports] == [*estimator_shapes()]
        assert [port["shape"] for port in ports] == expected
        assert {port["dtype"] for port in ports} == {dtype}
        assert manifest["file"]["name"] == name
        if name.endswith(".onnx"):
            header = read_header(tmp_path / "service" / name)
            assert [(p.name, p.dtype, list(p.shape)) for p in (*header.inputs, *header.outputs)] == [
                (port["name"], port["dtype"], port["shape"]) for port in ports
            ]


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ("cosyvoice", {"campplus.onnx"}),
        ("token2wav", {"campplus.onnx", "campplus.3.fp32.plan", "campplus.l20.fp32.trt"}),
    ],
)
def test_each_row_of_the_table_for_the_speaker_model_gives_its_files(
    tmp_path: Path, service: str, names: set[str]
) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    put_graph(artifacts / "campplus.fp32.onnx", campplus_shapes(), model={"family": "onnx"})
    put_plan(artifacts / "campplus.fp32.mygpu.plan", campplus_shapes(), dtype="float32", model={"family": "onnx"})
    facts = put_in_service(artifacts, service, tmp_path / "service", device_id=3)
    assert set(facts["files"]) == names
    header = read_header(tmp_path / "service" / "campplus.onnx")
    assert [(p.name, p.dtype, p.shape) for p in (*header.inputs, *header.outputs)] == [
        ("input", "float32", (1, "seq_len", 80)),
        ("output", "float32", (1, 192)),
    ]


def test_a_bundle_has_all_artifacts_under_the_names_that_runtimes_read(tmp_path: Path) -> None:
    delivered(tmp_path / "artifacts", "cosyvoice3")
    facts = put_in_service(tmp_path / "artifacts", "bundle", tmp_path / "service")
    assert {f"{E}.fp32.onnx", f"{E}.autocast_fp16.onnx"} < set(facts["files"])
    assert f"{E}.fp16.sm89.rtx.engine" in facts["files"]
    assert len(facts["files"]) == 6


@pytest.mark.parametrize(
    ("service", "family", "batch", "words"),
    [
        ("token2wav", "cosyvoice1", 2, "does not read any artifact of this run"),
        (
            "token2wav",
            "cosyvoice2",
            2,
            r"needs flow\.decoder\.estimator\.fp32\.dynamic_batch\.onnx: a float32 graph with dynamic",
        ),
        (
            "cosyvoice",
            "cosyvoice2",
            "batch",
            r"needs flow\.decoder\.estimator\.fp32\.onnx: a float32 graph with fixed batch",
        ),
    ],
)
def test_an_artifact_that_the_runtime_cannot_read_is_not_deployed(
    tmp_path: Path, service: str, family: str, batch: int | str, words: str
) -> None:
    delivered(tmp_path / "artifacts", family, batch=batch)
    with pytest.raises(DeployError, match=words):
        put_in_service(tmp_path / "artifacts", service, tmp_path / "service")
    assert not (tmp_path / "service").exists()


def test_a_streaming_artifact_is_not_deployed_for_full_attention(tmp_path: Path) -> None:
    delivered(tmp_path / "artifacts", "cosyvoice2", streaming=True)
    with pytest.raises(DeployError, match="does not read any"):
        put_in_service(tmp_path / "artifacts", "cosyvoice", tmp_path / "service")


@pytest.mark.parametrize("service", ["vllm_omni", "sglang_omni"])
def test_a_runtime_that_would_build_weak_fp16_gets_no_fp32_graph(tmp_path: Path, service: str) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    put_graph(artifacts / f"{E}.fp32.onnx", estimator_shapes(2), model={"family": "cosyvoice3"})
    with pytest.raises(DeployError, match=r"needs flow\.decoder\.estimator\.autocast_fp16\.onnx"):
        put_in_service(artifacts, service, tmp_path / "service")


def test_graphs_that_sglang_omni_opens_first_are_retired_and_come_back(tmp_path: Path) -> None:
    delivered(tmp_path / "artifacts", "cosyvoice3")
    service = tmp_path / "service"
    service.mkdir()
    for name in ("fp32.onnx", "onnx"):
        (service / f"{E}.{name}").write_bytes(b"published")
    facts = put_in_service(tmp_path / "artifacts", "sglang_omni", service)
    assert facts["retired"] == [f"{E}.fp32.onnx", f"{E}.onnx"]
    assert sorted(path.name for path in service.glob("*.onnx")) == [f"{E}.autocast_fp16.onnx"]
    rollback(service)
    assert sorted(path.name for path in service.glob("*.onnx")) == [f"{E}.fp32.onnx", f"{E}.onnx"]


@pytest.mark.parametrize("kind", ["directory", "pipe", "link without a target"])
def test_a_name_that_sglang_omni_opens_first_and_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    delivered(tmp_path / "artifacts", "cosyvoice3")
    service = tmp_path / "service"
    service.mkdir()
    first = service / f"{E}.fp32.onnx"
    {"directory": first.mkdir, "pipe": lambda: os.mkfifo(first)}.get(kind, lambda: first.symlink_to("gone"))()
    with pytest.raises(DeployError, match="is not a file, and the service would open it before"):
        put_in_service(tmp_path / "artifacts", "sglang_omni", service)
    assert [path.name for path in service.iterdir() if path.suffix == ".onnx"] == [first.name]
