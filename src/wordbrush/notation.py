"""Notation: seeds, flags and commands as people write them, read and written in one place."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from typing import Any

from wordbrush.errors import SettingsError
from wordbrush.settings import DEFAULT_PRESET, MAX_SEED, Settings

__all__ = ["MAX_SEEDS", "edit_command", "parse_one_seed", "parse_seeds", "shell"]

MAX_SEEDS = 10_000
_ITEM = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")

_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end the line, or make a terminal do something when the command is pasted."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read a list of seeds; ranges include both ends, the order is kept, a repeated seed counts once.

    Args:
        text: whole numbers and ranges separated by commas, such as `1,2,5-8`.

    Returns:
        At least one seed, each in [0, 2**63 - 1].

    Raises:
        SettingsError: anything else, or more than 10,000 seeds.
    """
    seeds: dict[int, None] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise SettingsError(f"--seed: {item.strip()[:40]!r} is not a seed; write whole numbers like 1,2,5-8")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last > MAX_SEED:
            raise SettingsError(f"--seed: {last} is too large; the largest seed is {MAX_SEED}")
        if last < first:
            raise SettingsError(f"--seed: the range {item.strip()} runs backwards")
        if last - first + 1 + len(seeds) > MAX_SEEDS:
            raise SettingsError(f"--seed: more than {MAX_SEEDS} seeds in one call")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return tuple(seeds)


def parse_one_seed(text: str) -> int:
    """Read exactly one seed.

    Raises:
        SettingsError: the text is not one whole number in [0, 2**63 - 1].
    """
    seeds = parse_seeds(text)
    if len(seeds) != 1:
        raise SettingsError(f"--seed: {text[:40]!r} names several seeds; this command takes one")
    return seeds[0]


def edit_command(
    *,
    picture: str,
    query: str,
    reference: str = "",
    negative: str = "",
    seed: int = 0,
    preset: str = DEFAULT_PRESET,
    settings: Settings,
    model: str = "pocket",
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    output: str,
    mask: str | None = None,
    include: str | None = None,
    exclude: str | None = None,
) -> list[str]:
    """Return the words of the shortest command that makes exactly this edit.

    A flag stands only where its value is not that of the preset; a number is written so that it is read back as the
    same number. A command cannot take back to nothing what a preset sets (only the threshold: naming the rule does
    that), so where `settings` ask for it the command starts from the default preset instead, and the record of its
    result names that one.

    Args:
        picture: the input file; `-` is standard input.
        query: what the picture should show.
        reference: what it shows now.
        negative: what the result should not show.
        seed: of the item.
        preset: set of switches the command starts from.
        settings: all switches of the edit.
        model: name, folder, file or hub id of the model.
        revision: commit, branch or tag of a hub id.
        device: where the model ran, if it was told where.
        dtype: of its weights, if it was told which.
        output: the result file; `-` is standard output.
        mask: file of the mask used in place of one found.
        include: file of the mask that is always edited.
        exclude: file of the mask that is never edited.

    Returns:
        `wordbrush`, `edit` and what follows; for a shell see `shell`.

    Raises:
        SettingsError: no command can say it: an unknown preset, a seed outside 0 ... 2^63 - 1, or a text that cannot
            be an argument of a program (with a NUL, or not Unicode).
    """
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"the seed {seed} is outside 0 ... {MAX_SEED}, so no command can repeat this edit")
    start, switches = _from_preset(preset, settings)
    named = {
        "from": reference or None,
        "to": query,
        "negative": negative or None,
        "output": output,
        "seed": str(seed) if seed else None,
        "model": model if model != "pocket" else None,
        "revision": revision,
        "device": device,
        "dtype": dtype,
        "mask": mask,
        "include": include,
        "exclude": exclude,
        "preset": start if start != DEFAULT_PRESET else None,
    }
    words = [word for name, value in named.items() if value is not None for word in _option(name, value)]
    words += [word for name, value in switches.items() for word in _switch(name, value)]
    dashed = picture.startswith("-") and picture != "-"
    words = ["wordbrush", "edit", *([] if dashed else [picture]), *words, *(["--", picture] if dashed else [])]
    _check(words)
    return words


def shell(words: list[str]) -> str:
    """Write words as one line for a shell.

    As `shlex.join` does it, which every POSIX shell reads; a word with line breaks or other control characters is
    written as `$'...'` instead, which bash, zsh and ksh read.
    """
    return " ".join(_escaped(word) if _BREAKS.search(word) else shlex.quote(word) for word in words)


def _from_preset(preset: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return a preset and the switches that make it `settings`: the one asked for, or else the default one."""
    for name in (preset, DEFAULT_PRESET):
        switches = _differing(name, settings)
        if None not in switches.values():
            return name, switches
    raise SettingsError("these settings set back to nothing what every preset sets, so no command can repeat this edit")


def _differing(preset: str, settings: Settings) -> dict[str, Any]:
    """Return the fewest switches with which `Settings.from_preset` makes `settings`; None is for what it cannot."""
    plain, named = Settings.from_preset(preset), {}
    if settings.rule != plain.rule or (settings.threshold is None and plain.threshold is not None):
        named = {"rule": settings.rule}  # naming a rule, even the preset's own, drops the preset's threshold
        plain = Settings.from_preset(preset, **named)
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(Settings)}
    return {name: value for name, value in values.items() if name in named or value != getattr(plain, name)}


def _switch(name: str, value: Any) -> Iterator[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        yield f"--{flag}" if value else f"--no-{flag}"
    else:
        yield from _option(flag, value if isinstance(value, str) else repr(value))


def _option(name: str, value: str) -> Iterator[str]:
    """Write an option; a value that begins with a dash is tied to it, else it could be taken for an option."""
    if value.startswith("-") and value != "-":
        yield f"--{name}={value}"
    else:
        yield from ("-o" if name == "output" else f"--{name}", value)


def _check(words: list[str]) -> None:
    for word in words:
        try:
            good = b"\0" not in word.encode("utf-8", "surrogateescape")  # as file names that are not Unicode come
        except UnicodeEncodeError:
            good = False
        if not good:
            raise SettingsError(f"{word[:40]!r} cannot be an argument of a program, so no command can repeat this edit")


def _escaped(word: str) -> str:
    """Quote a word for bash, zsh and ksh: bytes of what breaks a line as three octal digits, the rest as it is."""
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    text = _BREAKS.sub(lambda found: "".join(f"\\{byte:03o}" for byte in found[0].encode()), plain)
    return f"$'{text}'"
