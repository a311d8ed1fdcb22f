"""Every option states its purpose, composes, and fits the JSON schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from omegaconf import DictConfig, OmegaConf, open_dict

from cosybuild.config.catalogue import compose_root, composed_piece, groups, open_loader, options, purpose
from cosybuild.config.compose import config_directory
from cosybuild.config.json_schema import json_schema
from cosybuild.config.parse import parse

FILES = sorted(config_directory().rglob("*.yaml"))
SETTINGS = [path for path in FILES if path.relative_to(config_directory()).parts[0] != "hydra"]
"""The options of cosybuild's groups; Hydra's own groups have no settings of cosybuild."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_directory())))
def test_every_file_begins_with_its_purpose(path: Path) -> None:
    assert len(purpose(path.read_text(encoding="utf-8"))) > 10, f"{path} needs a comment on what it is for"


def test_every_group_and_option_is_listed_and_composes() -> None:
    with open_loader() as loader:
        listed = {(group, option.name) for group in groups(loader) for option in options(loader, group)}
        on_disk = {(path.parent.name, path.stem) for path in SETTINGS if path.parent != config_directory()}
        assert listed == on_disk
        chosen = [group for group in groups(loader) for option in options(loader, group) if option.chosen]
        assert chosen == groups(loader)


MODULE = ("model.inputs=[{name: x, shape: [1, n]}]", "model.outputs=[{name: y, shape: [1, n]}]")
ALONE_TOO_LITTLE = {
    "model/module": ("model.target={_target_: torch.nn.Identity}", *MODULE),
    "model/onnx": ("model.path=a.onnx", *MODULE),
    "model/campplus": ("model.path=campplus.onnx",),
    "sweep/search": ("hydra/sweeper=optuna",),
    **{
        f"deploy/{name}": ("deploy.dir=service",)
        for name in ("bundle", "cosyvoice", "sglang_omni", "token2wav", "triton", "vllm_omni")
    },
}
"""Options that need further settings, with these settings."""


def plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(config_directory()).as_posix())
def test_every_option_composes_to_settings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "search":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    monkeypatch.setenv("COSYBUILD_STORE", "/team/store")
    option = path.relative_to(config_directory()).with_suffix("").as_posix()
    group, _, name = option.rpartition("/")
    chosen = [f"{group}={name}"] if group else []
    with open_loader() as loader:
        whole = compose_root(loader, [*chosen, *ALONE_TOO_LITTLE.get(option, ())])
    assert not group or whole.hydra.runtime.choices[group] == name
    # Merging the file again changes nothing, so the configuration has all of it.
    stated = OmegaConf.load(path)
    stated.pop("defaults", None)
    package = "" if "# @package _global_" in path.read_text(encoding="utf-8") else group.replace("/", ".")
    again = OmegaConf.merge(whole, {})
    OmegaConf.set_struct(again, False)
    OmegaConf.update(again, package, stated, force_add=True) if package else again.merge_with(stated)
    assert plain(again) == plain(whole)
    with open_dict(whole):
        del whole["hydra"]
    parse(whole)


def test_a_recipe_may_set_everything_that_the_root_has(tmp_path: Path) -> None:
    stated = {
        "model_dir": "/models/a",
        "dry_run": True,
        "lock": True,
        "hold_to": "a.lock",
        "must_produce": {"graph": "ab"},
        "objective": ["size"],
    }
    text = yaml.safe_dump(stated)
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "ours.yaml").write_text(f"# @package _global_\n# Ours.\n{text}", encoding="utf-8")
    stands = {key for key in OmegaConf.load(config_directory() / "config.yaml") if key not in ("defaults", "hydra")}
    assert stands == set(stated)
    with open_loader([tmp_path]) as loader:
        whole = compose_root(loader, ["recipe=ours"])
    for key, value in stated.items():
        assert OmegaConf.to_yaml(OmegaConf.create({key: whole[key]})) == yaml.safe_dump({key: value}), key


def test_the_shown_part_of_an_option_is_its_group_and_other_changed_keys() -> None:
    with open_loader() as loader:
        assert yaml.safe_load(composed_piece(loader, "trt_profile", "streaming"))["trt_profile"]["name"] == "streaming"
        both = yaml.safe_load(composed_piece(loader, "trt", "fp16"))
        assert (set(both), both["precision"]["target"]) == ({"trt", "precision"}, "fp16")
        sweep = yaml.safe_load(composed_piece(loader, "sweep", "matrix"))
        assert sweep["hydra"]["mode"] == "MULTIRUN"


def test_options_of_an_added_directory_are_listed_with_their_provider(tmp_path: Path) -> None:
    (tmp_path / "trt_profile" / "acme").mkdir(parents=True)
    (tmp_path / "trt_profile" / "acme" / "edge.yaml").write_text("# Small devices.\nname: edge\n")
    with open_loader([tmp_path]) as loader:
        found = {option.name: option for option in options(loader, "trt_profile")}
        assert found["acme/edge"].purpose == "Small devices."
        assert found["acme/edge"].provider == "command-line"
        assert found["default"].provider == ""


def test_the_purpose_of_an_option_is_its_first_comment() -> None:
    assert purpose("# @package _global_\n# One\n# two.\n#\n# three\na: 1\n") == "One two."
    assert purpose("a: 1\n# One.\n") == ""


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: str(path.relative_to(config_directory())))
def test_every_file_fits_the_schema_that_editors_are_given(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    plain = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    local = path.parent != config_directory() and "# @package _global_" not in text
    schema = json_schema(path.parent.name if local else None)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(plain)


def test_the_schema_refuses_what_hydra_would_refuse() -> None:
    validator = Draft202012Validator(json_schema("export"))
    for wrong in ({"opsett": 18}, {"exporter": "pickle"}, {"opset": "eighteen"}, {"dynamic_batch": 3}):
        with pytest.raises(ValidationError):
            validator.validate(wrong)
    validator.validate({"opset": "${oc.env:OPSET}"})


def test_only_groups_with_settings_have_a_schema() -> None:
    for name in ("dry_run", "nonsense"):
        with pytest.raises(KeyError):
            json_schema(name)
