"""Settings: every switch documented, checked, and preset as data."""

from __future__ import annotations

import json
import math
from dataclasses import Field, FrozenInstanceError, asdict, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from wordbrush.errors import SettingsError
from wordbrush.settings import DEFAULT_PRESET, PRESETS, RULES, Rule, Settings, check_threshold, resolve

HINTS = get_type_hints(Settings)
FIELDS: list[Field[Any]] = list(fields(Settings))
NUMBERS = [f for f in FIELDS if {int, float} & {HINTS[f.name], *get_args(HINTS[f.name])}]
CHOICES = [f for f in FIELDS if get_origin(HINTS[f.name]) is Literal]
FLAGS = [f for f in FIELDS if HINTS[f.name] is bool]


def named(field: Field[Any]) -> str:
    return field.name


def _values(settings: Settings, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(settings, name) for name in names)


def test_every_field_is_a_number_a_choice_or_a_flag() -> None:
    assert len(NUMBERS) + len(CHOICES) + len(FLAGS) == len(FIELDS)


@pytest.mark.parametrize("field", FIELDS, ids=named)
def test_every_field_explains_itself(field: Field[Any]) -> None:
    assert len(field.metadata["help"]) >= 10
    assert not field.metadata["help"].endswith(".")
    assert len(field.metadata["range"]) == 2


@pytest.mark.parametrize("field", NUMBERS, ids=named)
def test_numbers_are_held_to_their_range(field: Field[Any]) -> None:
    low, high = field.metadata["range"]
    if field.name == "threshold":  # its range depends on the rule
        low, high = 0.0, 1.0
    needed: dict[str, Any] = {"solver": "ddim"} if field.name == "fixed_point" else {}
    for good in (low, high):
        kept = (good,) if field.name == "strength" else good
        assert getattr(Settings(**needed, **{field.name: good}), field.name) == kept
    for bad in (low - 1, high + 1):
        with pytest.raises(SettingsError, match=field.name):
            Settings(**{field.name: bad})


@pytest.mark.parametrize("field", NUMBERS, ids=named)
def test_numbers_of_the_wrong_kind_are_refused(field: Field[Any]) -> None:
    whole = float not in {HINTS[field.name], *get_args(HINTS[field.name])}
    optional = type(None) in get_args(HINTS[field.name])
    bad: list[Any] = [
        "5",
        True,
        ["1"],
        [],
        math.nan,
        math.inf,
        1j,
        *([0.5, 1.0] if whole else []),
        *([] if optional else [None]),
    ]
    for value in bad:
        with pytest.raises(SettingsError, match=field.name):
            Settings(**{field.name: value})


def test_strengths_are_one_or_several() -> None:
    assert Settings().strength == (0.5, 0.95)
    for one in (1, 1.0, [1], (1.0,)):
        assert Settings.from_preset(strength=one) == Settings(strength=(1.0,))
    assert Settings.from_preset(strength=[0.7, 0, 0.7]).strength == (0.7, 0.0, 0.7)
    for bad in ([0.1] * 9, (0.5, 1.1), (0.5, None), {"a": 1}):
        with pytest.raises(SettingsError, match="strength"):
            Settings.from_preset(strength=bad)


@pytest.mark.parametrize("field", CHOICES, ids=named)
def test_choices_take_what_they_name_and_nothing_else(field: Field[Any]) -> None:
    for good in get_args(HINTS[field.name]):
        assert getattr(Settings(**{field.name: good}), field.name) == good
    bad: list[Any] = ["nonsense", "", 1, None, True, ["fixed"]]
    for value in bad:
        with pytest.raises(SettingsError, match=field.name):
            Settings(**{field.name: value})


@pytest.mark.parametrize("field", FLAGS, ids=named)
def test_flags_take_true_and_false_only(field: Field[Any]) -> None:
    good: Any
    for good in (True, False):
        assert getattr(Settings(**{field.name: good}), field.name) is good
    bad: list[Any] = [0, 1, "true", None, 1.0]
    for value in bad:
        with pytest.raises(SettingsError, match=field.name):
            Settings(**{field.name: value})


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("fixed", [0.0, 0.5, 1, 1.0], [-0.1, 1.1]),
        ("quantile", [0.0, 1.0], [-0.1, 1.1]),
        ("area", [0.0, 1.0], [-0.1, 1.1]),
        ("ratio", [0.0, 1.5, 20.0], [-0.1]),
        ("otsu", [-0.3, 0.0, 0.3], []),
    ],
)
def test_the_threshold_is_checked_against_its_rule(rule: Any, good: list[float], bad: list[float]) -> None:
    for value in good:
        check_threshold(rule, value)
        assert Settings(rule=rule, threshold=value).threshold == value
    for value in [*bad, math.nan, math.inf]:
        with pytest.raises(SettingsError, match=f"{rule}|threshold"):
            Settings(rule=rule, threshold=value)


def test_every_rule_has_its_number_and_says_what_it_is() -> None:
    help_ = Settings.__dataclass_fields__["threshold"].metadata["help"]
    assert tuple(RULES) == get_args(Rule)
    for name, rule in RULES.items():
        check_threshold(name, rule.default)
        assert f"{name} {rule.default:g}" in help_
        assert rule.help
        for value in (rule.low, rule.high):
            if value is not None:
                check_threshold(name, value)
                with pytest.raises(SettingsError, match=f"{name} threshold .* is (below|above) {value:g}"):
                    check_threshold(name, value + (1e-9 if value == rule.high else -1e-9))


def test_the_default_preset_is_the_defaults() -> None:
    assert Settings.from_preset() == Settings.from_preset(DEFAULT_PRESET) == Settings()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_switches_win_over_them(preset: str) -> None:
    settings = Settings.from_preset(preset)
    assert all(getattr(settings, name) == value for name, value in PRESETS[preset].items())
    assert _values(Settings.from_preset(preset, maps=7, rule="area"), "maps", "rule") == (7, "area")


def test_the_preset_paper_is_the_paper() -> None:
    names = (
        "maps",
        "strength",
        "sign",
        "norm",
        "rule",
        "steps",
        "ratio",
        "inversion_text",
        "inversion_guidance",
        "eta",
    )
    expected = (10, (0.5,), "absolute", "mean", "fixed", 50, 0.8, "empty", 1.0, 0.0)
    assert _values(Settings.from_preset("paper"), *names) == expected
    assert _values(Settings.from_preset("paper"), "threshold", "solver", "edges") == (0.5, "ddim", "smooth")


def test_the_presets_cost_what_was_promised() -> None:
    """Rows at the guidance that pocket advises, counted by the plan."""
    from wordbrush.editor import Editor

    editor = Editor.from_pretrained("pocket", device="cpu")
    cost = {
        name: sum(editor.plan((128, 128), settings=Settings.from_preset(name)).evaluations.values())
        for name in ("paper", "balanced", "fast")
    }
    assert cost["paper"] == 140
    assert cost["balanced"] == 22
    assert cost["fast"] == 18


def test_the_preset_diffusers_is_its_choices() -> None:
    names = ("rescale", "strength_axis", "inversion_text", "inversion_guidance", "inversion_label", "sign", "rule")
    expected = ("ratio", "grid", "reference", 7.5, "target", "absolute", "fixed")
    assert _values(Settings.from_preset("diffusers"), *names) == expected


def test_a_preset_that_is_no_more_says_what_to_take() -> None:
    with pytest.raises(SettingsError, match=r"'best' is no more.*balanced"):
        Settings.from_preset("best")
    kept = Settings.from_preset("paper", maps=16)
    assert resolve("best", kept, {}) == (kept, "best")  # a record of before has all its switches


@pytest.mark.parametrize(("preset", "switches", "named"), [("papper", {}, "papper"), ("paper", {"step": 5}, "step")])
def test_unknown_names_are_told_with_the_known_ones(preset: str, switches: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=f"'{named}'.*known are .*(fast|steps)"):
        Settings.from_preset(preset, **switches)


def test_equal_settings_make_equal_records() -> None:
    """3, 3.0 and minus zero for zero are equal, but JSON writes each in its own way."""
    whole = Settings(ratio=1, guidance=3, rule="otsu", threshold=-0.0, contrast_seed=2**63 - 1)
    same = Settings(ratio=1.0, guidance=3.0, rule="otsu", threshold=0.0, contrast_seed=2**63 - 1)
    assert whole == same
    assert json.dumps(asdict(whole)) == json.dumps(asdict(same))
    assert type(whole.maps) is type(whole.contrast_seed) is int
    with pytest.raises(SettingsError, match="threshold"):
        Settings(rule="otsu", threshold=10**400)


def test_records_from_before_a_switch_was_there_can_be_used() -> None:
    old = {name: value for name, value in asdict(Settings()).items() if name not in {"contrast_seed", "invert"}}
    assert Settings(**old) == Settings()


def test_settings_do_not_change_and_copies_are_checked() -> None:
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.maps = 3  # type: ignore[misc]
    assert settings.changed(maps=3) == replace(settings, maps=3) == Settings(maps=3)
    assert settings.maps == 1
    with pytest.raises(SettingsError, match="maps"):
        settings.changed(maps=0)
    assert hash(settings) == hash(Settings())


def test_a_record_from_before_the_seam_is_read_as_edits_were_then() -> None:
    seam = {"ring", "ring_until", "rim", "blend", "match"}
    now = asdict(Settings(steps=7, edges="guided"))
    then = Settings.recorded({name: value for name, value in now.items() if name not in seam})
    assert then == Settings(steps=7, edges="guided", ring=0, rim=0, blend=0, match=0)
    assert Settings.recorded(now) == Settings(steps=7, edges="guided")
    assert Settings.recorded(asdict(Settings())) == Settings()
