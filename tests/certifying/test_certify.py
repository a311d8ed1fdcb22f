"""Verdicts on estimators that other people could have made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from cosybuild.certifying.verdict import Outcome, Verdict
from cosybuild.config.groups.export import Exporter
from cosybuild.models.cosyvoice.estimator import mask
from cosybuild.models.cosyvoice.estimator.layers import SelfAttention, rotate
from tests.certifying.foreign import Wrapped, copied, subject_of, verdict_on, with_other_weights, write
from tests.models.fixtures import INPUTS


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("models")
    return {version: copied(version, base / f"model{version}") for version in (1, 2, 3)}


def named(verdict: Verdict) -> list[str]:
    return [known.name for known in verdict.mistakes]


def test_a_right_file_is_right(directories: dict[int, Path], tmp_path: Path) -> None:
    hold_right(2, directories, tmp_path)


@pytest.mark.parametrize("version", [1, 3])
def test_a_right_file_of_another_version_is_right(version: int, directories: dict[int, Path], tmp_path: Path) -> None:
    hold_right(version, directories, tmp_path)


def hold_right(version: int, directories: dict[int, Path], tmp_path: Path) -> None:
    verdict = verdict_on(write(tmp_path / "e.onnx", subject_of(directories[version])), directories[version])
    assert (verdict.outcome, verdict.reason) == (Outcome.right, "")
    assert (verdict.component, verdict.family) == ("estimator", f"cosyvoice{version}")
    assert verdict.streaming is (None if version == 1 else False)
    assert verdict.figures["contract"]["properties"]


def test_a_right_file_of_the_other_exporter_with_the_streaming_mask_is_right(
    directories: dict[int, Path], tmp_path: Path
) -> None:
    subject = subject_of(directories[3], streaming=True)
    verdict = verdict_on(write(tmp_path / "e.onnx", subject, exporter=Exporter.dynamo), directories[3])
    assert (verdict.outcome, verdict.streaming) == (Outcome.right, True)


def retyped(path: Path, names: list[str], *, half: bool) -> Path:
    """Write the graph with other names of its inputs, and with float16 inputs and weights if `half`."""
    model = onnx.load(str(path))
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, disable_shape_infer=True)
    for value, name in zip(model.graph.input, names, strict=True):
        for node in model.graph.node:
            for index, read in enumerate(node.input):
                if read == value.name:
                    node.input[index] = name
        value.name = name
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("half", [False, True])
def test_other_names_and_float16_are_no_fault(half: bool, directories: dict[int, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "e.onnx", subject_of(directories[2]))
    # These names are tensors inside the copy or inputs at other positions: they must not be confused.
    names = ["in0", "x", "in2", "mu", "in4", "in5"]
    verdict = verdict_on(retyped(path, names, half=half), directories[2])
    assert (verdict.outcome, verdict.by_name) == (Outcome.right, False), verdict.reason
    assert verdict.ports["inputs"] == dict(zip(("x", "mask", "mu", "t", "spks", "cond"), names, strict=True))
    assert verdict.dtype == ("fp16" if half else "fp32")


def test_an_overflow_that_the_processor_hides_is_named(directories: dict[int, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "e.onnx", subject_of(directories[2]))
    model = onnx.load(str(path))
    node = next(n for n in model.graph.node if n.name.endswith("to_qkv/MatMul"))
    name = node.output[0]
    for reader in model.graph.node:
        reader.input[:] = ["back" if read == name else read for read in reader.input]
    place = list(model.graph.node).index(node) + 1
    for step, (read, factor, written) in enumerate(((name, 6e4, "large"), ("large", 1 / 6e4, "back"))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), f"factor{step}"))
        model.graph.node.insert(place + step, onnx.helper.make_node("Mul", [read, f"factor{step}"], [written]))
    onnx.save(model, str(path))
    verdict = verdict_on(retyped(path, list(INPUTS), half=True), directories[2])
    assert (verdict.outcome, named(verdict)) == (Outcome.wrong, ["fp16 overflow"]), verdict.reason
    assert "first in the tensor file/large" in verdict.mistakes[0].says


class EveryHead(SelfAttention):
    def _project(self, x: Tensor) -> Tensor:
        self.every = True
        return super()._project(x)

    def _rotated(self, heads: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        count = self.heads - 1
        turned, value = rotate(heads[:, : 2 + 2 * count], self.swap, angles), heads[:, 2 + 2 * count :]
        query = torch.cat((turned[:, :1], turned[:, 2 : 2 + count]), dim=1)
        return query, torch.cat((turned[:, 1:2], turned[:, 2 + count :]), dim=1), value


def every_head(module: Any) -> None:
    for part in module.modules():
        if isinstance(part, SelfAttention):
            part.__class__ = EveryHead


def wrapped(before: Callable[..., Any]) -> Callable[[Any], nn.Module]:
    return lambda module: Wrapped(module, before)


def chunked(frames: int) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        module.estimator.chunk = frames

    return change


def without_the_scale(module: Any) -> None:
    time = module.estimator.time_embed["time_mlp"]
    time.frequencies = time.frequencies / 1000


def exchanged_mu_and_cond(x: Tensor, m: Tensor, mu: Tensor, t: Tensor, s: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, m, cond, t, s, mu


def all_valid(x: Tensor, m: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    return x, m * 0 + 1, *rest


def one_speaker(x: Tensor, m: Tensor, mu: Tensor, t: Tensor, s: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, m, mu, t, s[:1].expand(2, -1), cond


@pytest.mark.parametrize(
    ("version", "streaming", "change", "name"),
    [
        (3, False, every_head, "rotary on every head"),
        (3, True, chunked(5), "chunk length"),
    ],
)
def test_a_planted_mistake_is_named(
    version: int, streaming: bool, change: Any, name: str, directories: dict[int, Path], tmp_path: Path
) -> None:
    hold_named(version, streaming, change, name, directories, tmp_path)


@pytest.mark.parametrize(
    ("version", "change", "name"),
    [
        (1, wrapped(exchanged_mu_and_cond), "mu and cond exchanged"),
        (2, wrapped(all_valid), "mask ignored"),
        (3, without_the_scale, "time not scaled"),
        (2, wrapped(one_speaker), "one speaker for all rows"),
    ],
)
def test_a_further_mistake_is_named(
    version: int, change: Any, name: str, directories: dict[int, Path], tmp_path: Path
) -> None:
    hold_named(version, False, change, name, directories, tmp_path)


def hold_named(
    version: int, streaming: bool, change: Any, name: str, directories: dict[int, Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "e.onnx", subject_of(directories[version], streaming=streaming), change)
    verdict = verdict_on(path, directories[version], streaming=streaming)
    assert (verdict.outcome, named(verdict)) == (Outcome.wrong, [name])


def test_an_unknown_mistake_is_not_named(
    directories: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask, "HIDDEN", 1.0)
    path = write(tmp_path / "e.onnx", subject_of(directories[2]))
    monkeypatch.undo()
    verdict = verdict_on(path, directories[2])
    assert (verdict.outcome, named(verdict)) == (Outcome.wrong, [])
    assert "It matches no known mistake" in verdict.notes[0]


def test_the_variant_that_the_name_states_is_expected(directories: dict[int, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "e.streaming.fp32.onnx", subject_of(directories[2]))
    verdict = verdict_on(path, directories[2])
    assert (verdict.outcome, named(verdict)) == (Outcome.wrong, ["full attention"])
    assert verdict_on(path, directories[2], streaming=False).outcome is Outcome.right


def test_other_weights_are_recognised(directories: dict[int, Path], tmp_path: Path) -> None:
    hold_other_weights(2, directories, tmp_path)


@pytest.mark.parametrize("version", [1, 3])
def test_other_weights_of_other_versions_are_recognised(
    version: int, directories: dict[int, Path], tmp_path: Path
) -> None:
    hold_other_weights(version, directories, tmp_path)


def hold_other_weights(version: int, directories: dict[int, Path], tmp_path: Path) -> None:
    tuned = with_other_weights(version, tmp_path / "tuned")
    verdict = verdict_on(write(tmp_path / "e.onnx", subject_of(directories[version])), tuned)
    assert verdict.outcome is Outcome.other_weights, verdict.reason
    assert verdict.mistakes == ()


def test_a_mistake_in_a_file_with_other_weights_is_named(directories: dict[int, Path], tmp_path: Path) -> None:
    tuned = with_other_weights(2, tmp_path / "tuned")
    path = write(tmp_path / "e.onnx", subject_of(directories[2]), wrapped(exchanged_mu_and_cond))
    verdict = verdict_on(path, tuned)
    assert (verdict.outcome, named(verdict)) == (Outcome.wrong, ["mu and cond exchanged"])
    assert "It also has other weights" in verdict.notes[0]


def test_a_file_of_another_interface_is_not_matched(directories: dict[int, Path], tmp_path: Path) -> None:
    value = [onnx.helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8), str(tmp_path / "r.onnx"))
    verdict = verdict_on(tmp_path / "r.onnx", directories[1])
    assert verdict.outcome is Outcome.unmatched
    assert "It has inputs x (2, 3) float32 and outputs y (2, 3) float32." in verdict.reason
    assert "expected are inputs x (batch, 8, seq_len) float32, mask" in verdict.reason


def test_external_data_outside_the_directory_is_refused(directories: dict[int, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "e.onnx", subject_of(directories[1]))
    model = onnx.load(str(path))
    tensor = next(t for t in model.graph.initializer if len(t.raw_data) > 1000)
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "../secret", 0, len(tensor.raw_data))
    tensor.ClearField("raw_data")
    (tmp_path / "inner").mkdir()
    hostile = tmp_path / "inner" / "e.onnx"
    hostile.write_bytes(model.SerializeToString())
    verdict = verdict_on(hostile, directories[1])
    assert verdict.outcome is Outcome.unreadable
    assert "'../secret'" in verdict.reason


def _noted(text: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            entry = node.metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.name_scopes", text

    return change


def _unread_weight(model: onnx.ModelProto) -> None:
    """Add a weight that no node reads, and whose size is not that of its data."""
    known = next(tensor.name for tensor in model.graph.initializer if tensor.name.endswith(".weight"))
    model.graph.initializer.add(name=f"unread.{known}", data_type=onnx.TensorProto.FLOAT, raw_data=bytes(384))


@pytest.mark.attack("malformed", "the verdict is that of the file without these entries")
@pytest.mark.parametrize(
    "change",
    [*map(_noted, ["[", "5", "[5, 6]", "{}", "(" * 300, "-" * 9000 + "1", "-" * 100_000 + "1", "\0"]), _unread_weight],
    ids=["open", "a number", "numbers", "a mapping", "nested", "deep", "long", "NUL", "an unread weight"],
)
def test_damaged_entries_of_a_file_with_other_weights_cause_no_internal_error(
    change: Callable[[onnx.ModelProto], None], directories: dict[int, Path], tmp_path: Path
) -> None:
    other = with_other_weights(1, tmp_path / "other")
    model = onnx.load(str(write(tmp_path / "e.onnx", subject_of(other))))
    change(model)
    onnx.save(model, str(tmp_path / "e.onnx"))
    verdict = verdict_on(tmp_path / "e.onnx", directories[1])
    assert verdict.outcome in (Outcome.other_weights, Outcome.unreadable), verdict.reason
