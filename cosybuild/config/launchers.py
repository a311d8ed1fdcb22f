"""Settings of the launchers that are our own; Hydra validates what is said of `hydra.launcher` against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class RaySettings:
    """`hydra.launcher` of `hydra/launcher=ray`. Not frozen: OmegaConf merges into it.

    Attributes:
        address: of the cluster, e.g. 10.0.0.1:6379; None: RAY_ADDRESS, else a cluster that this machine is part of,
            else one that is started for the sweep.
        directory: where cells work on a node, with `~` and `$NAMES` of that node's environment; None: the working
            directory of the command. It is made where it is missing.
        num_cpus: what a cell takes of a node; it computes with that many threads.
        num_gpus: likewise; a cell sees as many GPUs as it asks for.
        resources: further ones, by the cluster's own names.
        max_retries: how often a cell is begun again whose process or node went away.
        init: further arguments of `ray.init`.
    """

    _target_: str = "hydra_plugins.cosybuild_ray.RayLauncher"
    address: str | None = None
    directory: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)
    max_retries: int = 3
    init: dict[str, Any] = field(default_factory=dict)


def register_launchers() -> None:
    """Make `hydra/launcher=ray` ours, also where the plugin hydra-ray-launcher is installed.

    Hydra's plugins must be loaded by now: of two options with one name the last that is stored wins.
    """
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RaySettings, provider="cosybuild")
