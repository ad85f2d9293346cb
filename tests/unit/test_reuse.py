"""What a session takes from earlier edits, and says so; the contrast's own seed, with which the mask stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import toy
from wordbrush.request import EditRequest
from wordbrush.result import EditResult
from wordbrush.session import Session
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"
PART = "part of the trajectory"


def picture() -> NDArray[np.uint8]:
    """A dark picture with a little texture."""
    return (64 + np.random.default_rng(0).integers(-12, 13, (32, 32, 3))).astype(np.uint8)


def edit(session: Session, query: str = HALF, reference: str = DARK, **keywords: Any) -> EditResult:
    result: EditResult = session.edit(query, reference, **{"steps": 25, "inversion_stride": 1, **keywords})
    return result


# ---- part of the trajectory


def test_a_deeper_ratio_reuses_a_part_of_the_trajectory() -> None:
    session = toy.editor().open(picture())
    first, deeper, shallower = (edit(session, ratio=ratio).report for ratio in (0.4, 0.8, 0.2))
    assert first.reused == ()
    assert deeper.reused == ("latent", "contrast", PART)
    assert (first.evaluations["invert"], deeper.evaluations["invert"]) == (10, 10)
    assert shallower.reused == ("latent", "contrast", "trajectory")


def test_a_solver_that_looks_back_goes_on_where_it_was() -> None:
    session = toy.editor().open(picture())
    edit(session, ratio=0.4, solver="dpm2m")
    result = edit(session, ratio=0.8, solver="dpm2m")
    assert result.report.reused == ("latent", "contrast", PART)
    assert result.report.evaluations["invert"] == 10
    fresh = edit(toy.editor().open(picture()), ratio=0.8, solver="dpm2m")
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(fresh.image))
    assert edit(session, ratio=0.4, solver="dpm2m").report.reused == ("latent", "contrast", "trajectory")


@pytest.mark.parametrize(
    "other", [{"steps": 10}, {"inversion_guidance": 2.0}, {"inversion_stride": 3}, {"solver": "ddim"}]
)
def test_another_trajectory_is_no_part(other: dict[str, Any]) -> None:
    session = toy.editor().open(picture())
    edit(session, ratio=0.4)
    assert edit(session, ratio=0.8, **other).report.reused == ("latent", "contrast")


def test_an_edit_that_changes_nothing_carries_nothing_further() -> None:
    session = toy.editor().open(picture())
    edit(session, ratio=0.4)
    nothing = edit(session, ratio=0.8, threshold=1.0).report
    assert nothing.reused == ("latent", "contrast")
    assert "invert" not in nothing.evaluations


@pytest.mark.parametrize("join", [False, True])
def test_a_seed_of_a_call_reuses_what_those_before_it_made(join: bool) -> None:
    session = toy.editor(join=join).open(picture())
    edit(session, ratio=0.4, seed=1)
    many: dict[str, Any] = {"ratio": 0.8, "seed": [1, 2], "steps": 25, "inversion_stride": 1}
    results = session.edit(HALF, DARK, **many)
    assert [r.report.reused for r in results] == [("latent", "contrast", PART), ("latent", "trajectory")]
    assert results[0].report.evaluations["invert"] == 10
    fresh = toy.editor(join=join).open(picture()).edit(HALF, DARK, **many)
    assert [r.report.reused for r in fresh] == [(), ("latent", "trajectory")]
    assert fresh[0].report.evaluations["invert"] == 20


# ---- the contrast's own seed


def maps_of(result: EditResult) -> NDArray[np.float32]:
    assert result.contrast is not None
    return result.contrast.raw


def test_the_mask_stays_while_the_seed_varies_the_decode() -> None:
    """The toy's contrast has no noise in it beyond rounding, so the raw map itself is looked at, bit by bit."""
    session = toy.editor().open(picture())
    one, two, other = (
        edit(session, seed=seed, contrast_seed=noises, eta=1.0, rim=0) for seed, noises in ((1, 7), (2, 7), (1, None))
    )
    np.testing.assert_array_equal(maps_of(one), maps_of(two))
    np.testing.assert_array_equal(one.mask.values, two.mask.values)
    assert (maps_of(one) != maps_of(other)).any()
    assert np.abs(np.asarray(one.image).astype(int) - np.asarray(two.image)).mean() > 1.0
    assert (one.report.seed, two.report.seed) == (one.provenance.seed, two.provenance.seed) == (1, 2)


def test_it_is_the_contrast_of_that_seed_and_known_as_such() -> None:
    editor = toy.editor()
    session = editor.open(picture())
    plain = session.contrast(HALF, DARK, seed=7)
    rows = editor.driver.rows
    settings = Settings(contrast_seed=7)
    same = session.contrast(HALF, DARK, seed=3, settings=settings)
    known = session.known_contrast(HALF, DARK, seed=3, settings=settings)
    mask = session.mask(HALF, DARK, seed=3, contrast_seed=7, rim=0)
    result = edit(session, seed=3, contrast_seed=7, rim=0)
    assert known is not None
    np.testing.assert_array_equal(same.raw, plain.raw)
    np.testing.assert_array_equal(known.raw, plain.raw)
    np.testing.assert_array_equal(maps_of(result), plain.raw)
    np.testing.assert_array_equal(result.mask.values, mask.values)
    assert session.known_contrast(HALF, DARK, seed=3) is None
    assert "contrast" in result.report.reused
    assert editor.driver.rows - rows == sum(result.report.evaluations[name] for name in ("invert", "decode"))


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1])
def test_every_way_in_honours_it(seed: int) -> None:
    editor, source = toy.editor(), picture()
    wanted = editor.open(source).contrast(HALF, DARK, seed=seed).raw
    single: EditResult = editor.edit(source, HALF, DARK, seed=5, contrast_seed=seed)
    requests = [
        EditRequest(picture=source, query=HALF, reference=DARK, seed=number, settings=Settings(contrast_seed=seed))
        for number in (5, 6)
    ]
    many = editor.edit_batch(requests)
    for result in (single, *many):
        np.testing.assert_array_equal(maps_of(result), wanted)
    record = single.provenance
    again: EditResult = editor.edit(
        source, record.query, record.reference, seed=record.seed, settings=Settings(**record.settings)
    )
    np.testing.assert_array_equal(maps_of(again), wanted)
    np.testing.assert_array_equal(np.asarray(again.image), np.asarray(single.image))
