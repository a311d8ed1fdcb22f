"""The model directory that the commands of the documentation are run on."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from cosybuild.config.groups.model import ModelSettings
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject
from tests.scenarios.commands import DATA

_SMALLEST = {"attention_head_dim": 64, "n_blocks": 1, "num_mid_blocks": 1}
"""Heads as wide as the published model's, so that engines fuse its attention; one block of each kind."""


def make_model_directory(directory: Path, seed: int = 0) -> Path:
    """A directory laid out as CosyVoice 2's, with a very small estimator of random weights.

    Args:
        directory: made here; its name is what a run is called by.
        seed: of the weights; another one is "the fine-tuned checkpoint".
    """
    directory.mkdir(parents=True)
    text = (DATA / "cosyvoice2_tiny" / "cosyvoice2.yaml").read_text(encoding="utf-8")
    for name, value in _SMALLEST.items():
        text, found = re.subn(rf"\b{name}: \d+", f"{name}: {value}", text)
        assert found == 1, f"{name} stands {found} times in the yaml"
    (directory / "cosyvoice2.yaml").write_text(text, encoding="utf-8")
    # Resolving a directory asks for its weights, so they come from the same estimator without a directory.
    torch.save({"decoder.estimator.unused": torch.zeros(1)}, directory / "flow.pt")
    subject = resolve_subject(ModelSettings(seed=seed), str(directory), False)
    state = load_network(subject, None).state_dict()
    torch.save({f"decoder.estimator.{name}": value for name, value in state.items()}, directory / "flow.pt")
    return directory
