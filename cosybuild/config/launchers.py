"""The settings of cosybuild's own Hydra launcher, `ray`. Hydra validates `hydra.launcher` with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class RaySettings:
    """The settings of `hydra.launcher` with `hydra/launcher=ray`.

    The class is not frozen, because OmegaConf merges values into it.

    Attributes:
        address: the address of the cluster, e.g. 10.0.0.1:6379. If it is None, RAY_ADDRESS is used, else the cluster
            that this machine belongs to, else a cluster that is started for the sweep.
        directory: the working directory of cells on a node, with `~` and `$NAMES` of that node's environment. It is
            created if it does not exist. None stands for the working directory of the command.
        num_cpus: the number of processors of a node that a cell reserves. The cell computes with as many threads.
        num_gpus: the number of GPUs that a cell reserves. The cell sees no others.
        resources: further resources that a cell reserves, by their names in the cluster.
        max_retries: the number of times that a cell is started again after its process or node was lost.
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
    """Register cosybuild's `hydra/launcher=ray` with Hydra, also if the plugin hydra-ray-launcher is installed.

    Hydra's plugins must be loaded before: of two options with one name, Hydra uses the one that was stored last.
    """
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RaySettings, provider="cosybuild")
