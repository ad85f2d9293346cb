"""Variants from words; that bad words are refused is tested with the command line."""

from __future__ import annotations

import pytest

from wordbrush.errors import SettingsError
from wordbrush.evaluation.plan import PANELS, settings_of
from wordbrush.evaluation.variants import build_variants, parse_assignments, parse_value, parse_varied


def test_variants_are_each_method_at_each_value() -> None:
    made = build_variants(
        presets=["paper", "fast"],
        methods=["sdedit", "diffedit"],
        switches={"maps": 3},
        varied={"ratio": (0.5, 0.8), "rule": ("otsu",)},
    )
    assert [v.name for v in made[:4]] == [
        "sdedit paper ratio=0.5",
        "sdedit paper ratio=0.8",
        "sdedit paper rule=otsu",
        "diffedit paper ratio=0.5",
    ]
    assert len(made) == 12
    assert made[0].tags == {
        "vary": "ratio",
        "value": 0.5,
        "line": "sdedit paper",
        "curve": "sdedit paper",
        "ratio": 0.5,
    }
    settings = settings_of(made[2])
    assert (settings.rule, settings.threshold, settings.maps, settings.ratio) == ("otsu", None, 3, 0.8)
    assert settings_of(made[0]).threshold == 0.5  # the preset's
    (alone,) = build_variants()
    assert (alone.name, alone.method, alone.preset, alone.tags) == ("diffedit", "diffedit", "balanced", {PANELS: 1})


def test_values_are_read_in_the_kind_of_their_setting() -> None:
    assert parse_assignments(["fixed-point=2", "eta=1", "antithetic=on", "rule=otsu", "guidance=auto"]) == {
        "fixed_point": 2,
        "eta": 1.0,
        "antithetic": True,
        "rule": "otsu",
        "guidance": None,
    }
    assert isinstance(parse_value("eta", "1"), float)
    assert parse_varied(["resolution=none,64,64", "sign=signed"]) == {"resolution": (None, 64), "sign": ("signed",)}
    with pytest.raises(SettingsError, match="steps 'none'"):
        parse_value("steps", "none")


def test_words_that_are_no_numbers_are_tagged_as_words() -> None:
    made = build_variants(varied={"antithetic": (True,), "guidance": (None, 3.0)})
    assert [v.name for v in made] == ["diffedit antithetic=on", "diffedit guidance=auto", "diffedit guidance=3.0"]
    assert [v.tags["value"] for v in made] == ["on", "auto", 3.0]
