"""What the operator of a workbench decides: where it listens, which models it has, and how much a visitor may take."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wordbrush.picture.limits import ReadingLimits, limited

__all__ = ["PLACED", "Limits", "Options", "is_loopback"]

PLACED = ("device", "dtype", "offload", "backend")
"""Options that say of all models where and how they run."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one visitor, and all of them, may take.

    Attributes:
        file_bytes: largest picture or mask file, checked before it is read whole.
        pixels: most pixels (width x height) of a picture, checked before it is decoded.
        queue: most pieces of work running or waiting; the next one is told that the server is busy.
        in_flight: most pieces of work of one visitor running or waiting. Of one address there are at most three
            quarters of `queue`; see `state.share`.
        visitors: most visitors kept; the one idle longest goes first.
        idle_seconds: a visitor not seen for this long is dropped with all pictures and versions.
        pictures: most pictures a visitor has open; the one used longest ago is closed.
        session_bytes: what the caches of one open picture may take.
        versions: most versions kept for a visitor; the oldest goes first.
        version_bytes: what a visitor's versions may take together.
        total_bytes: what pictures, caches and versions of all visitors may take; beyond it who is idle longest goes.
        folder_bytes: what uploads and results may take on the disk; beyond it the oldest files go.
        seeds: most seeds of one request.
        steps: most steps of the grid.
        resolution: largest working size, the side of the square of equal area.
        batch_items: most items of one batch.
        batch_bytes: what the pictures and results of one batch may take on the disk. As many batches run at one time
            as fit into `folder_bytes`, which those that have ended share; of one address half as many.
    """

    file_bytes: int = 25_000_000
    pixels: int = 50_000_000
    queue: int = 20
    in_flight: int = 3
    visitors: int = 64
    idle_seconds: float = 30 * 60
    pictures: int = 3
    session_bytes: int = 128 << 20
    versions: int = 60
    version_bytes: int = 256 << 20
    total_bytes: int = 4 << 30
    folder_bytes: int = 2 << 30
    seeds: int = 8
    steps: int = 200
    resolution: int = 1536
    batch_items: int = 1000
    batch_bytes: int = 512 << 20

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Hold pictures and masks that are opened within the block to the limits of files."""
        return limited(ReadingLimits(self.pixels, self.file_bytes, names=None))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the operator decides; everything that opens the workbench to others is off by default.

    Attributes:
        host: address to listen on; the default is reached from this machine only.
        port: 0 takes any free one.
        models: names as for `Editor.from_pretrained`, the first one is chosen at start; nothing else can be loaded.
        auth: (user, password) asked for by HTTP Basic before anything is served, or None.
        device: as for `load_model`.
        dtype: as for `load_model`.
        offload: as for `load_model`.
        backend: as for `Editor.from_pretrained`.
        first: further keywords of `load_model` for the first model alone, such as `loras`.
        allow_download: hub ids among `models` may be downloaded.
        mcp: serve the API as MCP tools, too.
        embedded: the page is shown inside another site's frame over HTTPS, as on a hosting page.
        hosts: names the page is called by (the Host header); () accepts loopback names while `host` is a loopback
            address, and any name otherwise.
        proxies: addresses or networks of proxies that are believed what they say of a request (`X-Forwarded-For`,
            `X-Forwarded-Proto`, `X-Forwarded-Host`); of others these headers are left out.
        limits: see `Limits`.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    models: tuple[str, ...] = ("pocket",)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    device: str | None = None
    dtype: str | None = None
    offload: str | None = None
    backend: str | None = None
    first: Mapping[str, Any] = field(default_factory=dict)
    allow_download: bool = False
    mcp: bool = False
    embedded: bool = False
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False
