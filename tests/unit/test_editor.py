"""The whole algorithm on a model in closed form: what it must find is known exactly."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.support import toy
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.faults import check_items
from wordbrush.diffusion.schedule import Level
from wordbrush.editor import Editor
from wordbrush.engine.events import Event
from wordbrush.errors import Cancelled, MaskError, NumericsError, PictureError, SettingsError
from wordbrush.region.mask import Mask
from wordbrush.request import EditRequest
from wordbrush.result import EditResult
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"


def picture(width: int = 32, height: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """A dark picture with a little texture."""
    noise = np.random.default_rng(seed).integers(-12, 13, (height, width, 3))
    return (64 + noise).astype(np.uint8)


def edit(editor: Editor, source: Any, query: str = HALF, reference: str = DARK, **keywords: Any) -> EditResult:
    result: EditResult = editor.edit(source, query, reference, **keywords)
    return result


def test_finds_and_repaints_just_the_half_that_the_words_change() -> None:
    source = picture()
    result = edit(toy.editor(), source, edges="cells", ratio=0.8, steps=50, inversion_stride=1)
    expected = np.zeros((32, 32), np.float32)
    expected[:, 16:] = 1.0
    np.testing.assert_array_equal(result.mask.values, expected)
    out = np.asarray(result.image)
    np.testing.assert_array_equal(out[:, :16], source[:, :16])
    # The right half was encoded under the empty text (grey) and decoded under "light": it moves up by the difference of
    # the means, .5 of 2, that is 64 levels, less what the encoding left undone at r = .8.
    moved = out[:, 16:].astype(float).mean() - source[:, 16:].mean()
    assert 50 < moved < 70


def test_the_edit_keeps_the_texture_inside_the_mask() -> None:
    source = picture()
    out = np.asarray(edit(toy.editor(), source, edges="cells", ring=0).image)[:, 16:].astype(float)
    inside = source[:, 16:].astype(float)
    correlation = np.corrcoef((out - out.mean()).ravel(), (inside - inside.mean()).ravel())[0, 1]
    assert correlation > 0.99


@pytest.mark.parametrize("text", ["", DARK, HALF])
def test_equal_texts_change_nothing(text: str) -> None:
    source = picture(37, 51)
    result = edit(toy.editor(), source, text, text)
    assert result.contrast is not None
    assert result.contrast.is_flat
    assert result.mask.is_empty
    np.testing.assert_array_equal(np.asarray(result.image), source)
    assert result.report.evaluations.get("decode", 0) == 0
    assert any("empty" in warning for warning in result.report.warnings)


def test_ratio_zero_changes_nothing() -> None:
    source = picture()
    result = edit(toy.editor(), source, ratio=0.0)
    np.testing.assert_array_equal(np.asarray(result.image), source)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (33, 17), (200, 40), (31, 97)])
def test_any_size_comes_back_at_its_own_size_with_the_outside_untouched(width: int, height: int) -> None:
    source = picture(width, height)
    result = edit(toy.editor(), source, steps=5)
    assert result.image.size == (width, height)
    outside = result.mask.values == 0
    np.testing.assert_array_equal(np.asarray(result.image)[outside], source[outside])


def test_plan_says_what_is_then_counted() -> None:
    editor = toy.editor()
    contrast: dict[str, Any] = {"maps": 3, "strength": (0.5, 0.7)}
    walks: dict[str, Any] = {"steps": 10, "ratio": 0.6, "solver": "ddim", "fixed_point": 2, "inversion_guidance": 2.0}
    settings = Settings.from_preset(**contrast, **walks, guidance=3.0)
    plan = editor.plan((32, 32), queries=2, seeds=2, settings=settings, check_inversion=True)
    results = editor.edit(picture(), [HALF, "light left, dark right"], DARK, seed=[1, 2], settings=settings)
    first = results[0].report.evaluations
    assert plan.depth == 6
    assert {k: first[k] for k in ("contrast", "invert", "decode")} == {
        k: plan.evaluations[k] for k in ("contrast", "invert", "decode")
    }
    checked = edit(editor, picture(), settings=settings, check_inversion=True)
    assert checked.report.evaluations["check"] == plan.evaluations["check"]


def test_several_queries_and_seeds_come_in_order_and_equal_single_edits() -> None:
    editor, queries, seeds = toy.editor(), [HALF, "light left, dark right"], [3, 5]
    many = editor.edit(picture(), queries, DARK, seed=seeds)
    for result, (query, seed) in zip(many, itertools.product(queries, seeds), strict=True):
        assert (result.provenance.query, result.provenance.seed) == (query, seed)
        alone = edit(toy.editor(), picture(), query, seed=seed)
        np.testing.assert_array_equal(np.asarray(result.image), np.asarray(alone.image))
        assert result.provenance == alone.provenance


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("batch_limit", [1, 3, 16])
def test_an_item_does_not_depend_on_its_mates_or_on_chunks(join: bool, batch_limit: int) -> None:
    editor = toy.editor(join=join, batch_limit=batch_limit)
    mask = np.zeros((32, 32), bool)
    mask[4:9, 3:20] = True
    requests = [
        EditRequest(picture=picture(seed=1), query=HALF, reference=DARK, seed=7),
        EditRequest(picture=picture(40, 20, seed=2), query="light left", reference="", seed=8),
        EditRequest(picture=picture(seed=3), query=HALF, mask=mask, seed=9, negative="dark left"),
        EditRequest(picture=picture(seed=4), query=HALF, reference=DARK, settings=Settings(ratio=0.4, guidance=2.0)),
    ]
    together = editor.edit_batch(requests, steps=10)
    for result, request in zip(together, requests, strict=True):
        (alone,) = toy.editor(join=False).edit_batch([request], steps=10)
        np.testing.assert_array_equal(result.mask.values, alone.mask.values)
        difference = np.asarray(result.image).astype(int) - np.asarray(alone.image).astype(int)
        assert np.abs(difference).max() <= (1 if join else 0)


def test_the_contrast_has_its_old_name_for_one_release() -> None:
    result = edit(toy.editor(), picture(40, 40))
    with pytest.warns(DeprecationWarning, match="now called contrast"):
        old = result.contrast_map
    assert old is result.contrast is not None
    on_picture = result.contrast.on_picture(result.fit)
    assert on_picture.shape == (40, 40)
    assert 0 == on_picture.min() < on_picture.max() <= 1


def test_user_mask_takes_the_place_of_the_contrast() -> None:
    source = picture(64, 48)
    mask = Mask.from_box((64, 48), (10, 5, 30, 40))
    result = edit(toy.editor(), source, mask=mask)
    assert result.contrast is None
    assert "contrast" not in result.report.evaluations
    np.testing.assert_array_equal(result.mask.values, mask.values)
    changed = (np.asarray(result.image) != source).any(axis=2)
    assert not changed[mask.values == 0].any()


def test_mask_is_taken_from_a_file_of_any_size(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Mask.from_box((8, 8), (4, 0, 8, 8)).save(file)
    result = edit(toy.editor(), picture(), mask=file)
    assert result.mask.box == (14, 0, 32, 32)  # a mask cell is 4 pixels wide: its edge is blended over 2 each way


def test_mask_cut_from_the_contrast_lies_where_the_contrast_is() -> None:
    """The picture is padded to the canvas, so cells and picture do not span the same: nothing may be stretched."""
    session = toy.editor(resolution=64).open(picture(61, 23))
    contrast = session.contrast(HALF, DARK)
    assert session.latent_size != session.picture.size
    mask = contrast.threshold()
    given, found = (session.edit(HALF, DARK, mask=m, edges="smooth") for m in (mask, None))
    np.testing.assert_array_equal(given.mask.values, found.mask.values)
    np.testing.assert_array_equal(np.asarray(given.image), np.asarray(found.image))


def test_include_adds_and_exclude_wins() -> None:
    source = picture()
    include = Mask.from_box((32, 32), (0, 0, 4, 4))
    exclude = Mask.from_box((32, 32), (20, 20, 32, 32))
    result = edit(toy.editor(), source, include=include, exclude=exclude, edges="cells", feather=2.0)
    out = np.asarray(result.image)
    np.testing.assert_array_equal(out[20:, 20:], source[20:, 20:])
    assert result.mask.values[:4, :4].min() == 1.0
    assert result.cells.values[20:, 20:].max() == 0.0
    assert result.mask.values[:20, 16:].min() == 1.0
    assert 0 < result.mask.values[10, 15] < 1  # the feather


def test_exclude_mask_of_another_size_is_resized() -> None:
    result = edit(toy.editor(), picture(), exclude=Image.new("L", (5, 7), 255))
    assert result.mask.is_empty


def test_grey_mask_cells_are_edited_by_their_strength() -> None:
    values = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    source = np.full((32, 32, 3), 64, np.uint8)
    query = "light left, light right"
    out = np.asarray(edit(toy.editor(), source, query, mask=Mask.from_array(values)).image).astype(int)
    along = out[16, :, 0]
    assert along[0] == 64
    assert (np.diff(along) >= -1).all()
    assert along[-1] - along[0] > 45


def test_second_query_costs_its_half_of_the_contrast_and_its_decode_alone() -> None:
    session = toy.editor().open(picture())
    walk: dict[str, Any] = {"steps": 10, "ratio": 0.7, "inversion_stride": 2}
    first = session.edit(HALF, DARK, **walk)
    second = session.edit("light left, dark right", DARK, **walk)
    again = session.edit(HALF, DARK, **walk, threshold=0.3)
    assert first.report.evaluations == {"contrast": 4, "invert": 4, "decode": 7}
    assert second.report.evaluations == {"contrast": 2, "decode": 7}
    assert again.report.evaluations == {"decode": 7}
    assert first.report.reused == ()
    assert second.report.reused == ("latent", "reference", "trajectory")
    assert again.report.reused == ("latent", "contrast", "trajectory")


def test_new_threshold_runs_no_network() -> None:
    editor = toy.editor()
    session = editor.open(picture())
    session.contrast(HALF, DARK)
    before = editor.driver.rows
    areas = [session.mask(HALF, DARK, threshold=value).area for value in (0.0, 0.2, 0.5, 0.99, 1.0)]
    assert editor.driver.rows == before
    assert areas == sorted(areas, reverse=True)


def test_deeper_ratio_extends_the_trajectory() -> None:
    session = toy.editor().open(picture())
    walk: dict[str, Any] = {"steps": 25, "inversion_stride": 1}
    session.edit(HALF, DARK, ratio=0.4, **walk)
    deeper = session.edit(HALF, DARK, ratio=0.8, **walk)
    shallower = session.edit(HALF, DARK, ratio=0.2, **walk)
    fresh = edit(toy.editor(), picture(), ratio=0.8, **walk)
    assert deeper.report.evaluations["invert"] == 10
    assert "invert" not in shallower.report.evaluations
    np.testing.assert_array_equal(np.asarray(deeper.image), np.asarray(fresh.image))


def test_memory_is_bounded_and_forgetting_changes_no_result() -> None:
    wide = toy.editor().open(picture())
    tight = toy.editor().open(picture(), memory_limit=100_000)
    for ratio in (0.8, 0.4):
        for query in (HALF, "light left, dark right"):
            one, other = wide.edit(query, DARK, ratio=ratio), tight.edit(query, DARK, ratio=ratio)
            np.testing.assert_array_equal(np.asarray(one.image), np.asarray(other.image))
    assert wide.memory.dropped == 0
    assert wide.memory.held == sum(wide.memory.entries.values()) > 200_000
    assert tight.memory.dropped > 0


def test_events_tell_every_step_and_preview_shows_the_working_size() -> None:
    seen: list[tuple[str, int, int]] = []
    sizes = set()

    def watch(event: Event) -> None:
        seen.append((event.stage, event.step, event.steps))
        if event.preview is not None and event.step == 2:
            sizes.add(event.preview().size)

    edit(toy.editor(), picture(64, 64), steps=5, maps=4, inversion_stride=1, callback=watch)
    assert seen[0] == ("encode", 1, 1)
    assert [s for s in seen if s[0] == "contrast"][-1] == ("contrast", 16, 16)
    assert [s for s in seen if s[0] == "invert"] == [("invert", i, 4) for i in range(1, 5)]
    assert [s for s in seen if s[0] == "decode"] == [("decode", i, 4) for i in range(1, 5)]
    assert seen[-1] == ("compose", 1, 1)
    assert sizes == {(32, 32)}


@pytest.mark.parametrize("stage", ["encode", "contrast", "invert", "decode"])
def test_cancel_between_steps_leaves_the_session_usable(stage: str) -> None:
    session = toy.editor().open(picture())

    def stop(event: Event) -> None:
        if event.stage == stage and event.step >= min(2, event.steps):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        session.edit(HALF, DARK, callback=stop)
    after = session.edit(HALF, DARK)
    np.testing.assert_array_equal(np.asarray(after.image), np.asarray(edit(toy.editor(), picture()).image))


def test_reconstruction_error_is_measured_when_asked() -> None:
    session = toy.editor().open(picture())
    walk: dict[str, Any] = {"solver": "ddim", "spacing": "model", "steps": 25, "inversion_stride": 1}
    plain = session.edit(HALF, DARK, **walk, check_inversion=True)
    exact = session.edit(HALF, DARK, **walk, check_inversion=True, fixed_point=6)
    unasked = session.edit(HALF, DARK)
    assert plain.report.reconstruction_error is not None
    assert exact.report.reconstruction_error is not None
    assert 1e-3 < plain.report.reconstruction_error < 0.1
    assert exact.report.reconstruction_error < 1e-5
    assert unasked.report.reconstruction_error is None


def test_fresh_noise_makes_seeds_differ_and_a_seed_repeat() -> None:
    mask = Mask.full((32, 32))
    images = [
        np.asarray(edit(toy.editor(), picture(), mask=mask, eta=1.0, seed=seed).image).astype(int) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).mean() > 1.0


def test_settings_rebuild_the_same_edit() -> None:
    result = edit(toy.editor(), picture(), preset="paper", steps=8)
    record = result.provenance
    again = edit(
        toy.editor(),
        picture(),
        record.query,
        record.reference,
        seed=record.seed,
        preset=record.preset,
        settings=Settings(**record.settings),
    )
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(again.image))
    assert again.provenance == record


def test_preset_of_diffusers_follows_its_threshold_rule() -> None:
    session = toy.editor().open(picture())
    contrast = session.contrast(HALF, DARK, preset="diffusers")
    expected = contrast.raw > 1.5 * contrast.raw.mean()
    np.testing.assert_array_equal(session.contrast(HALF, DARK, preset="diffusers").threshold(0.5).values > 0, expected)


def test_not_finite_network_is_reported_with_stage_and_step() -> None:
    real, calls = toy.model().denoiser, itertools.count()

    def broken(x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
        prediction = real(x, level, conditioning, label=label)
        if next(calls) == 4:
            prediction.eps[0, 0, 0, 0] = torch.nan
        check_items(prediction.eps, "the denoising network")
        return prediction

    made = Editor(replace(toy.model(), denoiser=broken))
    with pytest.raises(NumericsError, match=r"invert.*step 5"):
        edit(made, picture(), mask=Mask.full((32, 32)))


def test_unknown_words_are_reported_with_near_ones() -> None:
    result = edit(toy.editor(), picture(), "dark lefft, light right")
    assert any("'dark lefft'" in w and "grey left" in w for w in result.report.warnings)


def test_bad_input_is_a_typed_error(tmp_path: Path) -> None:
    editor = toy.editor()
    with pytest.raises(SettingsError, match="ratio"):
        editor.edit(picture(), HALF, ratio=1.5)
    with pytest.raises(SettingsError, match="unknown switch"):
        editor.edit(picture(), HALF, ratios=0.5)
    with pytest.raises(SettingsError, match="preset"):
        editor.edit(picture(), HALF, preset="nope")
    with pytest.raises(SettingsError, match="session"):
        editor.open(picture(), resolution=32).edit(HALF, resolution=64)
    with pytest.raises(PictureError):
        editor.open(tmp_path / "none.png")
    with pytest.raises(MaskError):
        editor.edit(picture(), HALF, mask=tmp_path / "none.png")


@pytest.mark.parametrize("size", [(32, 32), (50, 41)])
def test_guided_edges_keep_the_outside_and_free_every_cell_they_touch(size: tuple[int, int]) -> None:
    source = picture(*size)
    result = edit(toy.editor(), source, edges="guided")
    kept = result.mask.values == 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_array_equal(np.asarray(result.image)[kept], source[kept])
    assert result.cells.is_binary
    # Pixels at the outline are blended where the picture was resampled: those of any weight reach a little further.
    whole, blended = (
        Mask.from_array(result.fit.forward(pixels.astype(np.uint8), "any") > 0).resize(result.cells.size, "any")
        for pixels in (result.mask.values == 1, result.mask.values > 0)
    )
    assert (whole.values <= result.cells.values).all()
    assert (result.cells.values <= blended.values).all()
    if result.fit.identity:
        np.testing.assert_array_equal(whole.values, blended.values)


def test_guided_edges_clean_up_in_units_of_cells() -> None:
    source, editor = picture(), toy.editor()
    plain = edit(editor, source, edges="guided").mask.values > 0.5
    grown = edit(editor, source, edges="guided", grow=1).mask.values > 0.5
    factor = editor.model.codec.factor
    first, wider = (int(np.flatnonzero(mask[16])[0]) for mask in (plain, grown))
    assert first - wider == factor
    assert edit(editor, source, DARK, DARK, edges="guided").mask.is_empty
