"""The workbench as a Space of a hosting page: framed by it over HTTPS, open to everybody. See docs/operating.md.

`PORT` names the port, `WORDBRUSH_MODELS` the models besides the pocket model, separated by commas, and
`WORDBRUSH_AUTH` a user and password where the Space is not for everybody.
"""

from __future__ import annotations

import os

from wordbrush.cli.commands.ui import parse_auth
from wordbrush.web.options import Options
from wordbrush.web.server import serve


def options_of(environment: dict[str, str]) -> Options:
    """Return what the variables say."""
    models = [name.strip() for name in environment.get("WORDBRUSH_MODELS", "").split(",")]
    auth = environment.get("WORDBRUSH_AUTH")
    return Options(
        host="0.0.0.0",  # noqa: S104 - the hosting page's proxy comes from outside
        port=int(environment.get("PORT", "7860")),
        models=tuple(dict.fromkeys([*filter(None, models), "pocket"])),
        auth=parse_auth(auth) if auth else None,
        allow_download=True,  # of the models named here only
        embedded=True,
        proxies=("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # nobody else reaches a Space
    )


if __name__ == "__main__":
    serve(options_of(dict(os.environ)))
