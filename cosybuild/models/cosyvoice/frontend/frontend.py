"""The front ends of CosyVoice 1, 2 and 3. Their state dicts have the names of CosyVoice's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.past import Past
from cosybuild.models.cosyvoice.frontend.conformer import ConformerEncoder
from cosybuild.models.cosyvoice.frontend.lookahead import LookAhead
from cosybuild.models.cosyvoice.frontend.regulator import LengthRegulator
from cosybuild.models.cosyvoice.frontend.upsampling import UpsamplingEncoder, repeated

Conditions = tuple[Tensor, Tensor, Tensor]
"""mu (1, mel, T), spks (1, mel) and cond (1, mel, T): the conditions of the estimator."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that the front ends of all versions have.

    Attributes:
        vocab_size: number of different speech tokens.
        input_size: channels of the token embedding.
        output_size: channels of the mel.
        spk_embed_dim: channels of the speaker vector.
    """

    vocab_size: int
    input_size: int
    output_size: int
    spk_embed_dim: int


class FrontEnd(nn.Module):
    """The base class of all front ends: it embeds tokens, projects the speaker vector and pads the prompt's mel."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.vocab_size = sizes.vocab_size
        self.input_embedding = nn.Embedding(sizes.vocab_size, sizes.input_size)
        self.spk_embed_affine_layer = nn.Linear(sizes.spk_embed_dim, sizes.output_size)

    def embedded(self, *tokens: Tensor) -> Tensor:
        """Map tensors of token ids, each (1, n), to one tensor (1, sum of n, input_size).

        A negative id reads the first row of the embedding table, as in CosyVoice. An id beyond the vocabulary reads the
        last row, so that no runtime reads outside the table. The caller must refuse both kinds of id.
        """
        ids = torch.clamp(torch.cat(tokens, dim=1), min=0, max=self.vocab_size - 1)
        result: Tensor = self.input_embedding(ids)
        return result

    def conditions(self, hidden: Tensor, prompt_feat: Tensor, embedding: Tensor) -> Conditions:
        """Return mu (1, mel, T), spks (1, mel) and cond (1, mel, T).

        Args:
            hidden: the encoded frames of prompt and target, (1, T, mel); they become mu.
            prompt_feat: mel of the prompt, (1, M, mel). It becomes cond, padded with zeros or cut to T frames.
            embedding: the speaker vector, (1, spk_embed_dim). It is normalised to length 1, so only its direction
                matters.
        """
        mu = hidden.transpose(1, 2)
        speaker: Tensor = self.spk_embed_affine_layer(F.normalize(embedding, dim=1))
        cond = torch.cat((prompt_feat.transpose(1, 2), torch.zeros_like(mu)), dim=2)[:, :, : mu.shape[2]]
        return mu, speaker, cond


class InterpolatingFrontEnd(FrontEnd):
    """The front end of CosyVoice 1: a conformer, then a length regulator, which interpolates between tokens.

    Args:
        sizes: the sizes that all versions have.
        encoder: the arguments of `ConformerEncoder`.
        sampling_ratios: the argument of `LengthRegulator`.
        input_frame_rate: speech tokens per second.
    """

    def __init__(
        self,
        sizes: Sizes,
        encoder: dict[str, int],
        sampling_ratios: tuple[int, ...],
        input_frame_rate: int,
    ) -> None:
        super().__init__(sizes)
        self.encoder = ConformerEncoder(**encoder)
        self.encoder_proj = nn.Linear(encoder["output_size"], sizes.output_size)
        self.length_regulator = LengthRegulator(sizes.output_size, sampling_ratios, input_frame_rate)

    def forward(self, token: Tensor, prompt_token: Tensor, prompt_feat: Tensor, embedding: Tensor) -> Conditions:
        """Return mu, spks and cond with T = M + `regulator.frames_of(N)` frames, where M is the prompt's frames.

        Args:
            token: ids of the target's N tokens, (1, N).
            prompt_token: ids of the prompt's P tokens, (1, P).
            prompt_feat, embedding: see `FrontEnd.conditions`.
        """
        hidden = self.encoder_proj(self.encoder(self.embedded(prompt_token, token)))
        hidden = self.length_regulator(hidden, prompt_token.shape[1], prompt_feat.shape[1])
        return self.conditions(hidden, prompt_feat, embedding)


class UpsamplingFrontEnd(FrontEnd):
    """The front end of CosyVoice 2: a conformer that turns each token into `ratio` frames.

    Args:
        sizes: the sizes that all versions have.
        encoder: the arguments of `UpsamplingEncoder`.
    """

    def __init__(self, sizes: Sizes, encoder: dict[str, int | None]) -> None:
        super().__init__(sizes)
        self.encoder = UpsamplingEncoder(**encoder)  # type: ignore[arg-type]  # only the chunk may be None
        width = encoder["output_size"]
        assert width is not None
        self.encoder_proj = nn.Linear(width, sizes.output_size)

    def forward(
        self,
        token: Tensor,
        prompt_token: Tensor,
        prompt_feat: Tensor,
        embedding: Tensor,
        lookahead_token: Tensor,
        past: Past | None = None,
    ) -> Conditions:
        """Return mu, spks and cond with T = ratio * (P + N) frames.

        Args:
            token: ids of the target's N tokens, (1, N), without the look-ahead tokens.
            prompt_token: ids of the prompt's P tokens, (1, P).
            prompt_feat, embedding: see `FrontEnd.conditions`.
            lookahead_token: ids of the tokens that follow `token`, (1, A). Published models have A = 3, and A = 0 in
                the last call of an utterance.
            past: the state after the tokens before these; None at the begin of an utterance. The prompt belongs to
                the first call.
        """
        x = self.embedded(prompt_token, token, lookahead_token)
        hidden = self.encoder_proj(self.encoder(x, prompt_token.shape[1] + token.shape[1], past))
        return self.conditions(hidden, prompt_feat, embedding)


class RepeatingFrontEnd(FrontEnd):
    """The front end of CosyVoice 3: a look-ahead layer, whose result is repeated for each frame of a token.

    Args:
        sizes: the sizes that all versions have; input_size must equal output_size.
        channels: channels between the convolutions of the look-ahead layer.
        ratio: mel frames per token.
        ahead: number of following tokens that the look-ahead layer reads for each token.
    """

    def __init__(
        self,
        sizes: Sizes,
        channels: int,
        ratio: int,
        ahead: int,
    ) -> None:
        super().__init__(sizes)
        self.ratio = ratio
        self.pre_lookahead_layer = LookAhead(sizes.input_size, channels, ahead)

    def forward(
        self, token: Tensor, prompt_token: Tensor, prompt_feat: Tensor, embedding: Tensor, lookahead_token: Tensor
    ) -> Conditions:
        """Return mu, spks and cond; the arguments and shapes are those of `UpsamplingFrontEnd.forward`."""
        x = self.embedded(prompt_token, token, lookahead_token)
        hidden = self.pre_lookahead_layer(x, prompt_token.shape[1] + token.shape[1])
        return self.conditions(repeated(hidden, self.ratio), prompt_feat, embedding)
