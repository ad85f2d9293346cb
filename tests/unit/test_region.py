"""The region found, turned inside out; and which latent cells a mask sets free."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import toy
from tests.support.maps import contrast_of
from wordbrush.diffedit import diffedit
from wordbrush.models.codec import pixels_of
from wordbrush.picture.picture import plan_fit
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import OUTLINES
from wordbrush.region.region import cut_region, region_of
from wordbrush.result import EditResult
from wordbrush.session import Session
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"
EDGES: list[Any] = ["regions", "contour", "guided", "smooth", "cells"]


def picture(width: int = 32, height: int = 32) -> NDArray[np.uint8]:
    """A dark picture with a little texture."""
    return (64 + np.random.default_rng(0).integers(-12, 13, (height, width, 3))).astype(np.uint8)


def edit(session: Session, query: str = HALF, reference: str = DARK, **keywords: Any) -> EditResult:
    result: EditResult = session.edit(query, reference, steps=5, **keywords)
    return result


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("size", [(32, 32), (61, 23)])
def test_what_was_edited_stays_and_what_stayed_is_edited(edges: str, size: tuple[int, int]) -> None:
    source = picture(*size)
    session = toy.editor().open(source)
    bare: dict[str, Any] = {"edges": edges, "rim": 0, "blend": 0}  # the seam may lie beyond either side
    found, turned = edit(session, **bare), edit(session, **bare, invert=True)
    np.testing.assert_allclose(turned.mask.values, 1 - found.mask.values, atol=1e-6)
    assert not turned.mask.values[found.mask.values == 1].any()
    assert 0 < turned.mask.area < 1
    kept = turned.mask.values == 0
    np.testing.assert_array_equal(np.asarray(turned.image)[kept], source[kept])
    assert (np.asarray(turned.image) != source)[turned.mask.values == 1].any()
    again = session.mask(HALF, DARK, **bare, steps=5, invert=True)
    np.testing.assert_array_equal(again.values, turned.mask.values)


@pytest.mark.parametrize("edges", EDGES)
def test_inside_the_object_no_cell_is_free(edges: str) -> None:
    """A guided mask has passed through a resize; did that leave almost 1 of a 1, a cell would be free for the rest."""
    cells = edit(toy.editor().open(picture(50, 41)), edges=edges, invert=True).cells.values
    assert not cells[:, cells.shape[1] * 3 // 4 :].any()
    assert (cells[:, : cells.shape[1] // 4] == 1).all()


@pytest.mark.parametrize("edges", EDGES)
def test_where_nothing_is_found_nothing_is_edited(edges: str) -> None:
    source = picture()
    session = toy.editor().open(source)
    flat = edit(session, DARK, DARK, edges=edges, invert=True)
    none = edit(session, edges=edges, invert=True, threshold=1.0)
    dropped = edit(session, edges=edges, invert=True, drop_specks=10_000)
    for result in (flat, none, dropped):
        assert result.mask.is_empty
        assert result.cells.is_empty
        np.testing.assert_array_equal(np.asarray(result.image), source)
        assert any("mask is empty" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("edges", EDGES)
def test_what_is_found_in_the_padding_alone_is_nothing(edges: Any) -> None:
    """A slim picture fills a part of the canvas; what lies above the cut beside it, nobody can see."""
    session = toy.editor().open(picture(200, 3))
    assert session.fit.offset[1] == 3
    raw = np.zeros(session.latent_size[::-1], np.float32)
    raw[0] = 1.0
    contrast, settings = contrast_of(raw, "minmax"), Settings(edges=edges, threshold=0.9)
    for chosen in (settings, settings.changed(invert=True)):
        assert region_of(session.frame, cut_region(session.frame, contrast, chosen), chosen).pixels.is_empty


def test_everything_found_leaves_nothing_and_says_so() -> None:
    result = edit(toy.editor().open(picture()), edges="cells", invert=True, grow=64)
    assert result.mask.is_empty
    assert any("move the threshold" in warning for warning in result.report.warnings)


def test_cleaning_comes_before_feather_include_and_exclude_after() -> None:
    session = toy.editor().open(picture())
    # Grown by 2 before it is turned, the region leaves 14 columns; 2 more are feathered.
    result = edit(session, edges="cells", invert=True, grow=2, feather=3.0)
    assert (result.mask.values[:, :14] == 1).all()
    assert ((result.mask.values[:, 14:16] > 0) & (result.mask.values[:, 14:16] < 1)).all()
    assert not result.mask.values[:, 17:].any()
    include, exclude = Mask.from_box((32, 32), (28, 0, 32, 4)), Mask.from_box((32, 32), (0, 0, 4, 4))
    result = edit(session, edges="cells", invert=True, include=include, exclude=exclude)
    assert (result.mask.values[:4, 28:] == 1).all()
    assert not result.mask.values[:4, :4].any()


def test_a_mask_of_the_user_is_not_turned() -> None:
    session, mask = toy.editor().open(picture()), Mask.from_box((32, 32), (4, 5, 20, 30))
    plain, turned = edit(session, mask=mask), edit(session, mask=mask, invert=True)
    np.testing.assert_array_equal(plain.mask.values, turned.mask.values)
    np.testing.assert_array_equal(np.asarray(plain.image), np.asarray(turned.image))


# ---- the seam


def test_the_seam_lies_beyond_the_region_and_outside_it_all_bytes_are_the_picture_s() -> None:
    source = picture(61, 47)
    session = toy.editor().open(source)
    result, found = edit(session), session.mask(HALF, DARK, steps=5)
    assert (result.mask.values >= found.values).all()
    kept = result.mask.values == 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_array_equal(np.asarray(result.image)[kept], source[kept])
    blended = (result.mask.values > 0) & (result.mask.values < 1)
    assert blended.any()


@pytest.mark.parametrize("edges", EDGES)
def test_without_care_for_the_seam_the_decoded_pixels_are_laid_on_as_they_are(edges: Any) -> None:
    """What edits did before there was a seam: the decoded picture, composed by the mask that was found."""
    source = picture(61, 47)
    session = toy.editor().open(source)
    off = Settings(steps=5, edges=edges, ring=0, rim=0, blend=0, match=0)
    result = session.edit(HALF, DARK, settings=off)
    painted = session.run(diffedit(session.run(session.prepared(HALF, DARK, 0, off))))
    assert painted.latent is not None
    assert painted.region.ring is None
    decoded = session.fit.inverse(pixels_of(session.driver.codec.decode(painted.latent)[0]))
    mask = session.mask(HALF, DARK, settings=off).values
    np.testing.assert_array_equal(result.mask.values, mask)
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(session.picture.compose(decoded, mask)))


def test_a_mask_of_the_user_is_laid_as_it_is_and_only_matched() -> None:
    source, mask = picture(), Mask.from_box((32, 32), (16, 0, 32, 32))
    session = toy.editor().open(source)
    matched, plain = edit(session, mask=mask), edit(session, mask=mask, match=0)
    for result in (matched, plain):
        np.testing.assert_array_equal(result.mask.values, mask.values)
        np.testing.assert_array_equal(np.asarray(result.image)[:, :16], source[:, :16])


@pytest.mark.parametrize("ring", [0, 1, 2.5])
def test_the_ring_frees_cells_around_the_region_but_none_that_is_excluded(ring: float) -> None:
    frame, settings = framed((64, 64)), Settings(ring=ring)
    mask, exclude = Mask.from_box((64, 64), (24, 24, 40, 40)), Mask.from_box((64, 64), (40, 0, 64, 64))
    region = region_of(frame, None, settings, mask=mask)
    free = np.pad(np.ones((2, 2), bool), 3)
    np.testing.assert_array_equal(region.cells.values > 0, free)
    np.testing.assert_array_equal(region.widest.values, Mask.from_array(free).grow(ring).values)
    assert (region.ring is None) == (ring == 0)
    held = region_of(frame, None, settings, mask=mask, exclude=exclude).widest
    assert not held.values[:, 5:].any()
    np.testing.assert_array_equal(held.values[:, :5], region.widest.values[:, :5])


# ---- cells at sizes that the canvas does not have

OFF_GRID = [(61, 47), (100, 75), (37, 91), (333, 500), (260, 256), (90, 20)]


def framed(size: tuple[int, int]) -> Frame:
    """Return a picture's frame: cells of 8 pixels on a canvas of about 64 x 64."""
    fit, pixels = plan_fit(size, grid=8, resolution=64), picture(*size)
    pixels[:, size[0] // 3 :] += 90  # an edge for the outline to follow
    return Frame(fit, 8, lambda values, how: OUTLINES[how](values, fit.forward(pixels), radius=8))


def touching(frame: Frame, mask: Mask) -> NDArray[np.float32]:
    """The largest value of all pixels that share an area with a cell, by the corners of both; 2 in the padding."""
    width, height = frame.latent_size
    largest = np.full((height, width), 2, np.float32)
    for y, x in np.ndindex(height, width):
        shared = []
        for axis, at in ((0, x), (1, y)):
            scale = frame.fit.inner[axis] / frame.size[axis]
            low = (frame.cell * at - frame.fit.offset[axis]) / scale
            high = (frame.cell * (at + 1) - frame.fit.offset[axis]) / scale
            shared.append(slice(max(int(np.floor(low + 1e-9)), 0), max(int(np.ceil(high - 1e-9)), 0)))
        pixels = mask.values[shared[1], shared[0]]
        largest[y, x] = pixels.max() if pixels.size else 2
    return largest


def boxes(size: tuple[int, int], seed: int) -> Mask:
    """A few boxes, one of them at the border, and a single pixel."""
    rng, mask = np.random.default_rng(seed), Mask.from_box(size, (0, 0, size[0] // 4, size[1] // 5))
    for _ in range(3):
        (left, right), (top, bottom) = np.sort(rng.integers(0, size[0], 2)), np.sort(rng.integers(0, size[1], 2))
        mask = mask | Mask.from_box(size, (left, top, min(right, left + 12), min(bottom, top + 9)))
    x, y = int(rng.integers(size[0])), int(rng.integers(size[1]))
    return mask | Mask.from_box(size, (x, y, x + 1, y + 1))


@pytest.mark.parametrize("size", OFF_GRID)
def test_a_black_and_white_mask_frees_every_cell_it_touches_and_no_other(size: tuple[int, int]) -> None:
    frame = framed(size)
    for seed in range(5):
        mask = boxes(size, seed)
        region, expected = region_of(frame, None, Settings(), mask=mask), touching(frame, mask)
        assert region.cells.is_binary, np.unique(region.cells.values)
        assert not region.cells.is_empty
        np.testing.assert_array_equal(region.cells.values[expected < 2], expected[expected < 2])
        np.testing.assert_array_equal(region.pixels.values, mask.values)


@pytest.mark.parametrize("size", OFF_GRID)
def test_what_is_included_and_excluded_is_free_or_held(size: tuple[int, int]) -> None:
    frame, start = framed(size), Mask.from_box(size, (0, 0, size[0] // 2, size[1]))
    include, exclude = boxes(size, 7), boxes(size, 8)
    region = region_of(frame, None, Settings(), mask=start, include=include, exclude=exclude)
    assert region.cells.is_binary, np.unique(region.cells.values)
    np.testing.assert_array_equal(region.pixels.values, ((start | include) - exclude).values)
    inside = touching(frame, start | include)
    expected = np.minimum(inside, touching(frame, ~exclude))
    np.testing.assert_array_equal(region.cells.values[inside < 2], expected[inside < 2])


@pytest.mark.parametrize("edges", ["guided", "contour"])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("size", OFF_GRID)
def test_an_outline_on_the_canvas_frees_whole_cells(size: tuple[int, int], invert: bool, edges: Any) -> None:
    frame, settings = framed(size), Settings(edges=edges, threshold=0.4, invert=invert, rim=0)
    raw = np.zeros(frame.latent_size[::-1], np.float32)
    raw[raw.shape[0] // 4 : -1, raw.shape[1] // 3 : -1] = 1.0
    automatic = cut_region(frame, contrast_of(raw, "minmax"), settings)
    region = region_of(frame, automatic, settings)
    assert region.cells.is_binary, np.unique(region.cells.values)
    assert 0 < region.cells.area < 1
    strong = touching(frame, region.pixels.binarise(0.999))  # blended pixels at the outline may reach a cell further
    any_ = touching(frame, Mask((region.pixels.values > 0).astype(np.float32)))
    assert (region.cells.values[strong == 1] == 1).all()
    assert not region.cells.values[any_ == 0].any()


@pytest.mark.parametrize("size", [*OFF_GRID, (64, 64)])
def test_a_soft_mask_keeps_its_greys(size: tuple[int, int]) -> None:
    frame, ramp = framed(size), np.linspace(0, 1, 5, dtype=np.float32)
    mask = Mask(np.tile(np.repeat(ramp, -(-size[0] // 5))[: size[0]], (size[1], 1)))
    cells = region_of(frame, None, Settings(), mask=mask).cells
    assert set(np.unique(cells.values)) <= set(mask.values[0])
    assert len(np.unique(cells.values)) >= 4
    assert (np.diff(cells.values, axis=1) >= 0).all()
    expected = touching(frame, mask)
    np.testing.assert_array_equal(cells.values[expected < 2], expected[expected < 2])


def test_a_mask_of_latent_cells_is_taken_as_it_is() -> None:
    frame = framed((61, 47))
    cells = Mask(np.random.default_rng(0).random(frame.latent_size[::-1]).astype(np.float32))
    assert np.array_equal(region_of(frame, None, Settings(), mask=cells).cells.values, cells.values)
