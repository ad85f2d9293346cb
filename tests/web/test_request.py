"""Requests of the page: what the controls say, as settings; and back."""

from __future__ import annotations

from typing import Any

import pytest

from wordbrush.errors import SettingsError
from wordbrush.settings import PRESETS, Settings
from wordbrush.web.options import Limits
from wordbrush.web.page.controls import CONTROLS, EDGES, SLIDERS
from wordbrush.web.state.flags import SWITCHES, flags_of, parse_flags
from wordbrush.web.state.request import PageRequest, values_of_preset

GUIDANCE = 4.0


def values(preset: str = "balanced", **changes: Any) -> dict[str, Any]:
    """The controls as a preset puts them, some set otherwise."""
    rest: dict[str, Any] = dict.fromkeys(CONTROLS, "")
    rest |= {"query": "a zebra", "reference": "a horse", "model": "pocket", "preset": preset, "seeds": "0"}
    rest |= {"contrast_seed": "0", "check_inversion": False, **values_of_preset(preset, GUIDANCE)}
    return rest | changes


def request_of(preset: str = "balanced", **changes: Any) -> PageRequest:
    return PageRequest.of(values(preset, **changes), GUIDANCE, Limits())


@pytest.mark.parametrize("preset", PRESETS)
def test_controls_at_rest_are_the_preset_and_nothing_else(preset: str) -> None:
    resting = request_of(preset)
    assert resting.switches == {}
    assert resting.settings == Settings.from_preset(preset)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rule", SLIDERS)
def test_another_rule_starts_at_its_own_number(preset: str, rule: str) -> None:
    at_rest = values_of_preset(preset, GUIDANCE, rule=rule)
    chosen = request_of(preset, rule=rule, threshold=at_rest["threshold"])
    plain = Settings.from_preset(preset)
    assert chosen.settings == (plain if rule == plain.rule else Settings.from_preset(preset, rule=rule))


def test_a_moved_control_is_one_switch() -> None:
    assert request_of(threshold=0.4).switches == {"threshold": 0.4}
    assert request_of(grow=2.0).switches == {"grow": 2}
    assert request_of(guidance=GUIDANCE).switches == {}
    assert request_of(guidance=6.5).settings.guidance == 6.5
    assert request_of(steps=12.0).settings.steps == 12  # a slider gives floats, the settings want whole numbers


def test_what_controls_show_gives_the_same_request_again() -> None:
    flags = "--maps 4 --antithetic"
    first = request_of("paper", threshold=0.3, grow=-1, eta=0.6, ratio=0.7, flags=flags, seeds="3,5-6")
    again = PageRequest.of(first.controls(GUIDANCE), GUIDANCE, Limits())
    assert again.settings == first.settings
    assert again == first
    assert again.seeds == (3, 5, 6)


def test_a_seed_that_found_the_region_needs_no_word_about_it() -> None:
    chosen = request_of(seeds="0,7", contrast_seed="7", eta=0.5)
    assert chosen.settings_for(0).contrast_seed == 7
    assert chosen.settings_for(7).contrast_seed is None


def test_flags_are_read_as_on_the_command_line() -> None:
    assert parse_flags("--maps 4 --strength=0.5 --antithetic") == {"maps": 4, "strength": (0.5,), "antithetic": True}
    assert parse_flags("--no-antithetic --solver dpm2m") == {"antithetic": False, "solver": "dpm2m"}
    assert parse_flags("") == {}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("--wrong 1", "'--wrong' is not one"),
        ("maps 4", "'maps' is not one"),
        ("--maps", "needs a value"),
        ("--maps many", "not a number"),
        ("--threshold 0.3", "control of its own"),
        ("--contrast-seed 3", "control of its own"),
        ("--maps '4", "further switches"),
    ],
)
def test_flags_that_cannot_be_read_are_named(text: str, part: str) -> None:
    with pytest.raises(SettingsError, match="further switches") as caught:
        parse_flags(text)
    assert part in str(caught.value)


def test_flags_of_leave_out_what_has_a_control() -> None:
    settings = Settings.from_preset("fast", threshold=0.5, maps=6, antithetic=True, contrast_seed=3)
    assert parse_flags(flags_of("fast", settings)) == {"maps": 6, "antithetic": True}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"query": " "}, "write what"),
        ({"query": "a horse"}, "both texts are the same"),
        ({"seeds": "1,2", "eta": 0}, "variation 0"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        request_of(**changes).check()


def test_requests_out_of_range_are_refused_when_read() -> None:
    with pytest.raises(SettingsError, match="at most 8"):
        request_of(seeds="1-9", eta=0.5)
    with pytest.raises(SettingsError, match="is not a seed"):
        request_of(seeds="one")
    with pytest.raises(SettingsError, match="outside"):
        request_of(ratio=1.5)
    with pytest.raises(SettingsError, match="at most 200"):
        request_of(steps=201)
    with pytest.raises(SettingsError, match="at most 1536"):
        request_of(flags="--resolution 4096")


def test_every_switch_has_a_control_and_the_edges_are_those_of_the_settings() -> None:
    assert set(SWITCHES) <= set(CONTROLS)
    assert EDGES == ("regions", "contour", "guided", "smooth", "cells")
