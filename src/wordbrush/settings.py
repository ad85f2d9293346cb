"""Settings: every switch of the algorithm, its default, its range and its help in one place; presets are data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from wordbrush.errors import SettingsError
from wordbrush.presets import DEFAULT_PRESET, GONE, PRESETS
from wordbrush.values import plain, worded

__all__ = [
    "DEFAULT_PRESET",
    "MAX_SEED",
    "PRESETS",
    "RULES",
    "Rescale",
    "Rule",
    "Settings",
    "ThresholdRule",
    "check_threshold",
    "resolve",
]

MAX_SEED: Final = 2**63 - 1
"""Largest seed."""

MOST_NUMBERS: Final = 8
"""Most numbers of a switch that takes several."""

Rescale = Literal["percentile", "iqr", "minmax", "ratio"]
"""How a raw contrast map is brought to [0, 1]."""

Rule = Literal["fixed", "otsu", "quantile", "area", "ratio"]
"""How the threshold of a contrast map is chosen."""


@dataclass(frozen=True)
class ThresholdRule:
    """A threshold rule: the default, the range and the meaning of its number.

    Attributes:
        default: its number where none is given.
        low: its least number, or None.
        high: its largest, or None.
        help: what the number is.
    """

    default: float
    low: float | None
    high: float | None
    help: str


RULES: Final[Mapping[Rule, ThresholdRule]] = {
    "fixed": ThresholdRule(0.26, 0.0, 1.0, "the cut itself, on the map rescaled to 0 ... 1"),
    "otsu": ThresholdRule(0.0, None, None, "by how much Otsu's cut is moved"),
    "quantile": ThresholdRule(0.8, 0.0, 1.0, "share of the cells below the cut"),
    "area": ThresholdRule(0.25, 0.0, 1.0, "share of the cells above the cut"),
    "ratio": ThresholdRule(1.5, 0.0, None, "multiple of the mean of the raw map"),
}
"""Every threshold rule."""


Kept = Literal["contrast", "reference", "trajectory"]
"""Values that a session keeps: raw contrast maps, the reference's half of them, the latents of inversions."""
_CONTRAST: Final = ("contrast", "reference")


def _switch(
    default: Any,
    help_: str,
    low: float | None = None,
    high: float | None = None,
    *,
    of: tuple[Kept, ...] = (),
    before: Any = None,
) -> Any:
    """Declare a switch.

    Args:
        default: where nothing is said.
        help_: for people.
        low: least value.
        high: largest.
        of: the kept values that it determines.
        before: what edits did before the switch came, where that is not the default; records of then are without it.
    """
    return field(default=default, metadata={"help": help_, "range": (low, high), "of": of, "before": before})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The switches of one edit; the defaults are the preset `balanced`, `metadata` carries help and range of each.

    A number of a switch that takes fractions is kept as a float, so that equal settings make equal records. One
    strength may be given as a number; it is kept as a tuple, like several.

    Raises:
        SettingsError: a value is of the wrong kind or out of its range.
    """

    # The contrast: where the two texts disagree.
    maps: int = _switch(1, "noises averaged in the contrast, at each strength", 1, 64, of=_CONTRAST)
    strength: tuple[float, ...] = _switch(
        (0.5, 0.95), "noise strengths of the contrast, one or several that are pooled", 0.0, 1.0, of=_CONTRAST
    )
    strength_axis: Literal["snr", "time", "grid"] = _switch(
        "snr",
        "a strength is time of Stable Diffusion, translated to equal noise; the model's own time; or a share of steps",
        of=_CONTRAST,
    )
    draws: Literal["own", "shared"] = _switch(
        "own", "each strength draws noises of its own, or all share the same", of=_CONTRAST, before="shared"
    )
    antithetic: bool = _switch(False, "draw the noises in pairs of opposite sign", of=_CONTRAST)
    contrast_seed: int | None = _switch(None, "seed of the contrast's noises; by default the item's own", 0, MAX_SEED)
    sign: Literal["absolute", "signed"] = _switch(
        "absolute", "average sizes of differences, or differences", of=("contrast",)
    )
    norm: Literal["mean", "l2"] = _switch("mean", "size of a difference over the channels", of=("contrast",))
    pool: Literal["sizes", "shares"] = _switch(
        "sizes", "maps of several strengths are averaged as they are, or each as shares of its own mean",
        of=("contrast",), before="shares",
    )
    rescale: Rescale = _switch("percentile", "how outliers are tamed")  # noqa: RUF009 - ruff does not see through the alias
    clip: float = _switch(1.0, "percent clipped at each end by --rescale percentile", 0.0, 49.0)
    # The mask: what is cut out of the contrast.
    rule: Rule = _switch("fixed", "how the threshold is chosen")  # noqa: RUF009
    threshold: float | None = _switch(
        None, "the rule's number: " + ", ".join(f"{name} {rule.default:g}" for name, rule in RULES.items())
    )
    fill_holes: bool = _switch(False, "fill holes of the mask")
    drop_specks: int = _switch(0, "drop parts of fewer latent cells", 0, 10_000)
    grow: int = _switch(0, "grow the mask by latent cells; below zero shrinks it", -64, 64)
    edges: Literal["regions", "contour", "guided", "smooth", "cells"] = _switch(
        "regions",
        "outline: by the picture's regions and edges, or by its edges alone, drawn at its own size; by its edges in "
        "pixels of the canvas; blended over one latent cell; or hard cells",
    )
    invert: bool = _switch(False, "edit what lies outside the region found; where none is found, nothing")
    feather: float = _switch(0.0, "blend outwards over this many latent cells", 0.0, 16.0)
    soft: Literal["strength", "blend"] = _switch("strength", "what a grey of your mask means: how long, or how much")
    # The seam: how the repainted region meets the picture.
    ring: float = _switch(1.0, "latent cells around the region that the decode frees, too", 0.0, 16.0, before=0.0)
    ring_until: float = _switch(0.0, "share of the decode, counted from its end, that holds the ring again", 0.0, 1.0)
    rim: float = _switch(
        12.0, "canvas pixels that a contour moves out at most, around all that was painted otherwise", 0.0, 64.0,
        before=0.0,
    )
    blend: float = _switch(1.5, "canvas pixels, counted inwards, over which a contour blends", 0.0, 64.0, before=0.0)
    match: float = _switch(
        2.0, "latent cells over which small differences along the seam are carried inwards", 0.0, 16.0, before=0.0
    )
    # The walks, up and down.
    solver: Literal["ddim", "dpm2m"] = _switch(
        "dpm2m", "step rule: first order, or second by looking back a step", of=("trajectory",)
    )
    steps: int = _switch(10, "steps of the full grid", 1, 1000, of=(*_CONTRAST, "trajectory"))
    spacing: Literal["model", "even"] = _switch(
        "even",
        "levels of the grid: as the model's own scheduler; or evenly apart, the clean one included",
        of=("trajectory",),
        before="model",
    )
    # The inversion: the picture carried into the noise.
    encoding: Literal["auto", "invert", "noise"] = _switch(
        "auto",
        "how the picture comes into the noise: by inversion of the sampler, or by a draw; by default as fits the model",
    )
    ratio: float = _switch(0.88, "encoding ratio: 0 changes nothing, 1 starts from the noisiest level", 0.0, 1.0)
    ratio_axis: Literal["snr", "grid"] = _switch(
        "snr",
        "the ratio goes as deep into the noise as in Stable Diffusion; or is a share of the model's own steps",
        of=("trajectory",),
        before="grid",
    )
    inversion_text: Literal["empty", "reference"] = _switch("empty", "text of the inversion")
    inversion_guidance: float = _switch(1.0, "guidance of the inversion, 1 = off", 0.0, 50.0, of=("trajectory",))
    inversion_label: Literal["source", "target"] = _switch(
        "target", "level told to the network in a step up; dpm2m always tells the source's",
        of=("trajectory",),
    )
    fixed_point: int = _switch(
        0, "further evaluations a step, with solver ddim; each brings the inversion nearer to exact", 0, 20,
        of=("trajectory",),
    )
    inversion_stride: int = _switch(
        2, "levels that a step of the inversion goes up; those between are read off its estimate", 1, 100,
        of=("trajectory",), before=1,
    )
    # The decode: the masked region repainted.
    guidance: float | None = _switch(None, "guidance of the decode, 1 = off; by default the model's own", 0.0, 50.0)
    guidance_low: float = _switch(
        0.25, "guidance ends at this noise, a position like the ratio; 0 = never", 0.0, 1.0, before=0.0
    )
    guidance_high: float = _switch(1.0, "guidance begins at this noise, a position like the ratio; 1 = any", 0.0, 1.0)
    guidance_every: int = _switch(
        2, "steps that one difference of guidance serves; all but the first of them cost half", 1, 100, before=1
    )
    eta: float = _switch(0.0, "fresh noise in the decode, 0 = none, so seeds move only the contrast", 0.0, 1.0)
    retry: bool = _switch(
        True, "paint a region that came out nearly as it was once more, from fresh noise", before=False
    )
    # The decode made cheaper.
    sparse: int = _switch(
        0, "decode only the part around the region, all else as the inversion left it, but for every so many steps "
        "that are computed whole; 0 = all are (UNets, and most transformers)", 0, 1000,
    )
    sparse_memory: int = _switch(
        1024, "MiB that a sparse decode may keep of the inversion; means stand for levels beyond", 1, 65_536
    )
    # The working size and the text encoder.
    resolution: int | None = _switch(
        None, "working size: side of the square of equal area, by default the model's", 16, 4096
    )
    clip_skip: int = _switch(
        0, "leave out this many last layers of the text encoder", 0, 12, of=(*_CONTRAST, "trajectory")
    )

    def __post_init__(self) -> None:
        hints = _hints()
        for item in fields(self):
            value, (low, high) = plain(getattr(self, item.name)), item.metadata["range"]
            object.__setattr__(self, item.name, value)
            if get_origin(hints[item.name]) is tuple:
                object.__setattr__(self, item.name, _numbers(item.name, value, low, high))
                continue
            _check_kind(item.name, value, hints[item.name])
            if value is None or isinstance(value, str):
                continue
            if (low is not None and value < low) or (high is not None and value > high):
                raise SettingsError(f"{item.name} {worded(value)} is outside {low} ... {high}")
            if float in (get_args(hints[item.name]) or (hints[item.name],)):
                object.__setattr__(self, item.name, _as_float(item.name, value))
        if self.threshold is not None:
            check_threshold(self.rule, self.threshold)
        if self.fixed_point and self.solver != "ddim":
            raise SettingsError(f"fixed_point {self.fixed_point} is for solver ddim: name it too, or set it to 0")

    @classmethod
    def from_preset(cls, preset: str = DEFAULT_PRESET, **switches: Any) -> Settings:
        """Return a preset with some switches set otherwise.

        Raises:
            SettingsError: unknown preset or switch, or a value out of range.
        """
        if not isinstance(preset, str) or preset not in {**PRESETS, **GONE}:
            raise SettingsError(f"unknown preset {worded(preset)}: known are {', '.join(PRESETS)}")
        if preset in GONE:
            raise SettingsError(f"the preset {preset!r} is no more: {GONE[preset]}")
        _check_known(switches)
        chosen = dict(PRESETS[preset])
        if "rule" in switches:
            chosen.pop("threshold", None)  # a number means something else under another rule
        return cls(**{**chosen, **switches})

    def seed_of_contrast(self, seed: int) -> int:
        """Return the seed of the contrast's noises for an item of seed `seed`."""
        return seed if self.contrast_seed is None else self.contrast_seed

    @classmethod
    def recorded(cls, switches: Mapping[str, Any]) -> Settings:
        """Return the settings of a record; switches that came after it are set to what edits did before them."""
        came = {item.name: item.metadata["before"] for item in fields(cls) if item.metadata["before"] is not None}
        return cls(**{**came, **switches})

    def changed(self, **switches: Any) -> Settings:
        """Return a copy with some switches set otherwise.

        Raises:
            SettingsError: an unknown switch, or a value out of range.
        """
        _check_known(switches)
        return replace(self, **switches)

    def key(self, kept: Kept) -> tuple[Any, ...]:
        """Return the values of the switches that determine a kept value, beside the texts and the seed it has."""
        idle = set()
        if kept in _CONTRAST and self.strength_axis != "grid":
            idle.add("steps")  # a level on the time axis is on no grid
        if kept in _CONTRAST and len(self.strength) == 1:
            idle |= {"draws", "pool"}
        if kept == "trajectory" and self.solver != "ddim":
            idle.add("inversion_label")  # a solver that looks back always tells the source's
        if kept == "trajectory" and self.spacing == "model":
            idle.add("ratio_axis")  # it then says how deep the path goes, but not through which levels
        return tuple(
            getattr(self, item.name)
            for item in fields(self)
            if kept in item.metadata["of"] and item.name not in idle
        )


def check_threshold(rule: Rule, value: float) -> None:
    """Check the number of a threshold rule.

    Raises:
        SettingsError: `value` is not one that `rule` can take.
    """
    if not math.isfinite(value):
        raise SettingsError(f"{rule} threshold {value} is not a finite number")
    low, high = RULES[rule].low, RULES[rule].high
    if low is not None and value < low:
        raise SettingsError(f"{rule} threshold {value} is below {low:g}")
    if high is not None and value > high:
        raise SettingsError(f"{rule} threshold {value} is above {high:g}")


def _check_known(switches: Mapping[str, Any]) -> None:
    unknown = switches.keys() - _hints().keys()
    if unknown:
        raise SettingsError(f"unknown switch {sorted(unknown)[0]!r}: known are {', '.join(_hints())}")


_HINTS: dict[str, Any] = {}


def _hints() -> dict[str, Any]:
    if not _HINTS:
        _HINTS.update(get_type_hints(Settings))
    return _HINTS


def _check_kind(name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise SettingsError(f"{name} {worded(value)} is unknown: known are {', '.join(get_args(hint))}")
        return
    kinds = get_args(hint) or (hint,)
    if value is None and type(None) in kinds:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = (bool in kinds and isinstance(value, bool)) or (number and float in kinds and value == value)
    good = good or (int in kinds and isinstance(value, int) and not isinstance(value, bool))
    if not good:
        expected = " or ".join(k.__name__ for k in kinds if k is not type(None))
        raise SettingsError(f"{name} {worded(value)} is not a {expected}")


def _numbers(name: str, value: Any, low: float, high: float) -> tuple[float, ...]:
    """Return one number, or a list of them, as a tuple of floats."""
    many = [plain(one) for one in (value if isinstance(value, list | tuple) else (value,))]
    if not 1 <= len(many) <= MOST_NUMBERS:
        raise SettingsError(f"{name} has {len(many)} numbers: give 1 to {MOST_NUMBERS}")
    for one in many:
        _check_kind(name, one, float)
        if not low <= one <= high:
            raise SettingsError(f"{name} {worded(one)} is outside {low} ... {high}")
    return tuple(_as_float(name, one) for one in many)


def _as_float(name: str, value: float) -> float:
    try:
        return float(value) + 0.0  # minus zero becomes zero, its equal
    except OverflowError as error:
        raise SettingsError(f"the number of {name} is too large") from error


def resolve(preset: str | None, settings: Settings | None, switches: Mapping[str, Any]) -> tuple[Settings, str | None]:
    """Return the settings of a call and the preset's name to record.

    Without `settings` they are the preset's (the default one where none is named). With `settings` these hold, and a
    preset only names where they came from. Single switches are set last.

    Raises:
        SettingsError: an unknown preset or switch, a value out of range, or `settings` of another kind.
    """
    if settings is not None:
        if not isinstance(settings, Settings):
            raise SettingsError(f"settings are a Settings object, not {type(settings).__name__}")
        if preset is not None and not isinstance(preset, str):
            raise SettingsError(f"unknown preset {worded(preset)}: known are {', '.join(PRESETS)}")
        return settings.changed(**switches), preset
    name = preset or DEFAULT_PRESET
    return Settings.from_preset(name, **switches), name
