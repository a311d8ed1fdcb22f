"""Backend x version x typing x precision: each combination builds, or gives the exact reason why it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosybuild.backends.tensorrt import builder, progress
from cosybuild.backends.tensorrt.builder import build_engine
from cosybuild.backends.tensorrt.builder_config import ShapeProfile
from cosybuild.backends.tensorrt.features import check_module, check_settings
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.config.groups.trt import HardwareCompatibility, Refit, TrtSettings, Typing
from cosybuild.errors import ConfigurationError
from tests.backends.tensorrt.graphs import attention_graph
from tests.backends.tensorrt.modules import Builder, rtx, tensorrt_10, tensorrt_11

LIBRARIES = {"tensorrt 10": tensorrt_10, "tensorrt 11": tensorrt_11, "tensorrt_rtx": rtx}
GRAPH_TYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "mixed": "float32"}
WEAK_GONE = (
    "trt.typing=weak is set, but {who} does not support it; TensorRT 10.x does "
    "(BuilderFlag.{flag} exists only there; elsewhere the graph has the types)."
)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("graphs")
    return {dtype: attention_graph(place / f"{dtype}.onnx", dtype) for dtype in set(GRAPH_TYPES.values())}


def build(
    library: TensorRtLibrary, graph: Path, path: Path, shapes: ShapeProfile, settings: TrtSettings, precision: str
) -> dict[str, float]:
    """Build, and return the operations by type in the network."""
    Builder.made.clear()
    sm = 89 if library.ahead_of_time else None
    built = build_engine(library, graph, path, settings, precision=precision, sm=sm, profiles=[shapes])
    assert built.path.stat().st_size > 0
    return {dtype: built.facts.share(dtype) for dtype in built.facts.operations}


@pytest.mark.parametrize("version", LIBRARIES)
@pytest.mark.parametrize(("precision", "share"), [
    ("fp32", {"FLOAT": 1.0}),
    ("tf32", {"FLOAT": 1.0}),
    ("fp16", {"HALF": 1.0}),
    ("bf16", {"BF16": 1.0}),
    ("mixed", {"FLOAT": 1.0}),
])  # fmt: skip
def test_strong_typing_builds_the_types_of_the_graph(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, version: str, precision: str, share: dict[str, float]
) -> None:
    graph = graphs[GRAPH_TYPES[precision]]
    assert build(LIBRARIES[version](), graph, tmp_path / "e", shapes, TrtSettings(), precision) == share


@pytest.mark.parametrize(("precision", "flags"), [
    ("fp32", set()), ("tf32", set()), ("fp16", {"FP16"}), ("bf16", {"BF16"}),
])  # fmt: skip
def test_weak_typing_of_tensorrt_10_sets_the_flag(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, precision: str, flags: set[str]
) -> None:
    build(tensorrt_10(), graphs["float32"], tmp_path / "e", shapes, TrtSettings(typing=Typing.weak), precision)
    (builder,) = Builder.made
    assert builder.config is not None
    assert builder.config.noted == flags
    assert builder.flags == 0b01  # EXPLICIT_BATCH alone


@pytest.mark.parametrize(("version", "who"), [
    ("tensorrt 11", "TensorRT 11.4.1"), ("tensorrt_rtx", rtx().title),
])  # fmt: skip
@pytest.mark.parametrize(
    ("precision", "flag"), [("fp32", "FP16"), ("tf32", "FP16"), ("fp16", "FP16"), ("bf16", "BF16")]
)
def test_weak_typing_is_refused_by_other_versions_with_the_names_of_those_that_have_it(
    graphs: dict[str, Path],
    shapes: ShapeProfile,
    tmp_path: Path,
    version: str,
    who: str,
    precision: str,
    flag: str,
) -> None:
    weak = TrtSettings(typing=Typing.weak)
    with pytest.raises(ConfigurationError) as caught:
        build(LIBRARIES[version](), graphs["float32"], tmp_path / "e", shapes, weak, precision)
    assert caught.value.message == WEAK_GONE.format(who=who, flag=flag)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("version", LIBRARIES)
def test_weak_typing_refuses_mixed_precision(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, version: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(
            LIBRARIES[version](),
            graphs["float32"],
            tmp_path / "e",
            shapes,
            TrtSettings(typing=Typing.weak),
            "mixed",
        )
    assert caught.value.message == (
        "trt.typing=weak cannot give precision=mixed, because the flag sets one type for the whole graph."
    )


@pytest.mark.parametrize(("version", "flags"), [("tensorrt 10", 0b11), ("tensorrt 11", 0)])
def test_networks_are_created_with_the_flags_that_the_version_has(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, version: str, flags: int
) -> None:
    build(LIBRARIES[version](), graphs["float16"], tmp_path / "e", shapes, TrtSettings(), "fp16")
    (builder,) = Builder.made
    assert builder.flags == flags


@pytest.mark.parametrize(("version", "trimmed"), [
    ("tensorrt 10", False), ("tensorrt 11", False), ("tensorrt_rtx", True),
])  # fmt: skip
def test_the_heap_is_trimmed_where_no_kernel_is_timed(
    graphs: dict[str, Path],
    shapes: ShapeProfile,
    tmp_path: Path,
    version: str,
    trimmed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(builder, "trim_heap", lambda: calls.append(None))
    build(LIBRARIES[version](), graphs["float16"], tmp_path / "e", shapes, TrtSettings(), "fp16")
    assert bool(calls) == trimmed


@pytest.mark.parametrize("version", LIBRARIES)
@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("fp16", False)])
def test_tf32_is_allowed_where_it_was_requested_only(
    graphs: dict[str, Path],
    shapes: ShapeProfile,
    tmp_path: Path,
    version: str,
    precision: str,
    allowed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = LIBRARIES[version]()
    told: list[bool] = []
    inner = library.module.Builder.build_serialized_network

    def spy(self: object, network: object, config: object) -> object:
        told.append(config.get_flag(library.module.BuilderFlag.TF32))  # type: ignore[attr-defined]
        return inner(self, network, config)

    monkeypatch.setattr(library.module.Builder, "build_serialized_network", spy)
    build(library, graphs[GRAPH_TYPES[precision]], tmp_path / "e", shapes, TrtSettings(), precision)
    assert told == [allowed]


RTX_HAS_NOT: list[tuple[TrtSettings, str]] = [
    (
        TrtSettings(hardware_compatibility=HardwareCompatibility.ampere_plus),
        "trt.hardware_compatibility=ampere_plus is set, but {who} does not support it; TensorRT does "
        "(TensorRT-RTX ignores it and builds one engine for each compute capability).",
    ),
    (
        TrtSettings(version_compatible=True),
        "trt.version_compatible=true is set, but {who} does not support it; TensorRT does "
        "(TensorRT-RTX has no lean runtime that could be put into the engine).",
    ),
    (
        TrtSettings(timing_cache=True),
        "trt.timing_cache=true is set, but {who} does not support it; TensorRT does "
        "(TensorRT-RTX does not measure kernels during the build, so a timing cache would change nothing).",
    ),
]


@pytest.mark.parametrize(("settings", "message"), RTX_HAS_NOT)
def test_rtx_refuses_settings_that_it_would_ignore(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, settings: TrtSettings, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(rtx(), graphs["float16"], tmp_path / "e", shapes, settings, "fp16")
    assert caught.value.message == message.format(who=rtx().title)


@pytest.mark.parametrize("version", ["tensorrt 10", "tensorrt 11"])
def test_hardware_compatibility_reaches_the_builder(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, version: str
) -> None:
    settings = TrtSettings(hardware_compatibility=HardwareCompatibility.ampere_plus)
    built = build_engine(
        LIBRARIES[version](), graphs["float16"], tmp_path / "e", settings, precision="fp16", sm=None, profiles=[shapes]
    )
    # The real builder is RTX's, which reports that it ignores the flag.
    assert "setHardwareCompatibilityLevel() is unsupported in TensorRT-RTX." in built.log.warnings


def remove(library: TensorRtLibrary, enumeration: str, name: str) -> TensorRtLibrary:
    members = getattr(library.module, enumeration)
    delattr(members, name)
    del members.__members__[name]
    return library


def test_a_flag_that_the_module_lacks_is_refused(graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path) -> None:
    without = remove(tensorrt_11(), "BuilderFlag", "STRIP_PLAN")
    with pytest.raises(ConfigurationError, match=r"trt\.strip=true is set, but TensorRT 11\.4\.1 does not"):
        build(without, graphs["float16"], tmp_path / "e", shapes, TrtSettings(strip=True), "fp16")


@pytest.mark.parametrize(("settings", "words"), [
    (TrtSettings(optimization_level=6), "trt.optimization_level=6 is outside 0 to 5."),
    (TrtSettings(workspace_gib=0), "trt.workspace_gib=0 is not positive."),
    (TrtSettings(max_fp32_share=1.5), "trt.max_fp32_share=1.5 is not a share; a number from 0 to 1 is expected."),
])  # fmt: skip
def test_values_out_of_range_are_refused(
    graphs: dict[str, Path], shapes: ShapeProfile, tmp_path: Path, settings: TrtSettings, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(rtx(), graphs["float16"], tmp_path / "e", shapes, settings, "fp16")
    assert caught.value.message == words


def test_none_of_these_builds_sets_the_type_of_a_tensor() -> None:
    """Types are read-only from TensorRT 11 on, as in the real module, so setting one would raise an error."""
    with pytest.raises(AttributeError, match="no setter"):
        rtx().module.ITensor.dtype.__set__(None, None)


@pytest.mark.parametrize(("version", "refit", "refused"), [
    ("11.3.0", Refit.full, True),
    ("11.3.0.15", Refit.full, True),
    ("11.3.0", Refit.identical, False),
    ("11.3.0", Refit.none, False),
    ("11.3.1", Refit.full, False),
    ("11.4.1", Refit.full, False),
])  # fmt: skip
def test_refit_is_refused_where_it_may_lose_a_bias(version: str, refit: Refit, refused: bool) -> None:
    library = tensorrt_11()
    library.module.__version__ = version
    library = replace(library, version=version)
    if not refused:
        check_module(TrtSettings(refit=refit), "fp16", library)
        return
    with pytest.raises(ConfigurationError, match=r"trt\.refit=full is set, but TensorRT 11\.3\.0\S* may drop"):
        check_module(TrtSettings(refit=refit), "fp16", library)
    check_settings(TrtSettings(refit=refit), "fp16", "tensorrt_rtx", "1.7.1")
