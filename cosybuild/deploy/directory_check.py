"""The check, before a build and before a deployment, that the service reads the chosen directory.

A path with a typing error must not become a new directory that no service reads. A model directory of one version must
not get the artifacts of another version, because CosyVoice's runtime would load them without a check.
"""

from __future__ import annotations

from pathlib import Path

from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.config.groups.model import Family
from cosybuild.directory_in_service import STATE
from cosybuild.errors import DeployError, ModelDirectoryError
from cosybuild.models.cosyvoice.families import FAMILIES
from cosybuild.models.directory.locate import similar_directories
from cosybuild.models.directory.version import YAML_NAMES, find_yaml

TRITON_CONFIG = "config.pbtxt"


def check_target(settings: DeploySettings, family: Family) -> None:
    """Raise an error for a directory that the service does not read.

    Args:
        settings: the settings of the deployment. `dir` must be set. With `create`, the directory may be absent, empty
            or of another kind.
        family: the model family of the artifacts. All services except triton and bundle need a model directory of this
            family.

    Raises:
        DeployError: the directory is absent, is a file, is a model directory of another version, or is neither what the
            service reads nor a directory that cosybuild has deployed to.
    """
    assert settings.dir is not None, "config.rules demands it"
    root = Path(settings.dir)
    if not root.is_dir():
        if not root.exists() and not root.is_symlink():
            _check_absent(settings, root)
            return
        raise DeployError(
            f"deploy.dir={settings.dir} is not a directory.", hint="Next: name the directory that the service reads."
        )
    if settings.service is Service.triton:
        _check_repository(settings, root)
    elif settings.service is not Service.bundle:
        _check_model_directory(settings, root, family)


def _check_absent(settings: DeploySettings, root: Path) -> None:
    if settings.create:
        return
    near = similar_directories(root)
    meant = f"did you mean {' or '.join(f'deploy.dir={path}' for path in near)}? Or " if near else ""
    raise DeployError(
        f"deploy.dir={settings.dir} does not exist, and deploy={settings.service.value} does not create it unasked.",
        hint=f"Next: {meant}add deploy.create=true, which creates the directory.",
    )


def _check_model_directory(settings: DeploySettings, root: Path, family: Family) -> None:
    try:
        found = find_yaml(root, family)
    except ModelDirectoryError as error:
        if settings.create or (root / STATE).is_dir():  # the user allows it, or a deployment was made here before
            return
        expected = FAMILIES[family].yaml if family in FAMILIES else f"one of {', '.join(YAML_NAMES)}"
        raise DeployError(
            f"deploy.dir={settings.dir} is not a model directory of CosyVoice, which deploy={settings.service.value} "
            f"expects: it has no readable yaml ({expected}).",
            hint=f"Next: deploy.dir=DIR with the directory that the service reads; deploy=bundle, which accepts any "
            f"directory; or deploy.create=true to deploy into {settings.dir} in spite of this.",
        ) from error
    if family in FAMILIES and found.family is not family:
        raise DeployError(
            f"deploy.dir={settings.dir} is a model directory of {found.family.value} ({found.path.name}), and the "
            f"artifacts are of {family.value}: its runtime would load the wrong network.",
            hint=f"Next: deploy.dir=DIR with a model directory of {family.value}.",
        )


def _check_repository(settings: DeploySettings, root: Path) -> None:
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if settings.create or any(_is_triton_model(folder) for folder in folders) or not any(root.iterdir()):
        return
    inside = _is_triton_model(root)
    raise DeployError(
        f"deploy.dir={settings.dir} is not a model repository of tritonserver: "
        + (f"it is one model, because it has {TRITON_CONFIG}." if inside else "no directory in it is a model."),
        hint=f"Next: deploy.dir={root.parent}."
        if inside
        else "Next: deploy.dir=DIR with the repository that tritonserver reads, or an empty directory; or "
        f"deploy.create=true to begin a repository in {settings.dir}.",
    )


def _is_triton_model(folder: Path) -> bool:
    """Return True for the directory of a Triton model: it has a configuration, or a version directory with a model."""
    return (folder / TRITON_CONFIG).is_file() or any(folder.glob("[0-9]*/model.*"))
