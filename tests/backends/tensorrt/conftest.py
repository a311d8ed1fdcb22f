"""Fixture: one small engine, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx")

from cosybuild.backends.tensorrt.builder import BuiltEngine, build_engine
from cosybuild.backends.tensorrt.builder_config import ShapeProfile, shapes_from_profile
from cosybuild.backends.tensorrt.library import TensorRtLibrary, import_library
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.models.shape_profile import SizeRange
from tests.backends.tensorrt.graphs import SPEC, attention_graph


@pytest.fixture(scope="session")
def rtx() -> TensorRtLibrary:
    return import_library("tensorrt_rtx")


@pytest.fixture(scope="session")
def shapes() -> ShapeProfile:
    return shapes_from_profile({"seq_len": SizeRange(4, 500, 3000)}, SPEC)


@pytest.fixture(scope="session")
def fp16_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attention_graph(tmp_path_factory.mktemp("graph") / "fp16.onnx", "float16")


@pytest.fixture(scope="session")
def fp32_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attention_graph(tmp_path_factory.mktemp("graph") / "fp32.onnx")


@pytest.fixture(scope="session")
def fp16_engine(
    rtx: TensorRtLibrary, shapes: ShapeProfile, fp16_graph: Path, tmp_path_factory: pytest.TempPathFactory
) -> BuiltEngine:
    path = tmp_path_factory.mktemp("engine") / "small.fp16.sm89.rtx.engine"
    return build_engine(rtx, fp16_graph, path, TrtSettings(), precision="fp16", sm=89, profiles=[shapes])
