"""Reading an engine's interface and calling its context, with an object that records the calls.

Engines themselves run on a GPU only (`test_gpu.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.errors import ArtifactRefused, ServingError, ShapeRefused
from cosybuild.runtime.context import Context
from cosybuild.runtime.engine import EngineDriver, interface_of
from cosybuild.runtime.interface import INPUTS, OUTPUT

trt = pytest.importorskip("tensorrt_rtx")

RANGES = ((4, 500), (501, 3000))
AXES: dict[str, tuple[int, ...]] = {"mask": (2, 1, -1), "t": (2,), "spks": (2, 80)}


class StandInEngine:
    """An engine with given properties, in the library's own enumerations."""

    num_io_tensors = 7
    num_optimization_profiles = 2

    def __init__(self, dtype: Any = trt.DataType.HALF) -> None:
        self.dtype = dtype

    def get_tensor_name(self, index: int) -> str:
        return (*INPUTS, OUTPUT)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return trt.TensorIOMode.OUTPUT if name == OUTPUT else trt.TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return AXES.get(name, (2, 80, -1))

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        low, high = RANGES[index]
        sizes = (low, low, high)
        return [tuple(size if axis == -1 else axis for axis in self.get_tensor_shape(name)) for size in sizes]


class RecordingContext:
    def __init__(self, refuses: str = "") -> None:
        self.calls: list[Any] = []
        self.refuses = refuses

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> bool:
            self.calls.append((name, *arguments))
            return name != self.refuses

        return call


def context(recording: RecordingContext) -> Context:
    interface = interface_of(trt, StandInEngine(), Path("a.plan"))
    return Context(interface, EngineDriver(recording, interface, "a.plan"), torch.device("cpu"), "a.plan")


def give(target: Context, frames: int) -> None:
    for index, name in enumerate(INPUTS):
        target.set_input_shape(name, tuple(frames if axis == -1 else axis for axis in AXES.get(name, (2, 80, -1))))
        target.set_tensor_address(name, (index + 1) << 30)
    target.set_tensor_address(OUTPUT, 1 << 40)


def test_ports_and_profiles_are_read_from_the_engine() -> None:
    interface = interface_of(trt, StandInEngine(), Path("a.plan"))
    assert interface.names == (*INPUTS, OUTPUT)
    assert interface.dtype == "float16"
    assert interface.describe().split(" or ")[1].startswith("x 2x80x501..3000, mask 2x1x501..3000, mu")


def test_a_type_outside_the_contract_is_refused() -> None:
    with pytest.raises(ArtifactRefused, match="'x' is INT8"):
        interface_of(trt, StandInEngine(trt.DataType.INT8), Path("a.plan"))


def test_the_profile_is_switched_only_when_it_changes() -> None:
    recording = RecordingContext()
    target = context(recording)
    for frames in (100, 200, 1000, 1000, 100):
        give(target, frames)
        target.execute_async_v3(0)
    switches = [call[1] for call in recording.calls if call[0] == "set_optimization_profile_async"]
    assert switches == [1, 0]
    assert sum(call[0] == "execute_async_v3" for call in recording.calls) == 5


def test_every_tensor_has_a_shape_and_an_address_before_the_start() -> None:
    recording = RecordingContext()
    target = context(recording)
    give(target, 100)
    target.execute_async_v3(7)
    assert [call[1] for call in recording.calls if call[0] == "set_input_shape"] == list(INPUTS)
    assert {call[1] for call in recording.calls if call[0] == "set_tensor_address"} == {*INPUTS, OUTPUT}
    assert recording.calls[-1] == ("execute_async_v3", 7)


def test_a_shape_between_the_profiles_is_refused_before_the_engine_runs() -> None:
    recording = RecordingContext()
    target = context(recording)
    give(target, 100)
    target.set_input_shape("mask", (2, 1, 1000))
    with pytest.raises(ShapeRefused, match=r"a\.plan does not serve"):
        target.execute_async_v3(0)
    assert recording.calls == []


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("set_input_shape", "does not accept the shape"),
        ("set_tensor_address", "an address"),
        ("execute_async_v3", "start"),
    ],
)
def test_a_refusal_of_the_engine_is_an_error(refuses: str, words: str) -> None:
    target = context(RecordingContext(refuses))
    give(target, 100)
    with pytest.raises(ServingError, match=words):
        target.execute_async_v3(0)
