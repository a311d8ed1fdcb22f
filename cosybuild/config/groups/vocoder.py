"""`vocoder`: the variant of the vocoder's graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cosybuild.config.groups.field import setting


class Cut(str, Enum):
    """The place in the vocoder at which the exported graph ends."""

    none = "none"
    """The graph ends with the waveform."""
    spectrum = "spectrum"
    """The graph ends with the magnitude and phase of the spectra. The runtime computes the waveform from them."""


class F0Type(str, Enum):
    """The number type in which the f0 predictor computes."""

    float32 = "float32"
    float64 = "float64"


@dataclass(frozen=True)
class VocoderSettings:
    """The variant of the vocoder's graph. Other components do not use these settings."""

    cut: Cut = setting(
        Cut.none,
        "The end of the graph: none: the waveform; spectrum: magnitude and phase of its spectra, for a runtime that "
        "does the inverse transform itself.",
    )
    f0: F0Type = setting(
        F0Type.float32,
        "The number type of the f0 predictor; float64: as CosyVoice 3 computes it in PyTorch, for ONNX Runtime only, "
        "because TensorRT computes float64 in float32.",
    )

    @property
    def words(self) -> tuple[str, ...]:
        """One word for each setting that differs from the default, for names and keys: `spectrum`, `f0_float64`."""
        cut = () if self.cut is Cut.none else (self.cut.value,)
        return cut if self.f0 is F0Type.float32 else (*cut, f"f0_{self.f0.value}")
