"""Notation: seeds, LoRA files, switches and commands as people write them, read and written in one place."""

from __future__ import annotations

import dataclasses
import functools
import re
import secrets
import shlex
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wordbrush.errors import SettingsError
from wordbrush.settings import DEFAULT_PRESET, MAX_SEED, Settings

__all__ = [
    "GIVEN",
    "MAX_SEEDS",
    "PARTS",
    "Switch",
    "bound",
    "drawn",
    "edit_command",
    "flag_words",
    "parse_embeddings",
    "parse_loras",
    "parse_one_seed",
    "parse_seeds",
    "shell",
    "switches",
]

PARTS = ("vae", "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
"""The parts of a model that can be given in place of a checkpoint's own."""

GIVEN = ("config", "tokenizer", *PARTS, "parametrisation")
"""What a model may be loaded with beside its source."""

MAX_SEEDS = 10_000
_ITEM = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")

_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end the line, or make a terminal do something when the command is pasted."""

_UNSAYABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""What no argument of a program can hold; U+DC80 to U+DCFF stand for the bytes of file names that are not Unicode."""

_EXPECTED = {bool: "on or off", int: "a whole number", tuple: "a number, or several with commas between"}
_BOOLS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def drawn(text: str) -> str:
    """Return a list of seeds with a number of 32 bits in place of each `random`."""
    items = (str(secrets.randbelow(2**32)) if item.strip() == "random" else item for item in text.split(","))
    return ",".join(items)


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
    for item in map(str.strip, text.split(",")):
        match = _ITEM.fullmatch(item)
        if match is None and re.fullmatch(r"-\d+(?:-\d+)?|random", item):
            raise SettingsError(
                f"--seed: {item[:40]!r} is not a seed; for a random one, --seed random draws it on the command line; "
                "elsewhere draw a whole number from 0 on"
            )
        if match is None:
            raise SettingsError(f"--seed: {item[:40]!r} is not a seed; write whole numbers like 1,2,5-8")
        first, last = int(match[1]), int(match[2] or match[1])
        if last > MAX_SEED:
            raise SettingsError(f"--seed: {last} is too large; the largest seed is {MAX_SEED}")
        if last < first:
            raise SettingsError(f"--seed: the range {item} runs backwards")
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


def parse_loras(items: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """Read `FILE[:SCALE]` items.

    Returns:
        Files with their scales, 1 where none is written.

    Raises:
        SettingsError: the scale is outside -100 ... 100, or the file name is empty.
    """
    loras = []
    for item in items:
        path, colon, tail = item.rpartition(":")
        try:
            name, scale = (path, float(tail)) if colon else (item, 1.0)
        except ValueError:
            name, scale = item, 1.0  # the colon belongs to the name
        if not name or not -100.0 <= scale <= 100.0:
            raise SettingsError(f"--lora {item}: write a file and perhaps a scale, like style.safetensors:0.8")
        loras.append((name, scale))
    return tuple(loras)


def parse_embeddings(items: Iterable[str]) -> tuple[tuple[str, str] | str, ...]:
    """Read `FILE[:WORD]` items.

    Returns:
        Files, with their words where one is written.

    Raises:
        SettingsError: the file name or the word is empty.
    """
    embeddings: list[tuple[str, str] | str] = []
    for item in items:
        path, colon, word = item.rpartition(":")
        # A colon may belong to the path, as in C:\styles or in a name.
        if not colon or re.search(r"[/\\]|\.safetensors$", word):
            path, word = item, ""
        if not path or (colon and path != item and not word.strip()):
            raise SettingsError(f"--embedding {item}: write a file and perhaps a word, like style.safetensors:my-style")
        embeddings.append((path, word) if word else path)
    return tuple(embeddings)


@dataclass(frozen=True)
class Switch:
    """One switch of `Settings`, as flags, forms and tables show it.

    Attributes:
        name: of the field.
        kind: bool, int, float, str, or tuple for one or several fractions.
        choices: the words it takes; empty where it is no word.
        range: smallest and largest number, or None.
        optional: None is a value, too: the rule or the model decides.
        default: in the preset `balanced`.
        help: what it does, without capital and full stop.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    range: tuple[float, float] | None
    optional: bool
    default: Any
    help: str

    @classmethod
    def of(cls, item: dataclasses.Field[Any], hint: Any) -> Switch:
        """Read a field of `Settings` and its type."""
        kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
        kind = str if choices else get_origin(kinds[0]) or kinds[0]
        low, high = item.metadata["range"]
        ends = None if low is None else (low, high)
        return cls(item.name, kind, choices, ends, types.NoneType in kinds, item.default, item.metadata["help"])

    @property
    def flag(self) -> str:
        """Its flag, such as `--drop-specks`."""
        return "--" + self.name.replace("_", "-")

    @property
    def shown_default(self) -> str:
        """Its default for people; empty where the rule or the model decides."""
        return "" if self.default is None else self.shown(self.default)

    def shown(self, value: Any) -> str:
        """Write a value so that `read` gives it back."""
        if value is None:
            return "auto"
        if self.kind is bool:
            return "on" if value else "off"
        if self.kind is tuple:
            return ",".join(map(repr, value))
        return value if isinstance(value, str) else repr(value)

    def words(self, value: Any) -> list[str]:
        """Write the words that set it on a command line; there are none for None, which has no flag."""
        if self.kind is bool:
            return [self.flag if value else f"--no-{self.flag[2:]}"]
        return flag_words({self.name: self.shown(value) if self.kind is tuple else value})

    def read(self, text: str) -> Any:
        """Read a value: a number, numbers with commas, a word, `on` or `off`; `none` or `auto` where it may be open.

        Raises:
            SettingsError: the text is no such value. Words and ranges are checked by `Settings`.
        """
        if self.optional and text.lower() in {"none", "auto"}:
            return None
        try:
            if self.kind is tuple:
                return tuple(float(one) for one in text.split(","))
            return _BOOLS[text.lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            raise SettingsError(f"{self.name} {text!r} is not {_EXPECTED.get(self.kind, 'a number')}") from None

    def read_several(self, text: str) -> tuple[Any, ...]:
        """Read one or several values: commas between them, or semicolons where one value has commas itself.

        Raises:
            SettingsError: one of them is no such value.
        """
        return tuple(dict.fromkeys(self.read(one.strip()) for one in text.split(";" if self.kind is tuple else ",")))


@functools.cache
def switches() -> Mapping[str, Switch]:
    """Return every switch of `Settings` by name, in their order."""
    hints = get_type_hints(Settings)
    return types.MappingProxyType({f.name: Switch.of(f, hints[f.name]) for f in dataclasses.fields(Settings)})


def bound(value: float) -> str:
    """Write the end of a range for people."""
    return "2^63 - 1" if value == MAX_SEED else f"{value:g}"


def flag_words(flags: Mapping[str, Any]) -> list[str]:
    """Write flags as the words of a command line.

    Args:
        flags: name to value: a text or number, True for a flag without a value, a list for a flag that is repeated;
            None, False and an empty list are left out. A value that begins with a dash is tied to its flag, else it
            could be taken for a flag.
    """
    words = []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is True:
                words.append(flag)
            elif one is not None and one is not False:
                tied = str(one).startswith("-") and one != "-"
                words += [f"{flag}={one}"] if tied else ["-o" if name == "output" else flag, str(one)]
    return words


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
    offload: str | None = None,
    backend: str | None = None,
    loras: Sequence[tuple[str, float]] = (),
    embeddings: Sequence[tuple[str, str] | str] = (),
    given: Mapping[str, str | None] | None = None,
    output: str,
    mask: str | None = None,
    include: str | None = None,
    exclude: str | None = None,
) -> list[str]:
    """Return the shortest command that makes exactly this edit, as words: `wordbrush`, `edit` and what follows.

    A flag stands only where its value is not that of the preset; a number is written so that it is read back as the
    same number. No flag sets back to None what a preset sets (only the threshold: naming the rule does that). Where
    `settings` need it, the command starts from the default preset, and the record of its result names that one.

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
        device: where the model runs; None leaves the choice to the program.
        dtype: of its weights; None leaves the choice to the program.
        offload: where they wait; None is all on the device.
        backend: what computes the networks; None is torch.
        loras: files and scales.
        embeddings: files, or files and words.
        given: what else it was loaded with, by the argument of `load_model`, such as `vae`.
        output: the result file; `-` is standard output.
        mask: file of the mask that replaces the automatic one.
        include: file of the mask that is always edited.
        exclude: file of the mask that is never edited.

    Raises:
        SettingsError: no command can say it: an unknown preset, a seed outside 0 ... 2^63 - 1, settings that set back
            to None what every preset sets, or a text that holds a NUL or is not Unicode.
    """
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"the seed {seed} is outside 0 ... {MAX_SEED}, so no command can repeat this edit")
    start, changed = _from_preset(preset, settings)
    texts = {"from": reference or None, "to": query, "negative": negative or None}
    weights = {"model": None if model == "pocket" else model, "revision": revision, "device": device, "dtype": dtype}
    weights |= {"offload": offload, "backend": backend, **(given or {})}
    add_ons = {"lora": [_lora(*one) for one in loras], "embedding": [_embedding(one) for one in embeddings]}
    masks = {"mask": mask, "include": include, "exclude": exclude}
    named = {**texts, "output": output, "seed": seed or None, **weights, **add_ons, **masks}
    flags = flag_words({**named, "preset": None if start == DEFAULT_PRESET else start})
    flags += [word for name, value in changed.items() for word in switches()[name].words(value)]
    dashed = picture.startswith("-") and picture != "-"
    words = ["wordbrush", "edit", *([*flags, "--", picture] if dashed else [picture, *flags])]
    for word in filter(_UNSAYABLE.search, words):
        raise SettingsError(f"{word[:40]!r} cannot be an argument of a program, so no command can repeat this edit")
    return words


def shell(words: list[str]) -> str:
    """Write words as one line for a shell.

    As `shlex.join` does it, which every POSIX shell reads; a word with line breaks or other control characters is
    written as `$'...'` instead, which bash, zsh and ksh read.
    """
    return " ".join(_escaped(word) if _BREAKS.search(word) else shlex.quote(word) for word in words)


def _lora(path: str, scale: float) -> str:
    """Write a LoRA as `parse_loras` reads it; a name with a colon is followed by its scale, lest its end be taken."""
    return path if scale == 1 and ":" not in path else f"{path}:{scale!r}"


def _embedding(one: tuple[str, str] | str) -> str:
    """Write an embedding as `parse_embeddings` reads it."""
    return one if isinstance(one, str) else ":".join(one)


def _from_preset(preset: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return a preset and the switches that make it `settings`: the one asked for, or else the default one."""
    for name in (preset, DEFAULT_PRESET):
        changed = _differing(name, settings)
        if None not in changed.values():
            return name, changed
    raise SettingsError("these settings set back to nothing what every preset sets, so no command can repeat this edit")


def _differing(preset: str, settings: Settings) -> dict[str, Any]:
    """Return the fewest switches with which `Settings.from_preset` makes `settings`; None is for what it cannot."""
    plain, named = Settings.from_preset(preset), {}
    if settings.rule != plain.rule or (settings.threshold is None and plain.threshold is not None):
        named = {"rule": settings.rule}  # naming a rule, even the preset's own, drops the preset's threshold
        plain = Settings.from_preset(preset, **named)
    values = {name: getattr(settings, name) for name in switches()}
    return {name: value for name, value in values.items() if name in named or value != getattr(plain, name)}


def _escaped(word: str) -> str:
    """Quote a word for bash, zsh and ksh: bytes of what breaks a line as three octal digits, the rest as it is."""
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _BREAKS.sub(lambda match: "".join(f"\\{byte:03o}" for byte in match[0].encode()), plain) + "'"
