"""The command `doctor`: its flags and its help."""

from __future__ import annotations

from dataclasses import dataclass

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command

__all__ = ["DoctorCommand"]


@dataclass(frozen=True, kw_only=True)
class DoctorCommand(Command):
    """Check this installation: versions, devices, memory, and whether the pocket model runs."""

    json: opt.Json = False
