"""Settings of cosybuild's own launchers; Hydra validates `hydra.launcher` against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class RaySettings:
    """The settings of `hydra.launcher` under `hydra/launcher=ray`; not frozen, because OmegaConf merges into it.

    Attributes:
        address: the address of the cluster, e.g. 10.0.0.1:6379. None uses RAY_ADDRESS, else the cluster that this
            machine is part of, else a cluster that is started for the sweep.
        directory: the working directory of cells on a node, with `~` and `$NAMES` of that node's environment. None
            uses the working directory of the command. It is created where it is missing.
        num_cpus: processors of a node that a cell reserves; it computes with that many threads.
        num_gpus: GPUs that a cell reserves; it sees that many.
        resources: further resources that a cell reserves, by the cluster's own names.
        max_retries: how often a cell is restarted after its process or node was lost.
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
    """Register cosybuild's `hydra/launcher=ray`, also where the plugin hydra-ray-launcher is installed.

    Hydra's plugins must be loaded already: of two options with one name, Hydra uses the one that is stored last.
    """
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RaySettings, provider="cosybuild")
