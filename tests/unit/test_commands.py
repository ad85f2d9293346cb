"""The command that repeats an edit: as short as it can be, and refused where there is none."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any, cast

import pytest

from wordbrush.errors import SettingsError
from wordbrush.notation import edit_command, flag_words, parse_loras, shell, switches
from wordbrush.settings import PRESETS, Settings


def command(settings: Settings | None = None, **keywords: Any) -> str:
    """Return the line for these settings, after the input and before the output."""
    given = {"picture": "in.png", "query": "a zebra", "output": "out.png", "settings": settings or Settings()}
    line = shell(edit_command(**{**given, **keywords}))
    assert line.startswith("wordbrush edit in.png ")
    return line.removeprefix("wordbrush edit in.png ").replace(" -o out.png", "")


def test_what_is_usual_is_not_said() -> None:
    assert command() == "--to 'a zebra'"
    assert command(reference="a horse", negative="", seed=0) == "--from 'a horse' --to 'a zebra'"


@pytest.mark.parametrize("preset", [name for name in PRESETS if PRESETS[name]])
def test_a_preset_is_one_flag(preset: str) -> None:
    assert command(Settings.from_preset(preset), preset=preset) == f"--to 'a zebra' --preset {preset}"


def test_everything_else_is() -> None:
    line = command(
        Settings(eta=1e-05, ratio=1, invert=True, grow=-2, contrast_seed=2**62, guidance=3, resolution=64),
        reference="a horse", negative="fog", seed=8, model="my models/x", mask="m.png", include="i.png",
        exclude="-e.png",
    )  # fmt: skip
    assert line == (
        "--from 'a horse' --to 'a zebra' --negative fog --seed 8 --model 'my models/x' --mask m.png --include i.png "
        "--exclude=-e.png --contrast-seed 4611686018427387904 --grow=-2 --invert --ratio 1.0 --guidance 3.0 "
        "--eta 1e-05 --resolution 64"
    )


def test_how_the_model_was_loaded_is_said() -> None:
    line = command(model="a/b", revision="v2", device="cpu", dtype="bfloat16")
    assert line == "--to 'a zebra' --model a/b --revision v2 --device cpu --dtype bfloat16"
    line = command(
        offload="group", backend="openvino", given={"vae": "v", "config": None},
        embeddings=("e.safetensors", ("f", "word")), loras=(("a", 1.0), ("b:0.5", 1.0), ("c", -1e-05)),
    )  # fmt: skip
    assert line == (
        "--to 'a zebra' --offload group --backend openvino --vae v --lora a --lora b:0.5:1.0 --lora c:-1e-05 "
        "--embedding e.safetensors --embedding f:word"
    )
    assert parse_loras(("a", "b:0.5:1.0", "c:-1e-05")) == (("a", 1.0), ("b:0.5", 1.0), ("c", -1e-05))


def test_values_that_begin_with_a_dash_cannot_be_taken_for_flags() -> None:
    assert command(query="--from", reference="-") == "--from - --to=--from"
    words = edit_command(picture="-x.png", query="a", output="-y.png", settings=Settings())
    assert words == ["wordbrush", "edit", "--to", "a", "--output=-y.png", "--", "-x.png"]
    words = edit_command(picture="-", query="a", output="-", settings=Settings())
    assert words == ["wordbrush", "edit", "-", "--to", "a", "-o", "-"]


@pytest.mark.parametrize(
    ("preset", "switches", "flags"),
    [
        ("paper", {"threshold": 0.3}, "--threshold 0.3"),
        ("paper", {"rule": "otsu"}, "--rule otsu"),  # naming a rule drops the preset's threshold
        ("paper", {"rule": "quantile", "threshold": 0.5}, "--rule quantile --threshold 0.5"),
        ("paper", {"rule": "fixed"}, "--rule fixed"),  # the preset's own rule, with that rule's own number
        ("balanced", {"rule": "area"}, "--rule area"),
        ("paper", {"solver": "dpm2m", "inversion_stride": 2}, "--solver dpm2m --inversion-stride 2"),
    ],
)
def test_rules_and_their_numbers(preset: str, switches: dict[str, Any], flags: str) -> None:
    wanted = Settings.from_preset(preset, **switches)
    start = f" --preset {preset}" if preset != "balanced" else ""
    assert command(wanted, preset=preset) == f"--to 'a zebra'{start} {flags}"


def test_switches_are_turned_off_where_the_preset_has_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Any]", PRESETS), "odd", {"invert": True, "fill_holes": True})
    assert command(Settings(invert=True), preset="odd") == "--to 'a zebra' --preset odd --no-fill-holes"


def test_what_no_flag_can_take_back_needs_another_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the presets sets a number whose absence means something else, but one may come."""
    monkeypatch.setitem(cast("dict[str, Any]", PRESETS), "odd", {"guidance": 3.0, "maps": 4})
    assert command(Settings(guidance=2.0, maps=4), preset="odd") == "--to 'a zebra' --preset odd --guidance 2.0"
    assert command(Settings(maps=4), preset="odd") == "--to 'a zebra' --maps 4"
    monkeypatch.setitem(cast("dict[str, Any]", PRESETS), "balanced", {"guidance": 3.0})
    with pytest.raises(SettingsError, match="no command"):
        command(Settings(maps=4), preset="odd")


def test_the_presets_that_ship_can_all_be_taken_back() -> None:
    """The case above is for presets to come: every one of today's can be led to the bare defaults."""
    for preset in PRESETS:
        words = edit_command(picture="in.png", query="a", output="out.png", settings=Settings(), preset=preset)
        assert preset == "balanced" or preset in words


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**63}, "seed"),
        ({"preset": "papper"}, "papper"),
        ({"query": "a\0b"}, "argument"),
        ({"reference": "\ud800"}, "argument"),
        ({"mask": "m\0.png"}, "argument"),
    ],
)
def test_what_cannot_be_said_is_refused(keywords: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        command(**keywords)


def test_a_file_name_that_is_not_unicode_can_be_said() -> None:
    """Python carries its bytes as lone surrogates and gives them back to the system as they were."""
    assert command(mask="\udcff.png") == "--to 'a zebra' --mask '\udcff.png'"


def test_a_line_without_control_characters_is_what_shlex_writes() -> None:
    words = ["wordbrush", "edit", "it's", "a b", "", "馬", "$HOME"]
    assert shell(words) == shlex.join(words)
    assert shell(["a\nb'\\"]) == "$'a\\012b\\'\\\\'"


def test_every_switch_has_its_flag() -> None:
    """Changed one by one, each shows up under its own name and nothing else does."""
    other = {"contrast_seed": 5, "threshold": 0.3, "guidance": 2.0, "resolution": 64}
    for item in dataclasses.fields(Settings):
        usual: Any = item.default
        if isinstance(usual, bool):
            value: Any = not usual
        elif usual is None:
            value = other[item.name]
        elif isinstance(usual, str):
            continue  # the property test draws from all choices
        elif isinstance(usual, tuple):
            value = (0.5, 0.25)
        else:
            value = usual + 1 if usual + 1 <= item.metadata["range"][1] else 0.5
        needed: dict[str, Any] = {"solver": "ddim"} if item.name == "fixed_point" else {}
        settings = Settings(**needed, **{item.name: value})
        words = edit_command(picture="in.png", query="a", output="out.png", settings=settings)
        flags = [word for word in words if word.startswith("--") and word != "--to"]
        names = (*needed, f"no_{item.name}" if usual is True else item.name)
        assert flags == ["--" + name.replace("_", "-") for name in names]


def test_flags_are_written_by_the_kind_of_their_value() -> None:
    flags = {"seed": 0, "share": True, "memory": False, "set": ["a=1", "-b"], "kind": (), "limit": None}
    assert flag_words({**flags, "dry_run": True}) == ["--seed", "0", "--share", "--set", "a=1", "--set=-b", "--dry-run"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("steps", "none", "a whole number"),
        ("steps", "2.5", "a whole number"),
        ("ratio", "half", "a number"),
        ("invert", "2", "on or off"),
        ("clip_skip", "auto", "a whole number"),
    ],
)
def test_a_text_that_is_no_value_of_a_switch_is_refused(name: str, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} {text!r} is not {told}"):
        switches()[name].read(text)
