"""The model directory for the commands of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from cosybuild.config.groups.model import ModelSettings
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject
from tests.scenarios.commands import DATA

_SMALLEST = {"attention_head_dim": 64, "n_blocks": 1, "num_mid_blocks": 1}
"""Hyper-parameters with one block of each kind, and heads as wide as published, so that engines fuse attention."""


def make_model_directory(directory: Path, seed: int = 0) -> Path:
    """Make a directory like CosyVoice 2's, with a very small estimator of random weights.

    Args:
        directory: the directory to make; the names of runs begin with its name.
        seed: seed of the weights; another seed gives "the fine-tuned checkpoint".
    """
    directory.mkdir(parents=True)
    text = (DATA / "cosyvoice2_tiny" / "cosyvoice2.yaml").read_text(encoding="utf-8")
    for name, value in _SMALLEST.items():
        text, found = re.subn(rf"\b{name}: \d+", f"{name}: {value}", text)
        assert found == 1, f"{name} stands {found} times in the yaml"
    (directory / "cosyvoice2.yaml").write_text(text, encoding="utf-8")
    # Resolving a directory needs its weights, so make them from the same estimator without a directory.
    torch.save({"decoder.estimator.unused": torch.zeros(1)}, directory / "flow.pt")
    subject = resolve_subject(ModelSettings(seed=seed), str(directory), False)
    state = load_network(subject, None).state_dict()
    torch.save({f"decoder.estimator.{name}": value for name, value in state.items()}, directory / "flow.pt")
    return directory
