"""`store`: the store of the results of finished steps, and its remote."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class StoreSettings:
    """The store of the results of finished steps, and its remote. These settings do not change any result."""

    path: str = setting("outputs/store", "The store's directory, relative to the working directory.")
    remote: str | None = setting(None, "The remote as an fsspec URL: s3://..., gs://..., file://...")
    remote_options: dict[str, str] = setting(dict, "Options for fsspec, e.g. endpoint_url.")
    push: bool = setting(True, "Push the results of this machine to the remote.")
    verify: bool = setting(
        False, "Read every used file of the store and check its digest, instead of only its size and time."
    )
    shared: bool = setting(False, "Share the store with the group of its directory; all files get the group's rights.")
    wait_seconds: float = setting(
        86400.0, "The longest time to wait for another process that builds the same key, in seconds."
    )
