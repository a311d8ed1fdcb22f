"""The f0 predictor, which computes the fundamental frequency (f0) of each mel frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.convolution import Convolution, NormedConvolution, spread
from cosybuild.models.cosyvoice.vocoder.parameters import F0_LAYERS, F0_LOOKAHEAD, F0_WIDTH, VocoderParameters


class F0Predictor(nn.Module):
    """Five convolutions with ELU, a linear layer and an absolute value, which give f0 in Hz.

    CosyVoice computes the causal variant (version 3) in float64. `WideF0Predictor` does so in an exported graph.
    """

    def __init__(self, parameters: VocoderParameters) -> None:
        super().__init__()
        width, layers = parameters.f0_channels, []
        for index in range(F0_LAYERS):
            inputs = width if index else parameters.in_channels
            if parameters.causal and index == 0:
                layers += [NormedConvolution(inputs, width, F0_LOOKAHEAD + 1, left=0, right=F0_LOOKAHEAD), nn.ELU()]
            else:
                sides = spread(F0_WIDTH, 1, parameters.causal)
                layers += [NormedConvolution(inputs, width, F0_WIDTH, **sides), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Return f0 (B, 1, T), in Hz and in the mel's type, for a mel (B, bins, T)."""
        hidden = self.condnet(mel)
        # A product with the weight on the left needs no transposition of the frames.
        return (torch.matmul(self.classifier.weight, hidden) + self.classifier.bias.unsqueeze(1)).abs()


class WideF0Predictor(nn.Module):
    """The computation of `F0Predictor` in float64, with operators that ONNX Runtime implements for float64.

    Each convolution is computed as one matrix product, because ONNX Runtime has no float64 Conv. TensorRT converts
    float64 to float32.
    """

    def __init__(self, narrow: F0Predictor) -> None:
        super().__init__()
        self.narrow = narrow.double()

    def forward(self, mel: Tensor) -> Tensor:
        """Return f0 in Hz, (B, 1, T), computed in float64 and returned in the mel's type."""
        hidden = mel.double()
        for layer in self.narrow.condnet:
            hidden = _as_product(layer, hidden) if isinstance(layer, Convolution) else _elu(hidden)
        head = self.narrow.classifier
        return (torch.matmul(head.weight, hidden) + head.bias.unsqueeze(1)).abs().to(mel.dtype)


def _as_product(layer: Convolution, x: Tensor) -> Tensor:
    """Return the convolution of x (B, C in, T) by `layer`, computed as one product with a stack of shifted inputs."""
    assert layer.bias is not None
    length, width = x.shape[2], layer.kernel_size[0]
    padded = F.pad(x, (layer.left, layer.right))
    shifted = torch.cat([padded[:, :, shift : shift + length] for shift in range(width)], dim=1)
    weight = layer.weight.permute(0, 2, 1).reshape(layer.out_channels, -1)
    return torch.matmul(weight, shifted) + layer.bias.unsqueeze(1)


def _elu(x: Tensor) -> Tensor:
    """Return x if x is positive, else exp(x) - 1, element by element. ONNX Runtime has no float64 Elu."""
    return torch.clamp(x, min=0) + (torch.exp(torch.clamp(x, max=0)) - 1)
