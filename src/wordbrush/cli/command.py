"""Commands made from dataclasses: the fields are the flags, the docstring is the help, the work gets one object.

A command is written twice: as a dataclass in `wordbrush.cli.commands`, which imports nothing heavy, so that help, usage
errors and `check` answer at once; and as a function `module:name` that takes this dataclass and does the work. Its
module imports whatever it needs at the top, and is itself imported here when the command runs.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Annotated, Any, TypeVar

import typer
from typer.models import ParameterInfo

from wordbrush.cli.startup import uncollected
from wordbrush.cli.terminal import Terminal
from wordbrush.notation import Switch, bound, switches
from wordbrush.picture.limits import ReadingLimits, limited

__all__ = ["Command", "Grids", "Switches", "command_of"]

ALGORITHM_PANEL = "Algorithm (each overrides the preset)"

Switches = Annotated[dict[str, Any], "one flag for each switch of `Settings`; those that were used, by name"]

Grids = Annotated[dict[str, tuple[Any, ...]], "the same, each with one or several values"]

Group = TypeVar("Group")


class Command:
    """One call of a command: a frozen dataclass of its arguments and flags.

    A field annotated with a typer option or argument is one flag. A field whose type is a dataclass stands for the
    flags of that one, `Switches` and `Grids` for those of `Settings`. A field without any of these is no flag and keeps
    its default.
    """

    quiet: bool = False

    @property
    def limits(self) -> ReadingLimits:
        """How large pictures, masks and files may be that this command reads.

        Raises:
            SettingsError: a size cannot be read.
        """
        flags: Any = getattr(self, "reading", None)  # where the command has them
        limits: ReadingLimits = ReadingLimits() if flags is None else flags.limits
        return limits

    def check(self) -> None:
        """Refuse flags that cannot work together, before anything heavy is imported.

        Raises:
            WordbrushError: flags contradict one another, or a file is in the way.
        """


def command_of(kind: type[Command], work: str) -> Callable[..., None]:
    """Return the function that typer makes a command of.

    Args:
        kind: the dataclass of its flags.
        work: what does it, as `module:function`, within `wordbrush.cli`.
    """
    parameters = list(_parameters(kind))

    def command(**values: Any) -> None:
        called = _filled(kind, values)
        called.check()
        with limited(called.limits):
            _load(work, called)(called)

    command.__doc__ = kind.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _load(work: str, called: Command) -> Callable[[Command], None]:
    """Import the module that does the work; torch and diffusers come with most of them."""
    # Both are read once, when the libraries are imported; what they would say is not for users of this program.
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "critical")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
    module, _, name = work.partition(":")
    with Terminal(quiet=called.quiet).waiting("starting"), uncollected():
        function: Callable[[Command], None] = getattr(import_module(f"wordbrush.cli.{module}"), name)
    return function


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """Yield what typer reads: one parameter for each flag, groups where they stand."""
    for item, hint in _hinted(kind):
        if hint in (Switches, Grids):
            for switch in switches().values():
                yield _parameter(switch.name, _flag(switch, several=hint == Grids), None)
        elif dataclasses.is_dataclass(hint):
            yield from _parameters(typing.cast("type", hint))
        elif _is_flag(hint):
            default = inspect.Parameter.empty if item.default is dataclasses.MISSING else item.default
            yield _parameter(item.name, hint, default)


def _filled(kind: type[Group], values: dict[str, Any]) -> Group:
    """Build the dataclass, and those within it, from the values that typer read."""
    arguments: dict[str, Any] = {}
    for item, hint in _hinted(kind):
        if hint == Switches:
            used = {name: switch for name, switch in switches().items() if values[name] is not None}
            arguments[item.name] = {
                name: switch.read(values[name]) if switch.kind is tuple else values[name]
                for name, switch in used.items()
            }
        elif hint == Grids:
            used = {name: switch for name, switch in switches().items() if values[name] is not None}
            arguments[item.name] = {
                name: (values[name],) if switch.kind is bool else switch.read_several(values[name])
                for name, switch in used.items()
            }
        elif dataclasses.is_dataclass(hint):
            arguments[item.name] = _filled(typing.cast("type[Any]", hint), values)
        elif _is_flag(hint):
            arguments[item.name] = values[item.name]
    return kind(**arguments)


def _hinted(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in dataclasses.fields(kind):
        yield item, hints[item.name]


def _is_flag(hint: Any) -> bool:
    return any(isinstance(note, ParameterInfo) for note in getattr(hint, "__metadata__", ()))


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _flag(switch: Switch, *, several: bool = False) -> Any:
    """Return the option of a switch: its help names its words or its range, and its default.

    Args:
        switch: it.
        several: it takes one or several values.
    """
    facts = [", ".join(switch.choices)] if switch.choices else []
    facts += [" to ".join(map(bound, switch.range))] if switch.range else []
    facts += [f"default {switch.shown_default}"] if switch.default is not None else []
    metavar = {bool: None, int: "N", float: "X", tuple: "X[,X...]"}.get(switch.kind, "NAME")
    if several and metavar is not None:
        metavar += "[;...]" if switch.kind is tuple else "[,...]"
    option = typer.Option(
        f"{switch.flag}/--no-{switch.flag[2:]}" if switch.kind is bool else switch.flag,
        help=switch.help[0].upper() + switch.help[1:] + (f" ({'; '.join(facts)})." if facts else "."),
        show_default=False,
        metavar=metavar,
        rich_help_panel=ALGORITHM_PANEL,
    )
    as_text = switch.kind is tuple or (several and switch.kind is not bool)
    kind: Any = str if as_text else typing.Literal[switch.choices] if switch.choices else switch.kind
    return Annotated[kind | None, option]
