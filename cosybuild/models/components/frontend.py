"""The component `frontend`, which turns speech tokens and a prompt into the estimator's mu, spks and cond."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family
from cosybuild.models.components.component import Component, Script
from cosybuild.models.components.state_dict import StateDictLoader
from cosybuild.models.cosyvoice.caching import cached_front_end_spec, token_elements
from cosybuild.models.cosyvoice.families import LOOKAHEAD_KERNEL
from cosybuild.models.cosyvoice.frontend.hyperparameters import EPSILON, LAYER_EPSILON, PUBLISHED, front_end_fault
from cosybuild.models.directory.frontend import front_end_hyperparameters
from cosybuild.models.directory.reader import WEIGHTS
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec, epsilon_text
from cosybuild.models.variant import Variant

if TYPE_CHECKING:
    from torch import nn
    from torch.jit import ScriptModule

    from cosybuild.models.cosyvoice.frontend.torchscript import Call

# A profile states the frames of prompt and target together. Half of them are assumed to be the prompt's.
_SHARE = 0.5
# Version 1 interpolates a target of more tokens than this in three pieces.
_ONE_PIECE = 40


def _spec(variant: Variant, frames_per_second: float, dynamic_batch: bool) -> ModelSpec:
    """Return inputs and outputs.

    The batch has one row, because CosyVoice's code asserts that, and because padding would change valid tokens.
    """
    values = variant.hyperparameters
    mel, tokens = int(values["output_size"]), float(values["vocab_size"])
    inputs = [
        TensorSpec("token", (1, "tokens"), "int64", "integer", high=tokens),
        TensorSpec("prompt_token", (1, "prompt_tokens"), "int64", "integer", high=tokens),
        TensorSpec("prompt_feat", (1, "prompt_frames", mel), generator="speech"),
        TensorSpec("embedding", (1, int(values["spk_embed_dim"]))),
    ]
    rate = _tokens_per_second(variant, frames_per_second)
    per_frame = rate / frames_per_second
    axes = {
        "tokens": Axis(rate, per_frame * _SHARE, boundaries=_boundaries(variant)),
        "prompt_tokens": Axis(rate, per_frame * _SHARE, least=0),
        "prompt_frames": Axis(frames_per_second, _SHARE, least=0),
    }
    if variant.family is not Family.cosyvoice1:
        ahead = int(values["pre_lookahead_len"])
        inputs.append(TensorSpec("lookahead_token", (1, "lookahead"), "int64", "integer", high=tokens))
        axes["lookahead"] = Axis(rate, least=0, sizes=(0, ahead, ahead))
    spec = ModelSpec(
        inputs=tuple(inputs),
        outputs=(
            TensorSpec("mu", (1, mel, "seq_len"), kind="condition"),
            TensorSpec("spks", (1, mel), kind="condition"),
            TensorSpec("cond", (1, mel, "seq_len"), kind="condition"),
        ),
        frames_per_second=frames_per_second,
        axes=axes,
        norms=_norms(variant),
    )
    return cached_front_end_spec(spec, values, variant.cache_frames) if variant.cached else spec


def _norms(variant: Variant) -> dict[str, int]:
    """Return the number of layer normalisations for each epsilon, given as text.

    Every layer has two. The others are one in every input layer and one at the end of the encoder.
    """
    if variant.family is Family.cosyvoice3:
        return {}
    layers = variant.hyperparameters["num_blocks"] + variant.hyperparameters.get("up_blocks", 0)
    others = 2 if variant.family is Family.cosyvoice1 else 3
    return {epsilon_text(LAYER_EPSILON): 2 * layers, epsilon_text(EPSILON): others}


def _tokens_per_second(variant: Variant, frames_per_second: float) -> float:
    if variant.family is Family.cosyvoice1:
        return float(variant.hyperparameters["input_frame_rate"])
    return frames_per_second / float(variant.hyperparameters["token_mel_ratio"])


def _boundaries(variant: Variant) -> tuple[int, ...]:
    """Return the numbers of tokens at which the computation takes another path, so that verification tests them."""
    if variant.family is Family.cosyvoice1:
        return (_ONE_PIECE, _ONE_PIECE + 1)
    chunk = int(variant.hyperparameters.get("chunk_size", 0)) if variant.streaming else 0
    return (chunk - 1, chunk, chunk + 1, 2 * chunk + 1) if chunk else ()


def _network(variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.frontend import frontend

    values = variant.hyperparameters
    sizes = frontend.Sizes(*(values[name] for name in ("vocab_size", "input_size", "output_size", "spk_embed_dim")))
    if variant.family is Family.cosyvoice3:
        return frontend.RepeatingFrontEnd(
            sizes, channels=values["channels"], ratio=values["token_mel_ratio"], ahead=values["pre_lookahead_len"]
        )
    encoder = {name: values[name] for name in ("input_size", "attention_heads", "linear_units", "num_blocks")}
    encoder["output_size"] = values["encoder_size"]
    if variant.family is Family.cosyvoice1:
        return frontend.InterpolatingFrontEnd(
            sizes,
            encoder=encoder,
            sampling_ratios=values["sampling_ratios"],
            input_frame_rate=values["input_frame_rate"],
        )
    up = {
        "up_blocks": values["up_blocks"],
        "ratio": values["token_mel_ratio"],
        "ahead": values["pre_lookahead_len"],
        "chunk": values["chunk_size"] if variant.streaming else None,
    }
    return frontend.UpsamplingFrontEnd(sizes, encoder={**encoder, **up})


def _exportable(network: nn.Module, variant: Variant) -> nn.Module:
    from cosybuild.models.cosyvoice.frontend.cached import CachedFrontEnd

    return CachedFrontEnd(network) if variant.cached else network


def _serving(variant: Variant) -> dict[str, int | None]:
    """Return the facts with which a stream computes its new tokens only.

    Version 2 needs caches: `cache_frames` is their cap, and `cache_bytes_per_frame` the size of a frame in float32.
    Version 3 needs a window: a token depends on `context_tokens` tokens before it, and on the look-ahead.
    """
    if variant.family is Family.cosyvoice3:
        return {"context_tokens": LOOKAHEAD_KERNEL - 1}
    if not variant.cached:
        return {}
    each = 4 * token_elements(variant.hyperparameters) // int(variant.hyperparameters["token_mel_ratio"])
    return {"cache_frames": variant.cache_frames, "cache_bytes_per_frame": each}


def _script_interface(dtype: str) -> dict[str, Any]:
    """Return the inputs and outputs of the encoder in the form of a manifest; sizes other than 1 are names."""
    ports = [("xs", dtype, [1, "tokens", "input_size"]), ("xs_lens", "int32", [1])]
    made = [("encoded", dtype, [1, "seq_len", "output_size"]), ("masks", "bool", [1, 1, "seq_len"])]
    return {
        side: [{"name": name, "dtype": kind, "shape": shape} for name, kind, shape in several]
        for side, several in (("inputs", ports), ("outputs", made))
    }


def _make_script(network: nn.Module, variant: Variant, half: bool) -> ScriptModule:
    import torch

    from cosybuild.models.cosyvoice.frontend.torchscript import scripted_encoder

    return scripted_encoder(network, _chunk(variant), torch.float16 if half else torch.float32)


def _calls(network: nn.Module, variant: Variant, seed: int) -> Iterator[Call]:
    from cosybuild.models.cosyvoice.frontend.torchscript import upstream_calls

    return upstream_calls(network, _chunk(variant), seed)


def _chunk(variant: Variant) -> int:
    return int(variant.hyperparameters.get("chunk_size", 0))


FRONT_END = Component(
    name=ComponentName.frontend,
    stem="flow.frontend",
    weights=WEIGHTS,
    published=PUBLISHED,
    # Version 3's front end has no attention, so its streaming variant computes the same function.
    streaming=frozenset({Family.cosyvoice2, Family.cosyvoice3}),
    dynamic_batch=False,
    has_solver=False,
    read=front_end_hyperparameters,
    fault=front_end_fault,
    spec=_spec,
    load=StateDictLoader(_network, WEIGHTS, ("", "flow."), foreign=("decoder.",)),
    exportable=_exportable,
    cached=frozenset({Family.cosyvoice2}),
    serving=_serving,
    # Version 3 has no encoder: its front end is two convolutions, which upstream computes in PyTorch.
    script=Script(
        stem="flow.encoder",
        families=frozenset({Family.cosyvoice1, Family.cosyvoice2}),
        interface=_script_interface,
        make=_make_script,
        calls=_calls,
    ),
)
