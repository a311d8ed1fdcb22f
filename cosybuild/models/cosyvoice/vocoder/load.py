"""Load a vocoder with the weights of a file, or with random weights from a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cosybuild.config.groups.vocoder import Cut
from cosybuild.errors import CheckpointError
from cosybuild.models.checkpoint import read_weights
from cosybuild.models.cosyvoice.vocoder.f0_predictor import F0Predictor
from cosybuild.models.cosyvoice.vocoder.hift import Hift, with_wide_f0
from cosybuild.models.cosyvoice.vocoder.interface import PREFIXES, WEIGHTS
from cosybuild.models.cosyvoice.vocoder.parameters import VocoderParameters
from cosybuild.models.cosyvoice.vocoder.residual import Snake
from cosybuild.models.cosyvoice.vocoder.weight_norm import fold, newer_name, stored_tensors

F0_GAIN = 1.8
"""The factor by which random weights of the f0 predictor's convolutions are multiplied.

Without it, torch's default initialisation gives an almost constant f0.
"""

F0_SPREAD = 200.0
"""The factor for the weights of the predictor's last layer. Some frames are then voiced, others are below 10 Hz."""

F0_MEAN = 100.0
"""The bias of the f0 predictor's last layer, in Hz, in a vocoder with random weights."""


def load_vocoder(
    parameters: VocoderParameters,
    weights: Path | None,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    note: Callable[[str], object] = lambda _: None,
    asked: str | None = None,
) -> Hift:
    """Return a vocoder in evaluation mode, without gradients, with weight norm folded in float64.

    Args:
        parameters: the vocoder's hyper-parameters.
        weights: `hift.pt` or a `.safetensors` file, or None for random weights, which are equal for equal seeds.
        seed: seed of the random weights.
        dtype: type of the vocoder's parameters.
        note: called with each sentence about the weights that the user should see.
        asked: the setting `model.weights_from`, which chooses one of several state dicts; None if it is not set.

    Raises:
        CheckpointError: the weights cannot be read or do not fit.
    """
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            vocoder = random_vocoder(parameters)
        return vocoder.to(dtype).eval().requires_grad_(False)
    # Allocate no memory before the sizes in the file have been compared with the parameters.
    with torch.device("meta"):
        vocoder = Hift(parameters)
    wanted = stored_tensors(vocoder)
    found = read_weights(weights, wanted, PREFIXES, spelled=newer_name, file=WEIGHTS, asked=asked)
    for line in found.notes:
        note(line)
    folded = fold(vocoder, found.tensors, dtype)
    for name, tensor in folded.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{weights}: the weight norm of '{name}' has a direction of length zero, or gives values that are not "
                "finite.",
                hint="Next: use an earlier checkpoint; the training diverged, or the file is damaged.",
            )
    vocoder.to(dtype).load_state_dict(folded, assign=True)
    return vocoder.eval().requires_grad_(False)


def exportable(vocoder: Hift, cut: Cut = Cut.none, *, wide_f0: bool = False) -> Hift:
    """Change the vocoder in place to the variant that is exported, and return it.

    Args:
        vocoder: the loaded vocoder.
        cut: the setting `vocoder.cut`, which decides where the exported graph ends.
        wide_f0: True to compute f0 in float64 in the graph.
    """
    if wide_f0:
        with_wide_f0(vocoder)
    vocoder.cut = cut
    return vocoder.eval()


def random_vocoder(parameters: VocoderParameters) -> Hift:
    """Return a vocoder with random weights, scaled so that f0 is in the range of voices and activations differ."""
    vocoder = Hift(parameters)
    with torch.no_grad():
        predictor = vocoder.f0_predictor
        assert isinstance(predictor, F0Predictor)
        head = predictor.classifier
        for layer in predictor.condnet:
            if isinstance(layer, nn.Conv1d):
                layer.weight.mul_(F0_GAIN)
        head.weight.mul_(F0_SPREAD)
        head.bias.fill_(F0_MEAN)
        for part in vocoder.modules():
            if isinstance(part, Snake):
                part.alpha.uniform_(0.5, 1.5)
    return vocoder
