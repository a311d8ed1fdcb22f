"""Find the yaml of a model directory, and recognise the CosyVoice version by the estimator's class in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import Family
from cosybuild.errors import ModelDirectoryError
from cosybuild.models.cosyvoice.families import FAMILIES
from cosybuild.models.directory.hyperpyyaml import Node, mapping, read_hyperpyyaml

YAML_NAMES = tuple(facts.yaml for facts in FAMILIES.values())

STEP_AUDIO_YAML = "flow.yaml"
"""The name of Step-Audio 2's token2wav yaml. All its classes except the estimator are named as in CosyVoice 2."""


@dataclass(frozen=True)
class ModelYaml:
    """The yaml of a model directory.

    Attributes:
        path: the path of the yaml.
        family: the CosyVoice version that the estimator's class identifies. If the class is unknown, the name of the
            yaml identifies the version.
        document: the parsed content.
    """

    path: Path
    family: Family
    document: Mapping[str, Any]


def find_yaml(path: Path, asked: Family = Family.auto) -> ModelYaml:
    """Return the yaml of a model directory.

    Args:
        path: the directory.
        asked: the setting `model`; it chooses the yaml if the directory has files of several versions.

    Raises:
        ModelDirectoryError: there is no yaml, or there are yaml files of several versions and `asked` chooses none.
    """
    named = [path / name for name in YAML_NAMES if (path / name).is_file()]
    found = [_read(yaml) for yaml in named] or list(_renamed(path))
    if not found:
        raise _none(path)
    fitting = [one for one in found if one.family is asked] or found
    if len({one.family for one in fitting}) > 1:
        names = " and ".join(f"{one.path.name} ({one.family.value})" for one in fitting)
        raise ModelDirectoryError(
            f"{path} holds {names}, and each describes another version of CosyVoice.",
            hint=f"Next: model={fitting[0].family.value} or model={fitting[1].family.value}, or keep the yaml that "
            "belongs to flow.pt.",
        )
    usual = [one for one in fitting if one.path.name == FAMILIES[one.family].yaml]
    return (usual or fitting)[0]


def estimator_node(document: Mapping[str, Any]) -> Node | None:
    """Return the `Node` of the estimator, at flow -> decoder -> estimator; None if the document has no such node."""
    node = mapping(mapping(document.get("flow")).get("decoder")).get("estimator")
    return node if isinstance(node, Node) else None


def family_of(estimator: Node) -> Family | None:
    """Return the CosyVoice version whose estimator the node describes; None if the class is unknown.

    Until April 2025, version 2 used the estimator class of version 1 with the argument `causal: True`.
    """
    name = estimator.target.rpartition(".")[2]
    if name == FAMILIES[Family.cosyvoice1].upstream_class:
        return Family.cosyvoice2 if is_early(estimator) else Family.cosyvoice1
    if name == FAMILIES[Family.cosyvoice3].upstream_class and _is_step_audio(estimator):
        return None
    return next((family for family, facts in FAMILIES.items() if facts.upstream_class == name), None)


def is_early(estimator: Node) -> bool:
    """Return True if the node describes version 2's estimator of before April 2025, which has no chunk mask."""
    name = estimator.target.rpartition(".")[2]
    return name == FAMILIES[Family.cosyvoice1].upstream_class and mapping(estimator).get("causal") is True


def _is_step_audio(estimator: Node) -> bool:
    return "hidden_size" in mapping(estimator)


def _read(yaml: Path) -> ModelYaml:
    document = read_hyperpyyaml(yaml)
    node = estimator_node(document)
    family = None if node is None else family_of(node)
    by_name = {facts.yaml: version for version, facts in FAMILIES.items()}
    return ModelYaml(yaml, family or by_name[yaml.name], document)


def _renamed(path: Path) -> Iterator[ModelYaml]:
    """Yield the yaml files in a directory that describe a known estimator, under any name."""
    for yaml in sorted((*path.glob("*.yaml"), *path.glob("*.yml"))):
        try:
            document = read_hyperpyyaml(yaml)
        except ModelDirectoryError:  # another file, e.g. of another tool
            continue
        node = estimator_node(document)
        if node is not None and (family := family_of(node)) is not None:
            yield ModelYaml(yaml, family, document)
        elif node is not None and yaml.name == STEP_AUDIO_YAML and _is_step_audio(node):
            raise _step_audio(yaml)


def _none(path: Path) -> ModelDirectoryError:
    listing = sorted(entry.name for entry in path.iterdir())
    shown = ", ".join(listing[:8]) + (f" and {len(listing) - 8} more" if len(listing) > 8 else "")
    return ModelDirectoryError(
        f"{path} is not a CosyVoice model directory: it has none of {', '.join(YAML_NAMES)}. "
        f"It has: {shown or 'nothing'}.",
        hint="Next: give the directory that has the yaml and flow.pt, e.g. pretrained_models/CosyVoice2-0.5B.",
    )


def _step_audio(yaml: Path) -> ModelDirectoryError:
    return ModelDirectoryError(
        f"{yaml.parent} is the token2wav of Step-Audio 2, because {yaml.name} has an estimator with hidden_size. This "
        "estimator is another network than that of CosyVoice 3, and cosybuild does not have it.",
        hint="Next: export the estimator with its own repository, then model=onnx model.path=FILE.onnx. For the "
        f"vocoder: component=vocoder model=cosyvoice2 model.weights={yaml.parent / 'hift.pt'}.",
    )
