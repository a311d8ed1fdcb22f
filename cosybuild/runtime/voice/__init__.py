"""The computation of a waveform from speech tokens, in numpy, with three built networks. Imports no PyTorch."""

from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.mel import prompt_mel
from cosybuild.runtime.voice.noise import Noise
from cosybuild.runtime.voice.solver import solve
from cosybuild.runtime.voice.voice import Flow, Voice

__all__ = ["Facts", "Flow", "Noise", "Voice", "prompt_mel", "solve"]
