"""Inputs of the API: name, kind, range, default and one sentence each; JSON schema and checks come from them.

What a switch means and which values it takes is asked of `notation.switches`, so the API cannot fall behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wordbrush.errors import SettingsError
from wordbrush.notation import switches
from wordbrush.settings import DEFAULT_PRESET, MAX_SEED, PRESETS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONGEST_TEXT", "MOST_STEPS", "Field", "fields_of"]

LONGEST_TEXT = 2000
MOST_STEPS = 200

Kind = Literal["file", "string", "integer", "number", "boolean"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input.

    Attributes:
        name: of the parameter.
        kind: what it is in JSON; a file is named by what its upload answered.
        help: one sentence.
        required: whether it must be given; else `default` takes its place, and None (JSON null) always means that.
        default: see there.
        low: smallest number, or None.
        high: largest number, or most characters of a text, or None.
        choices: the only texts there are; empty for any.
        example: of a value, where the default shows too little.
    """

    name: str
    kind: Kind
    help: str
    required: bool = False
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    example: Any = None

    def schema(self) -> dict[str, Any]:
        """Return its JSON schema; of a file as a string."""
        schema: dict[str, Any] = {"type": "string" if self.kind == "file" else self.kind, "description": self.help}
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.kind == "string" and self.high is not None:
            schema["maxLength"] = int(self.high)
        elif self.kind in {"integer", "number"}:
            schema |= {k: v for k, v in (("minimum", self.low), ("maximum", self.high)) if v is not None}
        if not self.required and self.default is not None:
            schema["default"] = self.default
        return schema

    def read(self, value: Any) -> Any:
        """Check a value that came in as JSON; what names a file is left to whoever opens it.

        Raises:
            SettingsError: missing, of the wrong kind, or out of range.
        """
        if value is None:
            if self.required:
                raise SettingsError(f"{self.name} is missing: {self.help}")
            return self.default
        if self.kind == "boolean":
            if not isinstance(value, bool):
                raise self._wrong("true or false")
            return value
        if self.kind == "file":
            return value
        return self._text(value) if self.kind == "string" else self._number(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
            raise self._wrong("a text")
        if self.high is not None and len(value) > self.high:
            raise SettingsError(f"{self.name} has {len(value):,} characters; at most {int(self.high):,} here")
        if self.choices and value not in self.choices:
            raise SettingsError(f"{self.name} {value[:40]!r} is unknown: known are {', '.join(self.choices)}")
        return value

    def _number(self, value: Any) -> float:
        finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not finite:
            raise self._wrong("a number")
        number: int | float = value
        if self.kind == "integer":
            if number != int(number):
                raise self._wrong("a whole number")
            number = int(number)
        if not (self.low is None or number >= self.low) or not (self.high is None or number <= self.high):
            more = f": {self.help}" if self.name == "seed" else ""
            raise SettingsError(f"{self.name} {number} is outside {self.low} ... {self.high}{more}")
        return number

    def _wrong(self, expected: str) -> SettingsError:
        return SettingsError(f"{self.name} is not {expected}: {self.help}")


def _switch(name: str, kind: Literal["number", "integer"], *, high: float | None = None) -> Field:
    """Return the input of a switch; left out, it stands where the preset puts it."""
    switch = switches()[name]
    low, highest = switch.range or (None, None)
    sentence = f"{switch.help[0].upper()}{switch.help[1:]}; left out, as the preset has it."
    return Field(name=name, kind=kind, help=sentence, low=low, high=high or highest)


def fields_of(models: Sequence[str]) -> dict[str, Field]:
    """Return all inputs there are, by name; which call takes which is for `calls`.

    Args:
        models: names that may be asked for, the default first.
    """
    mask = "any size, stretched over the picture"
    fields = [
        Field(
            name="picture", kind="file", required=True, example="fox.png",
            help="The picture: PNG, JPEG, WebP, TIFF, BMP or AVIF.",
        ),
        _text("query", "What the picture should show.", required=True, example="a penguin on snow"),
        _text("reference", "What it shows now; may stay empty.", example="a fox on snow"),
        _text("negative", "What the result should not show."),
        Field(
            name="seed", kind="integer", help="Seed of the noises; for a random one draw it yourself.",
            default=0, low=0, high=MAX_SEED,
        ),
        Field(name="model", kind="string", help="Which model.", default=models[0], choices=tuple(models)),
        Field(
            name="preset", kind="string", help="The set of switches to start from.",
            default=DEFAULT_PRESET, choices=tuple(PRESETS),
        ),
        _switch("ratio", "number"),
        _switch("guidance", "number"),
        _switch("steps", "integer", high=MOST_STEPS),
        _switch("threshold", "number"),
        Field(name="mask", kind="file", help=f"A mask instead of one found, white = edit; {mask}."),
        Field(name="include", kind="file", help=f"A mask that is always edited, white = edit; {mask}."),
        Field(name="exclude", kind="file", help=f"A mask that is never edited, white = keep; {mask}."),
        _text("switches", "Further switches as on the command line: --maps 4 --rule otsu --encoding noise.", most=500),
        Field(
            name="check_inversion", kind="boolean", default=False,
            help="Measure how well the inversion leads back; costs a further walk down.",
        ),
    ]  # fmt: skip
    return {one.name: one for one in fields}


def _text(
    name: str, help_: str, *, required: bool = False, most: int = LONGEST_TEXT, example: str | None = None
) -> Field:
    default = None if required else ""
    return Field(name=name, kind="string", help=help_, required=required, default=default, high=most, example=example)
