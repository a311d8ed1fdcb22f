"""The words that Hydra reads: options first, and overrides with quotes and brackets."""

from __future__ import annotations

import pytest

from cosybuild.cli.command_line import hydra_words
from cosybuild.errors import ConfigurationError


def test_options_may_stand_between_overrides() -> None:
    words = ["dry_run=true", "-m", "trt.sm=89,90", "--config-dir", "my conf", "model_dir=/ü"]
    assert hydra_words(words) == ["-m", "--config-dir", "my conf", "dry_run=true", "trt.sm=[89],[90]", "model_dir='/ü'"]


def test_an_override_that_equals_the_value_of_an_option_stays_one() -> None:
    assert hydra_words(["--package", "x=1", "x=1"]) == ["--package", "x=1", "x=1"]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean --multirun"):
        hydra_words(["--multrun", "trt=none"])
