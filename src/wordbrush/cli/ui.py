"""`wordbrush ui`: the workbench, a page in the browser."""

from __future__ import annotations

import importlib.util
import os
from typing import Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.errors import SettingsError

__all__ = ["parse_auth", "ui"]

SERVER_PANEL = "Server"
ACCESS_PANEL = "Letting others in (see docs/operating.md)"

Host = Annotated[
    str,
    typer.Option(
        "--host", help="Address to listen on; the default is this machine only.", metavar="ADDRESS",
        rich_help_panel=SERVER_PANEL,
    ),
]  # fmt: skip
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.", rich_help_panel=SERVER_PANEL)
]
Queue = Annotated[
    int,
    typer.Option(
        "--queue", min=1, max=1000, help="Most jobs running or waiting; the next is told that the server is busy.",
        metavar="N", rich_help_panel=SERVER_PANEL,
    ),
]  # fmt: skip
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=SERVER_PANEL)]
Mcp = Annotated[
    bool,
    typer.Option("--mcp", help="Serve the API as MCP tools, too (extra mcp).", rich_help_panel=SERVER_PANEL),
]
AllowModel = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-model", help="A model visitors may choose, as for edit --model; the first is the default. Repeatable.",
        metavar="NAME", rich_help_panel=opt.MODEL_PANEL,
    ),
]  # fmt: skip
NoPocket = Annotated[
    bool,
    typer.Option("--no-pocket", help="Do not offer the pocket model besides.", rich_help_panel=opt.MODEL_PANEL),
]
Auth = Annotated[
    str | None,
    typer.Option(
        "--auth", help="Ask for this user and password; others here can read a command line, not a variable.",
        envvar="WORDBRUSH_AUTH", metavar="USER:PASSWORD", rich_help_panel=ACCESS_PANEL,
    ),
]  # fmt: skip
NoAuth = Annotated[
    bool,
    typer.Option(
        "--no-auth", help="Listen on an address that others reach without asking for a password.",
        rich_help_panel=ACCESS_PANEL,
    ),
]  # fmt: skip
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", help="A name the page is called by; requests under other names are refused. Repeatable.",
        metavar="NAME", rich_help_panel=ACCESS_PANEL,
    ),
]  # fmt: skip
Embedded = Annotated[
    bool,
    typer.Option("--embedded", help="Other sites may frame the page over HTTPS.", rich_help_panel=ACCESS_PANEL),
]


def ui(
    *,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open_browser: Open = False,
    queue: Queue = 20,
    mcp: Mcp = False,
    allow_model: AllowModel = None,
    no_pocket: NoPocket = False,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    auth: Auth = None,
    no_auth: NoAuth = False,
    allow_host: AllowHost = None,
    embedded: Embedded = False,
) -> None:
    """Run the workbench: see the region before you pay for the edit, correct it with a brush, keep every version."""
    _need("gradio", "web")
    if mcp:
        _need("mcp", "web,mcp")
    from wordbrush.web.options import Limits, Options, is_loopback

    if auth and no_auth:
        raise SettingsError("--auth (or WORDBRUSH_AUTH) and --no-auth contradict each other")
    if not (auth or no_auth or is_loopback(host)):
        raise SettingsError(f"--host {host} lets others in: give --auth USER:PASSWORD, or say --no-auth if you mean it")
    options = Options(
        host=host,
        port=port,
        models=_models(allow_model or [], pocket=not no_pocket),
        auth=parse_auth(auth) if auth else None,
        device=device,
        dtype=dtype,
        allow_download=allow_download,
        mcp=mcp,
        embedded=embedded,
        hosts=tuple(allow_host or ()),
        limits=Limits(queue=queue),
    )
    # Read once, when the libraries are imported; what they would say is not for users of this program.
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from wordbrush.web.server import serve

    serve(options, open_browser=open_browser)


def parse_auth(text: str) -> tuple[str, str]:
    """Read `USER:PASSWORD`; the password may hold colons.

    Raises:
        SettingsError: either is empty.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise SettingsError("--auth (or WORDBRUSH_AUTH): write a user, a colon and a password")  # never show it
    return user, password


def _models(allowed: list[str], *, pocket: bool) -> tuple[str, ...]:
    names = tuple(dict.fromkeys([*allowed, *(["pocket"] if pocket else [])]))
    if not names:
        raise SettingsError("--no-pocket leaves no model; name one with --allow-model")
    return names


def _need(package: str, extras: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SettingsError(f"the workbench needs more packages: pip install 'wordbrush[{extras}]'")
