"""Items: a row, the defaults of the call and the grid; what determines a result, and nothing else, is in its key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordbrush.batch.columns import near_settings
from wordbrush.batch.items import BatchItem, Defaults, items_of
from wordbrush.batch.manifest import ManifestRow
from wordbrush.errors import InputError, SettingsError
from wordbrush.settings import Settings

MODEL = {"model": {"sha256": "0"}}
DEFAULTS = Defaults(query="a {breed} on grass", reference="grass")


def made(values: dict[str, Any], defaults: Defaults = DEFAULTS, number: int = 7) -> list[BatchItem]:
    return items_of(ManifestRow(number, {"picture": "a.png", "breed": "poodle", **values}), defaults, MODEL, "/data")


def one(values: dict[str, Any], defaults: Defaults = DEFAULTS) -> BatchItem:
    (item,) = made(values, defaults)
    return item


def test_defaults_fill_what_a_row_lacks() -> None:
    item = one({})
    assert (item.query, item.reference, item.seed, item.preset) == ("a poodle on grass", "grass", 0, "balanced")
    assert (item.picture, item.line, item.number) == ("/data/a.png", 7, 1)
    assert Settings(**item.settings) == Settings()
    assert item.data == {"breed": "poodle"}
    assert item.name == f"a-{item.key[:8]}"
    item = one({"Query": "a {breed}", " FROM ": "x", "drop-specks": "3", "ratio": 0.5, "mask": "m/{breed}.png#2"})
    assert (item.query, item.reference) == ("a {breed}", "x")  # a row's own texts are as they stand
    assert (item.settings["drop_specks"], item.settings["ratio"]) == (3, 0.5)
    assert item.masks == {"mask": "/data/m/{breed}.png#2"}


def test_templates() -> None:
    query = "{{a|b}} {breed}, {stem} {number} {a|b} {age}"
    defaults = Defaults(query=query, mask="masks/{stem}.png", output="{breed}/{age}")
    item = one({"age": 3.5, "picture": "s3://bucket/deep/b.c.jpg?x=1"}, defaults)
    assert item.query == "{a|b} poodle, b.c 7 {a|b} 3.5"
    assert item.picture == "s3://bucket/deep/b.c.jpg?x=1"
    assert item.masks == {"mask": str(Path("masks/b.c.png").absolute())}
    assert item.name == "poodle_3.5"
    for missing in ({}, {"age": {"deep": 1}}, {"age": None}):
        with pytest.raises(InputError, match=r"^line 7: .* needs a column age"):
            made(missing, defaults)


@pytest.mark.parametrize(
    ("values", "error", "part"),
    [
        ({"picture": ""}, InputError, "no picture"),
        ({"picture": 5}, InputError, "picture is not text but int"),
        ({"picture": "a\0.png"}, InputError, "NUL"),
        ({"query": 5}, InputError, "query is not text"),
        ({"query": "\udcff"}, InputError, "query is not Unicode"),
        ({"ratio": 2}, SettingsError, "ratio"),
        ({"ratio": "much"}, SettingsError, "ratio 'much' is not a number"),
        ({"steps": 2.5}, SettingsError, "steps"),
        ({"steps": True}, SettingsError, "steps"),
        ({"edges": "jagged"}, SettingsError, "edges"),
        ({"preset": "none"}, SettingsError, "preset"),
        ({"seed": -1}, SettingsError, "seed"),
        ({"seed": "random"}, SettingsError, "seed"),
        ({"seed": 1.5}, SettingsError, "seed"),
        ({"seed": [1]}, SettingsError, "seed"),
        ({"settings": "[]"}, InputError, "no JSON object"),
        ({"settings": {"treshold": 1}}, SettingsError, "treshold"),
        ({"check_inversion": "maybe"}, InputError, "check_inversion"),
        ({"to": "a", "query": "b"}, InputError, "query stands twice"),
        ({"mask": ["a"]}, InputError, "mask is not text"),
    ],
)
def test_rows_that_are_no_items_say_why_and_where(values: dict[str, Any], error: type[Exception], part: str) -> None:
    values = {"picture": "a.png", "breed": "x", **values}
    row = ManifestRow(7, {name: value for name, value in values.items() if value != ""})
    with pytest.raises(error, match=part) as caught:
        items_of(row, DEFAULTS, MODEL, "")
    assert str(caught.value).startswith("line 7: ")


def test_rows_may_nest_their_settings_and_spell_numbers_as_tables_do() -> None:
    settings = {"maps": 3, "strength": [0.5, 0.7]}
    for nested in (settings, json.dumps(settings)):
        item = one({"settings": nested, "steps": 20.0, "seed": 4.0, "fill_holes": "on", "threshold": "auto"})
        assert (item.settings["maps"], item.settings["strength"], item.settings["steps"]) == (3, (0.5, 0.7), 20)
        assert (item.seed, item.settings["fill_holes"], item.settings["threshold"]) == (4, True, None)
    assert one({"strength": "0.5,0.7"}).settings["strength"] == (0.5, 0.7)


def test_a_grid_multiplies_what_a_row_leaves_open() -> None:
    defaults = replace(
        DEFAULTS, seeds=(1, 2), grid={"ratio": (0.5, 0.7), "edges": ("cells", "smooth")}, output="{stem}"
    )
    items = made({}, defaults)
    assert [(i.settings["ratio"], i.settings["edges"], i.seed) for i in items] == [
        (ratio, edges, seed) for ratio in (0.5, 0.7) for edges in ("cells", "smooth") for seed in (1, 2)
    ]
    assert items[0].name == "a-ratio0.5-edgescells-s1"
    assert [item.number for item in items] == list(range(1, 9))
    assert len({item.key for item in items}) == len({item.name for item in items}) == 8
    assert len({item.group for item in items}) == 1
    assert [(i.seed, i.settings["ratio"]) for i in made({"seed": "5-6", "ratio": 0.9, "edges": "cells"}, defaults)] == [
        (5, 0.9),
        (6, 0.9),
    ]


def test_the_key_is_of_what_determines_the_result() -> None:
    plain = one({})
    same = [one({"note": "x"}), one({"output": "other"}), *made({}, number=8)]
    assert {item.key for item in same} == {plain.key}
    changes: list[dict[str, Any]] = [
        {"picture": "b.png"}, {"query": "x"}, {"reference": "x"}, {"negative": "x"}, {"seed": 1}, {"ratio": 0.5},
        {"mask": "m.png"}, {"include": "m.png"}, {"preset": "fast"}, {"output": "a.jpg"}, {"check_inversion": "on"},
    ]  # fmt: skip
    others = [one(change) for change in changes]
    row = ManifestRow(7, {"picture": "a.png", "breed": "poodle"})
    others += items_of(row, DEFAULTS, {"model": {"sha256": "1"}}, "/data")
    keys = {item.key for item in others}
    assert len(keys) == len(others)
    assert plain.key not in keys


def test_names_of_results() -> None:
    for asked, name, suffix in (
        ("zebra", "zebra", ".png"),
        ("zebra.JPG", "zebra", ".jpg"),
        ("v1.5", "v1.5", ".png"),
        ("../../x.webp", "_.._x", ".webp"),
        ("aux.png", "_aux", ".png"),
    ):
        item = one({"output": asked})
        assert (item.name, item.suffix) == (name, suffix)


def test_items_survive_the_ledger() -> None:
    item = one({"mask": "m.png", "tags": [1, {"a": None}], "odd": float("nan")})
    assert item.data == {"breed": "poodle", "tags": [1, {"a": None}], "odd": "nan"}
    entry = item.entry()
    row = {**vars(entry), "name": "other", "item": json.dumps(entry.item)}
    back = BatchItem.of(row)
    assert replace(back, settings={}, name="") == replace(item, settings={}, name="")
    assert back.name == "other"
    assert Settings(**back.settings) == Settings(**item.settings)


def test_columns_that_are_nearly_settings_are_told() -> None:
    columns = dict.fromkeys(("treshold", "pictur", "guidence", "breed", "ratio", "Steps", "promt"))
    assert near_settings(columns) == {"treshold": "threshold", "pictur": "picture", "guidence": "guidance"}
