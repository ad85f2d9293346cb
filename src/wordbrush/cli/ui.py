"""`wordbrush ui`: the workbench, a page in the browser."""

from __future__ import annotations

from wordbrush.cli.commands.ui import UiCommand, parse_auth
from wordbrush.errors import SettingsError
from wordbrush.web.options import PLACED, Limits, Options, is_loopback
from wordbrush.web.server import serve

__all__ = ["ui"]


def ui(command: UiCommand) -> None:
    """Run the workbench until it is stopped.

    Raises:
        SettingsError: flags contradict one another, or would let others in without a password.
    """
    auth = command.auth
    if auth and command.no_auth:
        raise SettingsError("--auth (or WORDBRUSH_AUTH) and --no-auth contradict each other")
    if not (auth or command.no_auth or is_loopback(command.host)):
        raise SettingsError(
            f"--host {command.host} lets others in: give --auth USER:PASSWORD, or say --no-auth if you mean it"
        )
    load = command.model_choice.load
    del load["local_files_only"]
    options = Options(
        host=command.host,
        port=command.port,
        models=command.names,
        auth=parse_auth(auth) if auth else None,
        allow_download=command.model.allow_download,
        **{name: load.pop(name) for name in PLACED},
        first=load,
        mcp=command.mcp,
        embedded=command.embedded,
        hosts=tuple(command.allow_host or ()),
        proxies=tuple(command.trust_proxy or ()),
        limits=Limits(queue=command.queue),
    )
    serve(options, open_browser=command.open_browser)
