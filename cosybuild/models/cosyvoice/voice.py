"""The networks of a voice, connected in PyTorch: from tokens, prompt and noise to a mel, and from a mel to a waveform.

Verification compares a served voice with this implementation. `cosybuild.runtime.voice` is the implementation that
serves. The two share no code, so that a mistake in one of them is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.solver import solve, time_grid
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.subject import Solver


@dataclass(frozen=True)
class Prompt:
    """The recording whose voice the target speech imitates.

    Attributes:
        token: ids of its speech tokens, (1, P).
        mel: its log-mel spectrogram, (1, M, mel).
        speaker: its speaker vector, (1, spk_embed_dim).
    """

    token: Tensor
    mel: Tensor
    speaker: Tensor


class VoiceModules(nn.Module):
    """Front end, estimator and vocoder of one model, in one floating-point type.

    Args:
        frontend: a subclass of `frontend.frontend.FrontEnd`.
        estimator: a network with the inputs of `families.estimator_spec`.
        vocoder: the vocoder.
        solver: number of steps, schedule and guidance strength.
        reads_lookahead: True for versions 2 and 3, whose front ends have the input `lookahead_token`.
    """

    def __init__(
        self, frontend: nn.Module, estimator: nn.Module, vocoder: Hift, solver: Solver, *, reads_lookahead: bool
    ) -> None:
        super().__init__()
        self.frontend, self.estimator, self.vocoder, self.solver = frontend, estimator, vocoder, solver
        self.reads_lookahead = reads_lookahead

    @torch.no_grad()
    def mel(self, token: Tensor, prompt: Prompt, noise: Tensor, lookahead: Tensor | None = None) -> Tensor:
        """Return the log-mel of the target, (1, mel, frames), without the prompt's frames.

        Args:
            token: ids of the target, (1, N).
            prompt: the prompt.
            noise: the solver's initial state, (1, mel, T or more), for the frames of prompt and target.
            lookahead: ids of the tokens after the target, (1, A), where A can be 0; None for version 1.
        """
        further = () if lookahead is None else (lookahead,)
        mu, spks, cond = self.frontend(token, prompt.token, prompt.mel, prompt.speaker, *further)
        mask = torch.ones_like(mu[:, :1])
        points = time_grid(self.solver, mu.dtype)
        noise = noise[:, :, : mu.shape[2]]
        mel = solve(self.estimator, noise, mu, spks, cond, mask, self.solver, points=points)
        return mel[:, :, prompt.mel.shape[1] :]

    @torch.no_grad()
    def waveform(self, mel: Tensor, noise: Tensor, phase: Tensor, f0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the waveform (1, samples) of a mel (1, mel, T), and the f0 (1, T) in Hz that was used for it.

        Args:
            mel: natural logarithms of magnitudes.
            noise: the source's table of noise, (1, rows, harmonics); see `vocoder.source.Source`.
            phase: the phases before the first sample, (1, harmonics), in cycles.
            f0: (1, T) in Hz, used instead of the f0 predictor's result; None to use the predictor.
        """
        own: Tensor = self.vocoder.f0_predictor(mel) if f0 is None else f0.unsqueeze(1)
        zero, end = (torch.tensor([frame], device=mel.device) for frame in (0, mel.shape[2]))
        source, *_ = self.vocoder.m_source(own, noise, zero, phase, zero, end)
        return self.vocoder.decode(mel, source), own.squeeze(1)
