"""The features that some versions of TensorRT or TensorRT-RTX lack, and the check that no setting needs such a one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cosybuild.backends.tensorrt.library import RTX, RTX_SMS, TENSORRT, TensorRtLibrary, library_title, major
from cosybuild.config.groups.trt import HardwareCompatibility, Refit, TrtSettings, Typing
from cosybuild.errors import ConfigurationError

_LOSES_A_BIAS = ["11", "3", "0"]
"""The version of TensorRT in which engines built with BuilderFlag.REFIT may lack a bias. REFIT_IDENTICAL is not
affected.
"""


@dataclass(frozen=True)
class Feature:
    """A feature that a setting needs and that not every library or version has.

    Attributes:
        setting: the setting as the user wrote it, e.g. `trt.typing=weak`.
        libraries: the libraries that have the feature.
        below: the first major version without the feature; None if all versions have it.
        attribute: (enumeration, member) of the Python module that exists only if the module has the feature; None if
            there is no such attribute.
        why: the reason why the other libraries lack the feature, or what they have instead.
        hint: the hint of the error.
    """

    setting: str
    libraries: tuple[str, ...]
    below: int | None
    attribute: tuple[str, str] | None
    why: str
    hint: str

    @property
    def where(self) -> str:
        """The libraries and versions that have the feature, in words."""
        if self.below is not None:
            return f"{library_title(self.libraries[0], str(self.below - 1))}.x"
        return " and ".join(library_title(name, None) for name in self.libraries)

    def offered_by(self, name: str, version: str | None) -> bool:
        """Return True if this version of the library has the feature, as far as is known without importing it.

        `version` is None if the library is not installed.
        """
        return name in self.libraries and (self.below is None or version is None or major(version) < self.below)


def asked_features(settings: TrtSettings, precision: str) -> Iterator[Feature]:
    """Yield the features that the settings need."""
    if settings.typing is Typing.weak:
        flag = "BF16" if precision == "bf16" else "FP16"
        yield Feature(
            "trt.typing=weak",
            (TENSORRT,),
            11,
            ("BuilderFlag", flag),
            f"BuilderFlag.{flag} exists only there; elsewhere the graph has the types",
            "Next: leave trt.typing=strong; precision=fp16 lowers the graph itself.",
        )
    if settings.hardware_compatibility is not HardwareCompatibility.none:
        yield Feature(
            f"trt.hardware_compatibility={settings.hardware_compatibility.value}",
            (TENSORRT,),
            None,
            ("HardwareCompatibilityLevel", settings.hardware_compatibility.value.upper()),
            "TensorRT-RTX ignores it and builds one engine for each compute capability",
            "Next: name every compute capability in trt.sm=[86,89,120], or use trt.backend=tensorrt.",
        )
    if settings.version_compatible:
        yield Feature(
            "trt.version_compatible=true",
            (TENSORRT,),
            None,
            ("BuilderFlag", "VERSION_COMPATIBLE"),
            "TensorRT-RTX has no lean runtime that could be put into the engine",
            "Next: remove it, or use trt.backend=tensorrt.",
        )
    if settings.timing_cache:
        yield Feature(
            "trt.timing_cache=true",
            (TENSORRT,),
            None,
            None,
            "TensorRT-RTX does not measure kernels during the build, so a timing cache would change nothing",
            "Next: leave trt.timing_cache=null, or use trt.backend=tensorrt.",
        )
    if settings.refit is not Refit.none:
        flag = {Refit.full: "REFIT", Refit.identical: "REFIT_IDENTICAL"}[settings.refit]
        yield Feature(
            f"trt.refit={settings.refit.value}",
            (TENSORRT, RTX),
            None,
            ("BuilderFlag", flag),
            f"this version has no BuilderFlag.{flag}",
            "Next: remove it, or install a later version.",
        )
    if settings.strip:
        yield Feature(
            "trt.strip=true",
            (TENSORRT, RTX),
            None,
            ("BuilderFlag", "STRIP_PLAN"),
            "this version has no BuilderFlag.STRIP_PLAN",
            "Next: remove it, or install a later version.",
        )


def check_settings(settings: TrtSettings, precision: str, name: str, version: str | None) -> None:
    """Check the settings of the configuration group `trt`, also for features that the library lacks.

    The library is not imported.

    Raises:
        ConfigurationError: a setting is invalid or needs a missing feature; the message names the setting and, for a
            missing feature, the libraries that have it.
    """
    if settings.typing is Typing.weak and precision not in ("fp32", "tf32", "fp16", "bf16"):
        raise ConfigurationError(
            f"trt.typing=weak cannot give precision={precision}, because the flag sets one type for the whole graph.",
            hint="Next: precision=fp16, or leave trt.typing=strong.",
        )
    if settings.optimization_level is not None and not 0 <= settings.optimization_level <= 5:
        raise ConfigurationError(
            f"trt.optimization_level={settings.optimization_level} is outside 0 to 5.",
            hint="Next: give a level of 0 to 5, or null for the builder's default.",
        )
    if settings.workspace_gib <= 0:
        raise ConfigurationError(
            f"trt.workspace_gib={settings.workspace_gib} is not positive.", hint="Next: trt.workspace_gib=4"
        )
    if not 0 <= settings.max_fp32_share <= 1:
        raise ConfigurationError(
            f"trt.max_fp32_share={settings.max_fp32_share} is not a share; a number from 0 to 1 is expected.",
            hint="Next: trt.max_fp32_share=0.5",
        )
    for feature in asked_features(settings, precision):
        if not feature.offered_by(name, version):
            raise _refusal(feature, library_title(name, version))
    if settings.refit is Refit.full and name == TENSORRT and (version or "").split(".")[:3] == _LOSES_A_BIAS:
        raise ConfigurationError(
            f"trt.refit=full is set, but {library_title(name, version)} may drop the bias of a matrix product from "
            "such an engine, according to NVIDIA's release notes.",
            hint="Next: trt.refit=identical, or another version of TensorRT.",
        )
    if name == RTX:
        for sm in settings.sm:
            check_sm(sm, RTX_SMS, library_title(name, version))


def check_module(settings: TrtSettings, precision: str, library: TensorRtLibrary) -> None:
    """Do the checks of `check_settings`, and also check the attributes of the imported Python module.

    Raises:
        ConfigurationError: see `check_settings`.
    """
    check_settings(settings, precision, library.name, library.version)
    for feature in asked_features(settings, precision):
        if feature.attribute is not None and library.member(*feature.attribute) is None:
            raise _refusal(feature, library.title)
    known = [name.lower() for name in library.members("TacticSource")]
    for source in settings.tactic_sources or ():
        if source not in known:
            raise ConfigurationError(
                f"trt.tactic_sources names '{source}', which {library.title} does not have; it has {', '.join(known)}.",
                hint="Next: use some of these names, or null for the builder's default.",
            )


def check_sm(sm: int, known: tuple[int, ...], who: str) -> None:
    """Check that a library can build ahead of time for a compute capability.

    Args:
        sm: the compute capability times ten.
        known: those for which the library can build.
        who: the library's name, for the error.

    Raises:
        ConfigurationError: the library cannot; the message names the compute capabilities for which it can.
    """
    if sm not in known:
        raise ConfigurationError(
            f"trt.sm names sm_{sm}, which {who} does not build for; it builds for "
            f"{', '.join(f'sm_{each}' for each in known)}.",
            hint=f"Next: trt.sm=[{known[-1] if sm > known[-1] else 89}], "
            f"or trt.backend=tensorrt on a machine with an sm_{sm} GPU.",
        )


def _refusal(feature: Feature, who: str) -> ConfigurationError:
    return ConfigurationError(
        f"{feature.setting} is set, but {who} does not support it; {feature.where} does ({feature.why}).",
        hint=feature.hint,
    )
