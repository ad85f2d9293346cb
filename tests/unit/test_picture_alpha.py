"""What cannot be seen decides nothing, and keeps its bytes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support import toy
from tests.support.pictures import distance, encode, rgb_profile, scene
from wordbrush.picture.picture import GROUND, SEEN, Picture

Bytes = NDArray[np.uint8]
TEXTS = ("dark left, light right", "light left")  # they disagree about the left half


def cutout(alpha: Bytes, filling: str = "noise") -> Bytes:
    """Return a picture (32, 48, RGBA) with something under what is transparent."""
    pixels, hidden = scene(), alpha == 0
    fills = {"noise": np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8), "black": 0, "white": 255}
    pixels[hidden] = np.broadcast_to(np.asarray(fills[filling], np.uint8), pixels.shape)[hidden]
    return np.dstack((pixels, alpha))


def disc(hole: int = 0) -> Bytes:
    y, x = np.mgrid[0:32, 0:48]
    return np.where((x - 24) ** 2 + (y - 16) ** 2 < 150, 255, hole).astype(np.uint8)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_the_model_sees_a_neutral_ground_and_the_output_has_the_bytes(fmt: str) -> None:
    seen = set()
    for filling in ("noise", "black", "white"):
        source = cutout(disc(), filling)
        options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
        picture = Picture.open(encode(Image.fromarray(source), fmt, **options))
        assert (picture.srgb[disc() == 0] == GROUND).all()
        assert (picture.srgb[disc() > 0] == scene()[disc() > 0]).all()
        seen.add(picture.srgb.tobytes())
        out = np.asarray(picture.compose(255 - picture.srgb, np.ones((32, 48), np.float32)))
        assert (out[disc() == 0] == source[disc() == 0]).all(), "not even a mask of everything changes them"
        assert (out[disc() > 0][:, :3] == 255 - scene()[disc() > 0]).all()
        assert (out[..., 3] == disc()).all()
    assert len(seen) == 1


def test_opaque_alpha_changes_nothing() -> None:
    picture = Picture.open(np.dstack((scene(), np.full((32, 48), 255, np.uint8))))
    assert distance(picture.srgb, scene()) == 0
    assert picture.visible is None
    assert Picture.open(scene()).visible is None


def test_partial_alpha_is_laid_over_the_ground_by_its_share() -> None:
    alpha = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
    picture = Picture.open(np.dstack((scene(), alpha)))
    share = alpha[..., None] / 255
    assert np.abs(picture.srgb - (scene() * share + GROUND * (1 - share))).max() <= 0.51
    assert picture.visible is not None
    assert (picture.visible == (alpha >= SEEN)).all()
    assert distance(picture.colours, scene()) == 0


@pytest.mark.parametrize("icc", [None, rgb_profile()])
def test_an_edit_under_partial_alpha_is_seen_as_the_model_meant_it(icc: bytes | None) -> None:
    alpha = np.tile(np.linspace(1, 255, 48).astype(np.uint8), (32, 1))
    source = Image.fromarray(np.dstack((scene(), alpha)))
    picture = Picture.open(encode(source, icc_profile=icc))
    whole = np.ones((32, 48), np.float32)
    unchanged = Picture.open(encode(picture.compose(picture.srgb, whole)))
    assert distance(unchanged.colours, picture.colours) <= (0 if icc is None else 5)
    wanted = np.clip(picture.srgb.astype(int) + np.array([12, -9, 7]), 0, 255).astype(np.uint8)
    again = Picture.open(encode(picture.compose(wanted, whole)))
    firm = alpha >= 80  # such changes are within the range of colours there
    inside = firm & (np.abs(again.colours.astype(int) - 128) < 125).all(-1)
    assert inside.mean() > 0.4
    assert np.abs(again.srgb.astype(int) - wanted)[inside].max() <= (1 if icc is None else 4)
    faint = alpha < 64
    assert np.abs(again.srgb.astype(int) - picture.srgb)[faint].max() <= 12 + 1, "never more than was asked for"


@pytest.mark.parametrize(("mode", "make"), [
    ("LA", lambda: Image.merge("LA", (Image.fromarray(scene()[..., 0]), Image.fromarray(disc())))),
    ("P", lambda: Image.fromarray(np.where(disc() > 0, scene()[..., 0] // 3, 0).astype(np.uint8)).convert("P")),
    ("L", lambda: Image.fromarray(np.where(disc() > 0, np.maximum(scene()[..., 0], 1), 0).astype(np.uint8))),
])  # fmt: skip
def test_every_kind_of_transparency_counts(mode: str, make: object) -> None:
    image: Image.Image = make()  # type: ignore[operator]
    assert image.mode == mode
    data = encode(image) if mode == "LA" else encode(image, transparency=0)
    picture = Picture.open(data)
    hidden = disc() == 0
    assert picture.alpha is not None
    assert (picture.alpha[hidden] == 0).all()
    assert (picture.srgb[hidden] == GROUND).all()


def test_a_picture_that_cannot_be_seen_at_all_is_told() -> None:
    picture = Picture.open(np.dstack((scene(), np.zeros((32, 48), np.uint8))))
    assert picture.notes == ("nothing of the picture can be seen: it is transparent everywhere",)
    editor = toy.editor(32)
    result = editor.edit(picture, *TEXTS, ratio=0.5, steps=4)
    assert result.mask.is_empty
    assert (np.asarray(result.image)[..., :3] == scene()).all()


@pytest.mark.parametrize("edges", ["regions", "contour", "guided", "smooth", "cells"])
@pytest.mark.parametrize("invert", [False, True])
def test_nothing_is_found_where_nothing_is_seen(edges: str, invert: bool) -> None:
    alpha = np.kron(disc(), np.ones((2, 2), np.uint8))
    pixels = np.kron(scene(), np.ones((2, 2, 1), np.uint8)).astype(np.uint8)
    masks = []
    for value in (0, 255):
        source = np.dstack((np.where(alpha[..., None] > 0, pixels, value).astype(np.uint8), alpha))
        session = toy.editor(32).open(source)
        mask = session.mask(*TEXTS, edges=edges, invert=invert)
        masks.append(mask.values)
        assert not mask.values[alpha < SEEN].any()
    assert (masks[0] == masks[1]).all()
    seen = masks[0][alpha >= SEEN]
    assert 0.3 < (seen > 0).mean() < 0.7


def test_a_mask_of_the_users_own_is_what_it_is_but_changes_nothing_unseen() -> None:
    source = cutout(disc())
    result = toy.editor(32).edit(source, *TEXTS, mask=np.ones((32, 48), bool), ratio=0.5, steps=4)
    assert result.mask.area == 1
    out = np.asarray(result.image)
    assert (out[disc() == 0] == source[disc() == 0]).all()
    assert (out[disc() == 255] != source[disc() == 255]).any()
