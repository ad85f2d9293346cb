"""Variants from words: presets times methods times values of settings, as a command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wordbrush import notation
from wordbrush.errors import SettingsError
from wordbrush.evaluation.items import Phrasing, Variant
from wordbrush.evaluation.plan import PANELS
from wordbrush.settings import DEFAULT_PRESET, Settings

__all__ = ["build_variants", "parse_assignments", "parse_value", "parse_varied"]


def parse_value(setting: str, text: str) -> Any:
    """Read one value of a setting as the type that `Settings` has; `none` or `auto` where it may be left open.

    Raises:
        SettingsError: there is no such setting, or the text is no such value.
    """
    name = setting.replace("-", "_")
    if name not in notation.switches():
        raise SettingsError(f"unknown setting {setting!r}: known are {', '.join(notation.switches())}")
    return notation.switches()[name].read(text)


def parse_assignments(items: Sequence[str]) -> dict[str, Any]:
    """Read `SETTING=VALUE` items.

    Raises:
        SettingsError: an item is not of that form, or as `parse_value`.
    """
    settings = {}
    for item in items:
        name, values = _split(item, "--set")
        settings[name] = parse_value(name, values)
    return settings


def parse_varied(items: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Read `SETTING=V1,V2,...` items.

    Raises:
        SettingsError: an item is not of that form, a setting is there twice, or as `parse_value`.
    """
    varied: dict[str, tuple[Any, ...]] = {}
    for item in items:
        name, values = _split(item, "--vary")
        if name in varied:
            raise SettingsError(f"--vary {item}: {name} is varied twice; give all its values at once")
        varied[name] = tuple(dict.fromkeys(parse_value(name, text) for text in values.split(",")))
    return varied


def _split(item: str, flag: str) -> tuple[str, str]:
    name, equals, values = item.partition("=")
    if not equals or not name or not values:
        example = "ratio=0.5,0.8" if flag == "--vary" else "steps=20"
        raise SettingsError(f"{flag} {item}: write a setting and what it is, like {flag} {example}")
    return name.replace("-", "_"), values


def build_variants(
    *,
    presets: Sequence[str] = (),
    methods: Sequence[str] = (),
    phrasings: Sequence[Phrasing] = ("captions",),
    switches: dict[str, Any] | None = None,
    varied: dict[str, tuple[Any, ...]] | None = None,
) -> tuple[Variant, ...]:
    """Return a variant for each preset, method and phrasing, and for each value of each varied setting.

    Several varied settings are varied one at a time. A name holds only what there are several of. Variants that are not
    varied keep example pictures; a varied ratio is also a point of the method's trade-off.

    Raises:
        SettingsError: a preset is unknown, or a value is out of range.
    """
    variants = []
    several = len(presets) > 1
    for preset in presets or (DEFAULT_PRESET,):
        for phrasing in phrasings:
            for method in methods or ("diffedit",):
                words = [method, *([preset] if several or (presets and not methods) else [])]
                line = " ".join([*words, *([phrasing] if len(phrasings) > 1 else [])])
                base = Settings.from_preset(preset, **(switches or {}))
                if not varied:
                    variants.append(Variant(line, method, base, phrasing, preset, {PANELS: 1}))
                for setting, values in (varied or {}).items():
                    for value in values:
                        changed = {**(switches or {}), setting: value}
                        settings = Settings.from_preset(preset, **changed)
                        name = f"{line} {setting}={_shown(setting, value)}"
                        tags = _tags(line, setting, value)
                        variants.append(Variant(name, method, settings, phrasing, preset, tags))
    return tuple(variants)


def _tags(line: str, setting: str, value: Any) -> dict[str, str | float | int]:
    value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    plain = value if number else _shown(setting, value)
    tags: dict[str, str | float | int] = {"vary": setting, "value": plain, "line": line}
    return {**tags, "curve": line, "ratio": value} if setting == "ratio" else tags


def _shown(setting: str, value: Any) -> str:
    return notation.switches()[setting].shown(value)
