"""The command `ui`: its flags and its help."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command
from wordbrush.errors import SettingsError

__all__ = ["UiCommand", "parse_auth"]


def _server(*flags: str, **more: Any) -> Any:
    return typer.Option(*flags, rich_help_panel="Server", **more)


def _access(*flags: str, **more: Any) -> Any:
    return typer.Option(*flags, rich_help_panel="Letting others in (see docs/operating.md)", **more)


@dataclass(frozen=True, kw_only=True)
class UiCommand(Command):
    """Run the workbench: see the region before you pay for the edit, correct it with a brush, keep every version."""

    host: Annotated[
        str,
        _server("--host", help="Address to listen on; the default is this machine only.", metavar="ADDRESS"),
    ] = "127.0.0.1"
    port: Annotated[int, _server("--port", min=0, max=65535, help="0 takes any free one.")] = 7860
    open_browser: Annotated[bool, _server("--open", help="Open the page in the browser.")] = False
    queue: Annotated[
        int,
        _server(
            "--queue",
            min=1,
            max=1000,
            help="Most jobs running or waiting; the next is told that the server is busy.",
            metavar="N",
        ),
    ] = 20
    mcp: Annotated[bool, _server("--mcp", help="Serve the API as MCP tools, too (extra mcp).")] = False
    model: opt.ModelChoice
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    allow_model: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-model",
            help="A further model visitors may choose. What is said of --model but device, dtype, offload and backend "
            "is of the first alone, which is chosen at start. Repeatable.",
            metavar="NAME",
            rich_help_panel=opt.MODEL_PANEL,
        ),
    ] = None
    no_pocket: Annotated[
        bool,
        typer.Option("--no-pocket", help="Do not offer the pocket model besides.", rich_help_panel=opt.MODEL_PANEL),
    ] = False
    auth: Annotated[
        str | None,
        _access(
            "--auth",
            help="Ask for this user and password; others here can read a command line, not a variable.",
            envvar="WORDBRUSH_AUTH",
            metavar="USER:PASSWORD",
        ),
    ] = None
    no_auth: Annotated[
        bool, _access("--no-auth", help="Listen on an address that others reach without asking for a password.")
    ] = False
    allow_host: Annotated[
        list[str] | None,
        _access(
            "--allow-host",
            help="A name the page is called by; requests under other names are refused. Repeatable.",
            metavar="NAME",
        ),
    ] = None
    trust_proxy: Annotated[
        list[str] | None,
        _access(
            "--trust-proxy",
            help="Address or network of a proxy whose X-Forwarded-For, -Proto and -Host are believed. Repeatable.",
            metavar="ADDRESS",
        ),
    ] = None
    embedded: Annotated[bool, _access("--embedded", help="Other sites may frame the page over HTTPS.")] = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The models visitors may choose, the one chosen at start first.

        Raises:
            SettingsError: there is none.
        """
        asked, pocket = self.model.name, [] if self.no_pocket else ["pocket"]
        names = [*([] if asked == "pocket" else [asked]), *(self.allow_model or []), *pocket]
        if not names:
            raise SettingsError("--no-pocket leaves no model; name one with --model or --allow-model")
        return tuple(dict.fromkeys(names))

    @cached_property
    def model_choice(self) -> opt.ModelChoice:
        """The model chosen at start, with its LoRAs and embeddings.

        Raises:
            SettingsError: there is none, or an item of them cannot be read.
        """
        return replace(self.model.with_add_ons(self.lora, self.embedding), name=self.names[0])

    def check(self) -> None:
        """Refuse what cannot be read, and to start without the packages that the page needs.

        Raises:
            SettingsError: no model is left, a LoRA or an embedding cannot be read, or a package is not installed; the
                message says which extra brings it.
        """
        _ = self.model_choice
        _need("gradio", "web")
        if self.mcp:
            _need("mcp", "web,mcp")


def parse_auth(text: str) -> tuple[str, str]:
    """Read `USER:PASSWORD`; the password may hold colons.

    Raises:
        SettingsError: either is empty.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise SettingsError("--auth (or WORDBRUSH_AUTH): write a user, a colon and a password")  # never show it
    return user, password


def _need(package: str, extras: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SettingsError(f"the workbench needs more packages: pip install 'wordbrush[{extras}]'")
