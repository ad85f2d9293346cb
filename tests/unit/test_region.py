"""The region found, turned inside out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import toy
from tests.support.maps import contrast_of
from wordbrush.region.mask import Mask
from wordbrush.region.region import found_mask, region_of
from wordbrush.result import EditResult
from wordbrush.session import Session
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"
EDGES: list[Any] = ["guided", "smooth", "cells"]


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
    found, turned = edit(session, edges=edges), edit(session, edges=edges, invert=True)
    np.testing.assert_allclose(turned.mask.values, 1 - found.mask.values, atol=1e-6)
    assert not turned.mask.values[found.mask.values == 1].any()
    assert 0 < turned.mask.area < 1
    kept = turned.mask.values == 0
    np.testing.assert_array_equal(np.asarray(turned.image)[kept], source[kept])
    assert (np.asarray(turned.image) != source)[turned.mask.values == 1].any()
    again = session.mask(HALF, DARK, edges=edges, steps=5, invert=True)
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
        assert region_of(session.frame, found_mask(session.frame, contrast, chosen), chosen).pixels.is_empty


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
