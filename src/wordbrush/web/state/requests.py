"""Orders: what the controls of the page say, as settings of an edit; and back, to show a preset or a record.

A control that stands where its preset puts it sets no switch, so an order is as short as the command that repeats it.
"""

from __future__ import annotations

import dataclasses
import shlex
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from wordbrush.errors import SettingsError
from wordbrush.notation import parse_one_seed, parse_seeds
from wordbrush.region.threshold import DEFAULT_VALUES
from wordbrush.settings import DEFAULT_PRESET, PRESETS, Settings

if TYPE_CHECKING:
    from wordbrush.record.provenance import Provenance
    from wordbrush.web.options import Limits

__all__ = ["SWITCHES", "VARIATION", "Order", "check_limits", "flags_of", "parse_flags", "shown"]

SWITCHES = (
    "rule", "threshold", "grow", "feather", "fill_holes", "drop_specks", "edges", "invert", "ratio", "guidance",
    "steps", "eta",
)  # fmt: skip
"""The switches that have a control of their own; the others are written as flags."""

VARIATION = 0.6
"""Where the control of eta stands at first: with 0 all seeds would paint the same picture on one mask."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a visitor asks for.

    Attributes:
        query: what the picture should show.
        reference: what it shows now; may be empty.
        negative: what the repainting is guided away from.
        model: one of the operator's names.
        preset: set of switches to start from.
        switches: those that differ from the preset.
        seeds: of the repainting, at least one.
        contrast_seed: of the noises in which the region is found, whatever the seeds.
        check_inversion: measure the reconstruction error, too.
    """

    query: str
    reference: str = ""
    negative: str = ""
    model: str = "pocket"
    preset: str = DEFAULT_PRESET
    switches: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    contrast_seed: int = 0
    check_inversion: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any], guidance: float, limits: Limits) -> Order:
        """Read the controls.

        Args:
            values: by name: those of `SWITCHES`, and query, reference, negative, model, preset, seeds (as people write
                them: `1,2,5-8`), contrast_seed, flags (further switches as on the command line), check_inversion.
            guidance: the model's own guidance scale, where the control of guidance stands by default.
            limits: most seeds and steps, largest working size.

        Raises:
            SettingsError: a value is out of range; the message says which.
        """
        preset = values["preset"] or DEFAULT_PRESET
        more = parse_flags(values["flags"] or "")
        at_rest = shown(preset, guidance, rule=values["rule"])
        own = {name: _plain(values[name]) for name in SWITCHES}
        switches = more | {name: value for name, value in own.items() if value != at_rest[name]}
        seeds = parse_seeds(str(values["seeds"] or "0"))
        if len(seeds) > limits.seeds:
            raise SettingsError(f"{len(seeds)} seeds at once; at most {limits.seeds} here")
        order = cls(
            query=(values["query"] or "").strip(),
            reference=(values["reference"] or "").strip(),
            negative=(values["negative"] or "").strip(),
            model=values["model"],
            preset=preset,
            switches=switches,
            seeds=seeds,
            contrast_seed=parse_one_seed(str(_plain(values["contrast_seed"] or 0))),
            check_inversion=bool(values["check_inversion"]),
        )
        check_limits(order.settings, limits)
        return order

    @classmethod
    def of_record(cls, record: Provenance, models: Sequence[str], resolution_of: Callable[[str], int]) -> Order:
        """Return the order that a record tells of.

        Args:
            record: found in a picture file.
            models: those there are; another one's place is taken by the first.
            resolution_of: gives a model's own working size; a record always names one.

        Raises:
            SettingsError: its settings are not those of this program.
        """
        model = record.model["source"] if record.model["source"] in models else models[0]
        preset = record.preset if record.preset and record.preset in PRESETS else DEFAULT_PRESET
        try:
            settings = Settings(**record.settings)
        except TypeError as error:
            raise SettingsError(f"the record in this file has settings that are not known here: {error}") from error
        found_with = record.seed if settings.contrast_seed is None else settings.contrast_seed
        if settings.resolution == resolution_of(model):
            settings = settings.changed(resolution=None)
        settings, plain = settings.changed(contrast_seed=None), Settings.from_preset(preset)
        names = [item.name for item in dataclasses.fields(Settings)]
        return cls(
            query=record.query,
            reference=record.reference,
            negative=record.negative,
            model=model,
            preset=preset,
            switches={n: getattr(settings, n) for n in names if getattr(settings, n) != getattr(plain, n)},
            seeds=(record.seed,),
            contrast_seed=found_with,
        )

    def controls(self, guidance: float) -> dict[str, Any]:
        """Return where the controls stand for this order, by the names `of` takes."""
        values = shown(self.preset, guidance, rule=self.switches.get("rule"))
        values |= {n: v for n, v in self.switches.items() if n in SWITCHES and v is not None}
        texts = {"query": self.query, "reference": self.reference, "negative": self.negative}
        return {
            **texts,
            **values,
            "model": self.model,
            "preset": self.preset,
            "seeds": ",".join(str(seed) for seed in self.seeds),
            "contrast_seed": str(self.contrast_seed),
            "flags": flags_of(self.preset, self.settings),
            "check_inversion": self.check_inversion,
        }

    @property
    def region_key(self) -> tuple[Any, ...]:
        """What the region follows from, beside the picture and what was given by hand."""
        return (self.query, self.reference, self.model, self.contrast_seed, self.settings)

    @cached_property
    def settings(self) -> Settings:
        """All switches, for finding the region.

        Raises:
            SettingsError: a value out of range.
        """
        return Settings.from_preset(self.preset, **self.switches)

    def settings_for(self, seed: int) -> Settings:
        """Return all switches for painting with one seed on the region that was found with `contrast_seed`."""
        return self.settings.changed(contrast_seed=None if seed == self.contrast_seed else self.contrast_seed)

    def check(self, *, mask_given: bool = False) -> None:
        """Refuse what cannot be carried out.

        Raises:
            SettingsError: no query, equal texts, or several seeds that would paint one and the same picture.
        """
        if not self.query:
            raise SettingsError("write what the picture should show")
        if self.query == self.reference and not mask_given:
            raise SettingsError("both texts are the same, so there is no region they disagree about")
        if len(self.seeds) > 1 and self.settings.eta == 0:
            raise SettingsError("with variation 0 every seed paints the same picture: raise it, or give one seed")


def check_limits(settings: Settings, limits: Limits) -> None:
    """Refuse settings that would take a shared server too long or too much memory.

    Raises:
        SettingsError: more steps, or a larger working size, than the operator allows.
    """
    if settings.steps > limits.steps:
        raise SettingsError(f"{settings.steps} steps; at most {limits.steps} here")
    if (settings.resolution or 0) > limits.resolution:
        raise SettingsError(f"resolution {settings.resolution}; at most {limits.resolution} here")


def shown(preset: str, guidance: float, rule: str | None = None) -> dict[str, Any]:
    """Return where a preset puts the controls of `SWITCHES`.

    Args:
        preset: its name.
        guidance: the model's own guidance scale.
        rule: a threshold rule other than the preset's, whose number is then the rule's own default.

    Raises:
        SettingsError: unknown preset or rule.
    """
    if preset not in PRESETS:
        raise SettingsError(f"unknown preset {preset!r}: known are {', '.join(PRESETS)}")
    plain = Settings.from_preset(preset)
    settings = plain if rule in {None, plain.rule} else Settings.from_preset(preset, rule=rule)
    values = {name: getattr(settings, name) for name in SWITCHES}
    values["rule"] = plain.rule
    if values["threshold"] is None:
        values["threshold"] = DEFAULT_VALUES[settings.rule]
    if values["guidance"] is None:
        values["guidance"] = guidance
    return values


def _plain(value: Any) -> Any:
    """Sliders give 3 as 3.0 or 3; equal numbers are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parse_flags(text: str, elsewhere: Collection[str] = (*SWITCHES, "contrast_seed")) -> dict[str, Any]:
    """Read further switches as they stand on the command line: `--maps 4 --solver dpm2m --antithetic`.

    Args:
        text: the words.
        elsewhere: switches that are refused because they have a control of their own.

    Raises:
        SettingsError: an unknown flag, one that has a control of its own, or a value that cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"further switches: {error}") from error
    switches: dict[str, Any] = {}
    while words:
        name, equals, value = words.pop(0).partition("=")
        key, kind = _named(name, elsewhere)
        if kind is bool:
            switches[key] = not name.startswith("--no-")
        else:
            if not equals and not words:
                raise SettingsError(f"further switches: {name} needs a value")
            switches[key] = _read(name, value if equals else words.pop(0), kind)
    return switches


def _named(name: str, elsewhere: Collection[str]) -> tuple[str, Any]:
    kinds = {item.name: _kind(item.name) for item in dataclasses.fields(Settings)}
    key = name.removeprefix("--").replace("-", "_")
    if kinds.get(key.removeprefix("no_")) is bool:
        key = key.removeprefix("no_")
    if not name.startswith("--") or key not in kinds:
        raise SettingsError(f"further switches: {name[:40]!r} is not one; `wordbrush edit --help` lists them")
    if key in elsewhere:
        raise SettingsError(f"further switches: {name} has a control of its own on this page")
    return key, kinds[key]


def _kind(name: str) -> Any:
    hint = typing.get_type_hints(Settings)[name]
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return str if typing.get_origin(hint) is Literal else hint


def _read(name: str, text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise SettingsError(f"further switches: {name} {text[:40]!r} is not a number") from error


def flags_of(preset: str, settings: Settings) -> str:
    """Return the switches without a control of their own that differ from the preset, as `parse_flags` reads them."""
    plain, words = Settings.from_preset(preset), []
    for item in dataclasses.fields(Settings):
        value = getattr(settings, item.name)
        if item.name in SWITCHES or item.name == "contrast_seed" or value == getattr(plain, item.name):
            continue
        flag = item.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
