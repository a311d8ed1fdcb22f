"""The builder configuration that the settings ask for. A setting that would have no effect raises an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.backends.tensorrt.features import check_sm
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.log import BuilderLog
from cosybuild.config.groups.trt import HardwareCompatibility, Refit, TrtSettings, Typing
from cosybuild.errors import ConfigurationError, EngineError
from cosybuild.models.shape_profile import Profile
from cosybuild.models.spec import ModelSpec


@dataclass(frozen=True)
class ShapeRange:
    """The smallest (min), tuned (opt) and largest (max) shape of one input in an optimisation profile."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


ShapeProfile = Mapping[str, ShapeRange]
"""Input name -> shapes, for every input of the model. It describes one optimisation profile."""


def shapes_from_profile(profile: Profile, spec: ModelSpec) -> ShapeProfile:
    """Return the min, opt and max shape of every input, computed from the sizes of the profile's symbols."""
    corners = [{name: getattr(size, corner) for name, size in profile.items()} for corner in ("min", "opt", "max")]
    return {tensor.name: ShapeRange(*(tensor.resolve(sizes) for sizes in corners)) for tensor in spec.inputs}


def configure(
    library: TensorRtLibrary,
    builder: Any,
    log: BuilderLog,
    settings: TrtSettings,
    *,
    precision: str,
    sm: int | None,
    profiles: Sequence[ShapeProfile],
) -> Any:
    """Create the builder configuration for the settings and the precision.

    Args:
        library: the library that builds.
        builder: the library's builder object.
        log: the log into which the builder's logger writes.
        settings: the settings of the configuration group `trt`.
        precision: the precision to which the graph was lowered.
        sm: the compute capability times ten to build for ahead of time; None builds for the GPU of this machine.
        profiles: for each optimisation profile the shapes of all inputs.

    Raises:
        ConfigurationError: this version lacks or refuses a setting.
        EngineError: the builder refuses an optimisation profile.
    """
    config = builder.create_builder_config()
    _set_flags(library, config, settings, precision)
    module = library.module
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, int(settings.workspace_gib * 2**30))
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.hardware_compatibility is not HardwareCompatibility.none:
        name = settings.hardware_compatibility.value.upper()
        config.hardware_compatibility_level = library.member("HardwareCompatibilityLevel", name)
    if settings.tactic_sources is not None:
        sources = (getattr(module.TacticSource, name.upper()) for name in settings.tactic_sources)
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    detailed = library.member("ProfilingVerbosity", "DETAILED")
    if detailed is not None:
        # Without this, the engine inspector reports only the names of layers.
        config.profiling_verbosity = detailed
    if sm is not None:
        check_sm(sm, library.sms, library.title)
        config.num_compute_capabilities = 1
        config.set_compute_capability(library.member("ComputeCapability", f"SM{sm}"), 0)
    for shapes in profiles:
        _add_profile(builder, config, shapes)
    if log.errors:
        raise ConfigurationError(
            f"{library.title} refuses the builder's settings: " + "; ".join(log.errors),
            hint="Next: remove the setting that the message names from the group trt.",
        )
    return config


def _set_flags(library: TensorRtLibrary, config: Any, settings: TrtSettings, precision: str) -> None:
    wanted = {
        "REFIT": settings.refit is Refit.full,
        "REFIT_IDENTICAL": settings.refit is Refit.identical,
        "STRIP_PLAN": settings.strip,
        "VERSION_COMPATIBLE": settings.version_compatible,
        "FP16": settings.typing is Typing.weak and precision == "fp16",
        "BF16": settings.typing is Typing.weak and precision == "bf16",
        # The builder's default allows TF32; precision=fp32 must exclude it.
        "TF32": precision == "tf32",
    }
    for name, on in wanted.items():
        member = library.member("BuilderFlag", name)
        if member is not None:
            (config.set_flag if on else config.clear_flag)(member)
    memory = library.member("BuilderFlag", "MONITOR_MEMORY")
    if memory is not None:
        config.set_flag(memory)


def _add_profile(builder: Any, config: Any, shapes: ShapeProfile) -> None:
    profile = builder.create_optimization_profile()
    for name, sizes in shapes.items():
        profile.set_shape(name, sizes.min, sizes.opt, sizes.max)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"the builder refuses the optimisation profile {dict(shapes)}.",
            hint="Next: compare trt_profile with the graph's inputs; every dynamic axis needs a range.",
        )
