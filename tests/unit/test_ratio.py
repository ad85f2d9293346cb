"""The encoding ratio in whole steps: halves go up, and report and record say what it became."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support import toy
from wordbrush.errors import ProvenanceError
from wordbrush.record.provenance import encode_image, read_provenance
from wordbrush.record.replay import Recorded, settings_of
from wordbrush.result import EditResult
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"
PICTURE = (64 + np.random.default_rng(0).integers(-12, 13, (32, 32, 3))).astype(np.uint8)


def edit(**switches: Any) -> EditResult:
    result: EditResult = toy.editor().edit(PICTURE, HALF, DARK, **switches)
    return result


@pytest.mark.parametrize(
    ("ratio", "steps", "depth", "real"),
    [(0.9, 25, 23, 0.92), (0.5, 25, 13, 0.52), (0.88, 25, 22, 0.88), (1.0, 3, 3, 1.0)],
)
def test_report_and_record_say_the_real_ratio(ratio: float, steps: int, depth: int, real: float) -> None:
    result = edit(ratio=ratio, steps=steps, inversion_stride=1)
    assert result.report.evaluations["invert"] == depth
    assert result.report.real_ratio == result.provenance.real_ratio == real
    assert result.report.as_dict()["real_ratio"] == real
    assert result.provenance.settings["ratio"] == ratio


def test_the_default_goes_the_9_of_10_steps_that_were_measured() -> None:
    """The toy's own guidance is off; each step of the inversion goes up two levels, the last one by one."""
    assert edit().report.evaluations == {"contrast": 4, "invert": 5, "decode": 9}
    assert edit(preset="fast").report.evaluations == {"contrast": 4, "invert": 4, "decode": 7}


def test_a_record_of_before_is_done_again_with_the_steps_it_took_then(tmp_path: Path) -> None:
    """Half a step went to the even number: 2 of 5 for a ratio of .5, and 22 of 25 for .9."""
    Image.fromarray(PICTURE).save(tmp_path / "in.png")
    for ratio, steps, then, now in ((0.5, 5, 2, 3), (0.9, 25, 22, 23), (0.9, 12, 11, 11)):
        result = toy.editor().edit(tmp_path / "in.png", HALF, DARK, ratio=ratio, steps=steps, inversion_stride=1)
        for real, depth in ((None, then), (result.provenance.real_ratio, now)):
            record = replace(result.provenance, real_ratio=real)
            (tmp_path / "out.png").write_bytes(encode_image(result.image, ".png", record))
            assert read_provenance(tmp_path / "out.png") == record
            recorded = Recorded.find(tmp_path / "out.png")
            again = toy.editor().open(recorded.picture).edit(**recorded.arguments())
            assert again.report.evaluations["invert"] == depth


LATER = {
    "ratio_axis": "grid",
    "spacing": "model",
    "inversion_stride": 1,
    "guidance_low": 0.0,
    "guidance_high": 1.0,
    "guidance_every": 1,
    "draws": "shared",
}
"""Switches that came with or after the axis of ratios, as what they decide was before."""


def recorded_before(result: EditResult, **switches: Any) -> dict[str, Any]:
    """Return the switches of a record as they were told before ratios had an axis."""
    before = {name: value for name, value in result.provenance.settings.items() if name not in LATER}
    return {**before, "maps": 10, "strength": 0.6, "strengths": 1, "strength_axis": "time", **switches}


def test_a_record_of_before_keeps_its_strengths_axis_and_threshold() -> None:
    result = edit(steps=5)
    for switches, strength in (({}, (0.6,)), ({"strengths": 3}, (0.5, 0.6, 0.7)), ({"strength": 1.0}, (1.0,))):
        record = replace(result.provenance, settings=recorded_before(result, **switches))
        settings = settings_of(record)
        assert settings.strength == pytest.approx(strength)
        assert (settings.maps, settings.strength_axis) == (10, "time")
        assert {name: getattr(settings, name) for name in LATER} == LATER
        assert settings.threshold == 0.24
    for rule, number in (("otsu", None), ("fixed", 0.3)):
        record = replace(result.provenance, settings=recorded_before(result, rule=rule, threshold=number))
        assert settings_of(record).threshold == number
    assert settings_of(result.provenance) == Settings(steps=5, resolution=32)


@pytest.mark.parametrize("strengths", [0, 6, 10**12, "3", 1.5, None])
def test_a_forged_number_of_strengths_is_refused(strengths: Any) -> None:
    result = edit(steps=5)
    with pytest.raises(ProvenanceError, match="settings"):
        settings_of(replace(result.provenance, settings=recorded_before(result, strengths=strengths)))
