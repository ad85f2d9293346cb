"""Items: what a row of a manifest asks for, with the defaults of the call, once for each combination of its grid."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from wordbrush.batch.columns import MASKS, TEXTS, TRUTHS, columns_of, filled, flag_of, switches_of, text_of
from wordbrush.batch.entry import Entry
from wordbrush.batch.manifest import ManifestRow
from wordbrush.batch.names import safe_name
from wordbrush.batch.sources import beside, stem_of
from wordbrush.batch.work import Row
from wordbrush.errors import InputError, SettingsError
from wordbrush.notation import parse_seeds, switches
from wordbrush.request import check_seed
from wordbrush.settings import DEFAULT_PRESET, Settings
from wordbrush.values import plain

__all__ = ["SUFFIXES", "BatchItem", "Defaults", "digest_of", "items_of", "refused_entry", "seeds_of"]

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif")
"""Endings of results: the formats that carry the record."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds for rows that do not say otherwise.

    Texts, masks and `output` may name columns: `a {breed} on grass`; `{stem}` and `{number}` are the picture's name
    without ending and the row's number. `{{` is a brace.

    Attributes:
        query: what the pictures should show.
        reference: what they show now.
        negative: what the results should not show.
        mask: files, as of an edit.
        include: likewise.
        exclude: likewise.
        output: name of the result, with or without ending; by default the picture's name and the item's key.
        preset: set of switches.
        settings: single switches.
        seeds: each makes an item.
        grid: values by switch; each combination makes an item.
        suffix: ending of the results where their names have none.
        check_inversion: measure how well the inversion leads back.
    """

    query: str = ""
    reference: str = ""
    negative: str = ""
    mask: str | None = None
    include: str | None = None
    exclude: str | None = None
    output: str | None = None
    preset: str = DEFAULT_PRESET
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    suffix: str = ".png"
    check_inversion: bool = False

    def check(self) -> None:
        """Refuse what would fail every row.

        Raises:
            SettingsError: a switch, a value of the grid or the ending is unknown or out of range.
            InputError: a grid is empty.
        """
        if self.suffix not in SUFFIXES:
            raise SettingsError(f"format {self.suffix!r} is unknown: known are {', '.join(SUFFIXES)}")
        Settings.from_preset(self.preset, **self.settings)
        for name, values in self.grid.items():
            if not values:
                raise InputError(f"the grid of {name} is empty")
            for value in values:
                Settings.from_preset(self.preset, **{**self.settings, name: value})


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One edit of a batch; all of it is JSON.

    Attributes:
        key: digest of all that determines the result.
        number: in the run, from 1.
        line: of the manifest.
        name: wanted for the files, without ending.
        suffix: ending of the result.
        picture: path or URL.
        query: what the picture should show.
        reference: what it shows now.
        negative: what the result should not show.
        seed: of the item.
        preset: name to record.
        settings: every switch.
        masks: path or URL by kind: mask, include, exclude.
        check_inversion: measure the inversion.
        data: the columns that are no part of an edit.
    """

    key: str
    number: int
    line: int
    name: str
    suffix: str
    picture: str
    query: str
    reference: str
    negative: str
    seed: int
    preset: str
    settings: dict[str, Any]
    masks: dict[str, str]
    check_inversion: bool
    data: dict[str, Any]

    @property
    def group(self) -> str:
        """What items share that can share a session: the picture and the working size."""
        return digest_of([self.picture, self.settings["resolution"]])[:16]

    def entry(self) -> Entry:
        """Return the item as the ledger enters it."""
        values = {name: value for name, value in vars(self).items() if name not in ("key", "number", "line", "name")}
        return Entry(
            key=self.key, number=self.number, line=self.line, name=self.name, group=self.group, item=values
        )

    @classmethod
    def of(cls, row: Row) -> BatchItem:
        """Read an item from a row of the ledger; its name is the one that it got there."""
        values = json.loads(row["item"]) if isinstance(row["item"], str) else row["item"]
        known = {"key": row["key"], "number": row["number"], "line": row.get("line") or 0, "name": row["name"]}
        return cls(**known, **values)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def items_of(
    row: ManifestRow, defaults: Defaults, of_all: Mapping[str, Any], folder: str, first: int = 1
) -> list[BatchItem]:
    """Return the edits that a row asks for.

    Args:
        row: of a manifest.
        defaults: what it does not say.
        of_all: what else determines the results, of all items alike: the model, how files are written. JSON values.
        folder: what relative paths of the row are relative to.
        first: number of the first item.

    Raises:
        InputError: the row cannot be read, lacks a column, or has one that cannot be used.
        SettingsError: a setting or seed is out of its range.
    """
    if row.error is not None:
        raise InputError(f"{row.place}: {row.error}")
    try:
        return list(_made(row, defaults, of_all, folder, first))
    except SettingsError as error:
        raise SettingsError(f"{row.place}: {error}") from error
    except InputError as error:
        raise InputError(f"{row.place}: {error}") from error


def _made(
    row: ManifestRow, defaults: Defaults, of_all: Mapping[str, Any], folder: str, first: int
) -> Iterator[BatchItem]:
    asked, data = columns_of(row.values)
    if "picture" not in asked:
        raise InputError("there is no picture: the column picture is missing or empty")
    written = {name: text_of(asked[name], name) for name in ("picture", *MASKS, "output") if name in asked}
    stem = stem_of(written["picture"])
    words = {**row.values, "stem": stem, "number": row.number}
    texts = {name: _asked_text(name, asked, defaults, words) for name in TEXTS}
    given = {name: filled(value, words) for name in MASKS if (value := getattr(defaults, name)) is not None}
    masks: dict[str, str] = {n: written.get(n) or given[n] for n in MASKS if n in written or n in given}
    places = {name: beside(folder if name in written else "", place) for name, place in masks.items()}
    output = written.get("output") or (None if defaults.output is None else filled(defaults.output, words))
    preset, chosen = text_of(asked.get("preset", defaults.preset), "preset"), switches_of(asked)
    check = flag_of(asked.get("check_inversion", defaults.check_inversion))
    name, suffix = _name(output, defaults.suffix)
    for index, (seed, point, mark) in enumerate(_grid(asked, chosen, defaults)):
        settings = vars(Settings.from_preset(preset, **{**defaults.settings, **point, **chosen})).copy()
        said: dict[str, Any] = {**texts, "seed": seed, "preset": preset, "settings": settings, "check_inversion": check}
        key = digest_of({**said, "picture": written["picture"], "masks": masks, "suffix": suffix, **of_all})
        yield BatchItem(
            key=key,
            number=first + index,
            line=row.number,
            name=safe_name(f"{name}{mark}" if name else f"{stem}{mark}-{key[:8]}"),
            suffix=suffix,
            picture=beside(folder, written["picture"]),
            masks=places,
            data={name: beside(folder, value) if name in TRUTHS else value for name, value in data.items()},
            **said,
        )


def refused_entry(row: ManifestRow, error: Exception, number: int) -> Entry:
    """Return a row that cannot be an item as an entry that has failed."""
    values = json.loads(json.dumps(dict(row.values), default=repr))
    key = digest_of({"refused": values, "error": str(error), "line": row.number})
    return Entry(
        key=key,
        number=number,
        line=row.number,
        name=f"{row.place.replace(' ', '-')}-{key[:8]}",
        group=key[:16],
        item={"data": values},
        error=(type(error).__name__, str(error)),
    )


def _asked_text(name: str, asked: Mapping[str, Any], defaults: Defaults, words: Mapping[str, Any]) -> str:
    return text_of(asked[name], name) if name in asked else filled(getattr(defaults, name), words)


def _grid(
    asked: Mapping[str, Any], chosen: Mapping[str, Any], defaults: Defaults
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield seed, switches and mark of every item of a row; what the row sets itself is not multiplied."""
    seeds = defaults.seeds
    if "seed" in asked:
        seed = asked["seed"]
        whole = isinstance(seed, float) and seed.is_integer()
        seeds = parse_seeds(seed) if isinstance(seed, str) else (check_seed(int(seed) if whole else seed),)
    grid = {name: values for name, values in defaults.grid.items() if name not in chosen}
    several = [name for name, values in grid.items() if len(values) > 1]
    known = switches()
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        mark = "".join(f"-{name}{known[name].shown(point[name])}" for name in several)
        for seed in seeds:
            yield seed, point, mark + (f"-s{seed}" if len(seeds) > 1 else "")


def _name(output: str | None, suffix: str) -> tuple[str, str]:
    """Part the name of a result from its ending; no name where none is asked for."""
    if output is None:
        return "", suffix
    ending = PurePosixPath(output).suffix.lower()
    return (output[: -len(ending)], ending) if ending in SUFFIXES else (output, suffix)


def seeds_of(seed: int | str | Sequence[int]) -> tuple[int, ...]:
    """Return seeds as `batch` takes them: one, several, or text.

    Raises:
        SettingsError: one of them is none, or there are none.
    """
    if isinstance(seed, str):
        return parse_seeds(seed)
    values = plain(seed)
    several = values if isinstance(values, list | tuple | range) else [values]
    seeds = tuple(dict.fromkeys(map(check_seed, several)))
    if not seeds:
        raise SettingsError("seed: give at least one")
    return seeds
