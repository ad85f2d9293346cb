from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from wordbrush.picture.panel import GUTTER, PAPER, heat_colours, heat_over, make_panel, make_sheet
from wordbrush.region.mask import Mask


def lightness(colours: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """CIE L* of sRGB bytes."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.asarray(np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y))


def test_heat_grows_lighter_in_even_steps() -> None:
    """Perceptual: no step of lightness is more than twice the mean one, none goes back."""
    steps = np.diff(lightness(heat_colours(np.linspace(0, 1, 65)).astype(np.float64)))
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()
    first, last = heat_colours(np.array([0.0, 1.0]))
    assert first.max() < 60
    assert last.min() > 150


def test_heat_takes_anything() -> None:
    odd = heat_colours(np.array([np.nan, -5.0, 7.0, np.inf, -np.inf]))
    assert np.array_equal(odd, heat_colours(np.array([0.0, 0.0, 1.0, 1.0, 0.0])))


def test_the_map_lies_where_it_belongs() -> None:
    contrast = np.zeros((4, 8), np.float32)
    contrast[:, 4:] = 1
    seen = np.asarray(heat_over(np.full((40, 80, 3), 128, np.uint8), contrast)).astype(int)
    assert seen.shape == (40, 80, 3)
    assert seen[:, 70].sum(axis=-1).min() > seen[:, 10].sum(axis=-1).max() + 150


@pytest.mark.parametrize(
    ("width", "height", "longer"), [(128, 128, 256), (64, 128, 256), (400, 300, 400), (2000, 1000, 512), (1, 1, 256)]
)
def test_panels_have_four_tiles_of_readable_size(width: int, height: int, longer: int) -> None:
    picture = np.full((height, width, 3), 90, np.uint8)
    mask = np.ones((height, width), np.float32)
    panel = make_panel(picture, np.ones((4, 4), np.float32), mask, picture, caption="a > b")
    scale = longer / max(width, height)
    assert panel.width >= 4 * round(width * scale)
    assert panel.height >= round(height * scale)
    assert panel.width < 4 * round(width * scale) + 500
    assert panel.getpixel((0, 0)) == PAPER


def test_tiles_show_what_they_are() -> None:
    before = np.full((128, 128, 3), (200, 30, 30), np.uint8)
    after = np.full((128, 128, 3), (30, 30, 200), np.uint8)
    mask = Mask.from_box((128, 128), (0, 0, 64, 128))
    panel = make_panel(before, np.zeros((16, 16), np.float32), mask.values, after)
    cell = panel.width // 4
    row = panel.height - 60
    assert panel.getpixel((cell // 2, row)) == (200, 30, 30)
    assert panel.getpixel((2 * cell + cell // 4, row)) == (255, 255, 255)
    assert panel.getpixel((2 * cell + 3 * cell // 4, row)) == (0, 0, 0)
    assert panel.getpixel((3 * cell + cell // 2, row)) == (30, 30, 200)


def test_without_a_contrast_there_are_three_tiles() -> None:
    picture = np.zeros((128, 128, 3), np.uint8)
    four = make_panel(picture, np.zeros((2, 2), np.float32), np.zeros((128, 128), np.float32), picture)
    three = make_panel(picture, None, np.zeros((128, 128), np.float32), picture)
    assert three.height == four.height
    assert 3 * four.width / 4 - 20 < three.width < 3 * four.width / 4 + 20


def test_long_captions_are_shortened_and_any_text_is_drawn() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    for caption in ("word " * 2000, "\u202e\x00\n\ud83d 馬 🦓", "x"):
        panel = make_panel(picture, None, np.zeros((16, 16), np.float32), picture, caption=caption)
        assert panel.width < 1000


def test_sheets_hold_every_panel() -> None:
    panels = [Image.new("RGB", (30 + i, 20 + i), (i, i, i)) for i in range(5)]
    sheet = make_sheet(panels, columns=2)
    assert sheet.size == (34 + GUTTER + 33, 21 + GUTTER + 23 + GUTTER + 24)
    assert sheet.getpixel((0, 21 + 23 + 2 * GUTTER)) == (4, 4, 4)
    assert sheet.getpixel((34 + GUTTER, 21 + GUTTER)) == (3, 3, 3)
    assert make_sheet(panels[:1]).size == (30, 20)
    for wrong in ({"panels": [], "columns": 1}, {"panels": panels, "columns": 0}):
        with pytest.raises(ValueError, match="at least one"):
            make_sheet(**wrong)  # type: ignore[arg-type]
