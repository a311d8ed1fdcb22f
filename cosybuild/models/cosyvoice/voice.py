"""The networks of a voice composed in PyTorch: tokens, prompt and draws to a mel, and a mel to a waveform.

It is the reference of a whole voice. `cosybuild.runtime.voice` has the composition that serves; the two share no code,
so that a mistake in one of them shows.
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
    """The recording whose voice is continued.

    Attributes:
        token: ids, (1, P).
        mel: its log-mel, (1, M, mel).
        speaker: the speaker vector, (1, spk_embed_dim).
    """

    token: Tensor
    mel: Tensor
    speaker: Tensor


class VoiceModules(nn.Module):
    """Front end, estimator and vocoder of one model, in one floating-point type.

    Args:
        frontend: a front end of `frontend.front_end`.
        estimator: a network with the inputs of `families.estimator_spec`.
        vocoder: the vocoder.
        solver: steps, schedule and guidance.
        reads_lookahead: True for versions 2 and 3, whose front ends also take the ids after the target's.
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
            lookahead: ids after the target's, (1, A), possibly none; None for version 1, which reads none.
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
        """Return the waveform (1, samples) of a mel (1, mel, T), and the f0 (1, T) in Hz that it has.

        Args:
            mel: natural logarithms of magnitudes.
            noise: the source's draws, (1, rows, harmonics); see `vocoder.source.Source`.
            phase: the phases before the first sample, (1, harmonics), in cycles.
            f0: (1, T) in Hz, in place of the vocoder's own.
        """
        own: Tensor = self.vocoder.f0_predictor(mel) if f0 is None else f0.unsqueeze(1)
        zero, end = (torch.tensor([frame], device=mel.device) for frame in (0, mel.shape[2]))
        source, *_ = self.vocoder.m_source(own, noise, zero, phase, zero, end)
        return self.vocoder.decode(mel, source), own.squeeze(1)
