"""`store`: the store of finished work and its remote."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class StoreSettings:
    """The store of finished work and its remote. These settings are not part of any key."""

    path: str = setting("outputs/store", "The store's directory, relative to the working directory.")
    remote: str | None = setting(None, "A second level as an fsspec URL: s3://..., gs://..., file://...")
    remote_options: dict[str, str] = setting(dict, "Passed to fsspec, e.g. endpoint_url.")
    push: bool = setting(True, "Push what is built here to the remote.")
    verify: bool = setting(False, "Read and check every stored file that is used, not just its size and time.")
    shared: bool = setting(False, "Open the store's directory to its group; all in it gets the group's rights.")
    wait_seconds: float = setting(86400.0, "How long to wait for another process that builds the same key.")
