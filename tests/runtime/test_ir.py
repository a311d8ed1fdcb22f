"""OpenVINO IRs in a serving process: results, profiles, threads, and what is refused before it is loaded."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.errors import ArtifactRefused, ServingError, ShapeRefused
from cosybuild.manifest import manifest_path
from cosybuild.models.shape_profile import SizeRange
from cosybuild.runtime import load_estimator, load_part
from tests.backends.openvino.making import PROFILE, certify, make_ir
from tests.runtime.tiny import inputs

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def made(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return an IR of the second version, without a manifest, and its report."""
    path = tmp_path_factory.mktemp("ir") / "model.fp32.openvino.xml"
    return path, make_ir(graphs["cosyvoice2"], path)


@pytest.fixture
def ir(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """Return a copy of the IR with its manifest."""
    path, report = made
    for suffix in (".xml", ".bin"):
        (tmp_path / path.name).with_suffix(suffix).write_bytes(path.with_suffix(suffix).read_bytes())
    return certify(tmp_path / path.name, report)


def test_an_ir_computes_as_the_graph_that_it_was_made_of(ir: Path, graphs: dict[str, Path]) -> None:
    estimator, graph = load_estimator(ir), load_estimator(graphs["cosyvoice2"])
    for frames in (4, 23, 64, 5):
        given = inputs(frames, seed=frames)
        torch.testing.assert_close(estimator(**given), graph(**given), rtol=1e-4, atol=1e-5)
    half = {name: tensor.half() for name, tensor in inputs(9).items()}
    assert estimator(**half).dtype is torch.float16


def test_an_output_in_the_memory_of_an_input_is_right(ir: Path) -> None:
    estimator = load_estimator(ir)
    given = {name: tensor.contiguous() for name, tensor in inputs(24).items()}
    expected = estimator(**given)
    (context, stream), engine = estimator.acquire_estimator()
    assert engine.get_tensor_name(6) == "estimator_out"
    for name, tensor in given.items():
        context.set_input_shape(name, tuple(tensor.shape))
        context.set_tensor_address(name, tensor.data_ptr())
    context.set_tensor_address("estimator_out", given["x"].data_ptr())
    assert context.execute_async_v3(0)
    estimator.release_estimator(context, stream)
    assert torch.equal(given["x"], expected)


def test_a_directory_prefers_the_ir_and_falls_back_to_the_graph_outside_its_profile(
    ir: Path, graphs: dict[str, Path]
) -> None:
    graph = ir.with_name("model.fp32.onnx")
    graph.write_bytes(graphs["cosyvoice2"].read_bytes())
    manifest_path(graph).write_bytes(manifest_path(graphs["cosyvoice2"]).read_bytes())
    ir.with_name("another_program.xml").write_text("<settings/>")
    estimator = load_estimator(ir.parent)
    assert [one.name for one in estimator.served] == [ir.name, graph.name]
    assert estimator(**inputs(64)).shape == (2, 8, 64)
    assert estimator(**inputs(65)).shape == (2, 8, 65)
    with pytest.raises(ShapeRefused, match=r"x 2x8x4\.\.64"):
        load_estimator(ir)(**inputs(65))


def test_a_size_between_two_profiles_is_refused(graphs: dict[str, Path], tmp_path: Path) -> None:
    profiles = (PROFILE, {"seq_len": SizeRange(80, 88, 96)})
    path = tmp_path / "m.xml"
    certify(path, make_ir(graphs["cosyvoice2"], path, profiles=profiles), profiles)
    estimator = load_estimator(path)
    assert estimator(**inputs(80)).shape == (2, 8, 80)
    with pytest.raises(ShapeRefused):
        estimator(**inputs(70))


def test_eight_threads_get_the_results_of_one(ir: Path) -> None:
    estimator = load_estimator(ir, concurrency=3, timeout=120, threads=1)
    calls = {frames: inputs(frames, seed=frames) for frames in (4, 9, 23, 40, 64)}
    expected = {frames: estimator(**given) for frames, given in calls.items()}
    faults: list[int] = []

    def work() -> None:
        for _ in range(30):
            faults.extend(n for n, given in calls.items() if not torch.equal(estimator(**given), expected[n]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []


def test_the_type_that_products_compute_in_can_be_chosen(ir: Path) -> None:
    assert load_estimator(ir, precision="float32").served[0].computed_in == "float32"
    with pytest.raises(ArtifactRefused, match=r"is float32"):
        load_estimator(ir.parent, precision="bfloat16")


def test_an_ir_does_not_load_on_a_gpu(ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(ArtifactRefused, match=r"an OpenVINO IR runs on the CPU"):
        load_estimator(ir, "cuda")


def test_damaged_weights_and_weights_of_another_name_are_refused(ir: Path, made: Any) -> None:
    weights = ir.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactRefused, match=r"is not the file that its manifest describes"):
        load_estimator(ir, trust=True)
    weights.write_bytes(content)
    moved = ir.rename(ir.with_name("other.xml"))
    manifest_path(ir).rename(manifest_path(moved))
    with pytest.raises(ArtifactRefused, match=r"OpenVINO reads other\.bin"):
        load_estimator(moved, trust=True)


def test_without_a_manifest_the_precision_is_not_known(ir: Path) -> None:
    manifest_path(ir).unlink()
    with pytest.raises(ArtifactRefused, match=r"no manifest"):
        load_estimator(ir, trust=True)


def test_an_ir_of_another_release_or_for_another_processor_is_refused_before_it_is_loaded(
    ir: Path, made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, report = made
    certify(ir, {**report, "version": "2025.1.0-1"})
    with pytest.raises(ArtifactRefused, match=r"verified with openvino 2025\.1"):
        load_estimator(ir, trust=True)
    certify(ir, {**report, "precision": "bf16"})
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("cosybuild.runtime.admission.read_cpu_features", lambda: frozenset(["avx2", "avx512f"]))
    monkeypatch.setattr("cosybuild.runtime.ir.compile_ir", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ArtifactRefused, match=r"needs a processor with avx512_bf16 or amx_bf16"):
        load_estimator(ir, trust=True)


def test_an_unverified_ir_needs_trust(ir: Path, made: tuple[Path, dict[str, Any]]) -> None:
    certify(ir, made[1], verified=None)
    with pytest.raises(ArtifactRefused, match=r"was not verified"):
        load_estimator(ir)
    assert load_estimator(ir, trust=True)(**inputs(8)).shape == (2, 8, 8)


def test_an_ir_as_a_part_is_called_with_arrays(ir: Path, graphs: dict[str, Path]) -> None:
    part, graph = load_part(ir), load_part(graphs["cosyvoice2"])
    given = {name: tensor.numpy() for name, tensor in inputs(23).items()}
    actual, expected = (torch.from_numpy(one(**given)["estimator_out"]) for one in (part, graph))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ServingError, match=r"OpenVINO ended the run of .* with x \(2, 8, 65\)"):
        part(**{name: tensor.numpy() for name, tensor in inputs(65).items()})
