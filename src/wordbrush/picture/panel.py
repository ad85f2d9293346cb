"""Pictures that explain an edit: input | contrast | mask | result in one row, and several such rows on one sheet.

Only Pillow and numpy are used. The heat colours are computed in OKLab, where equal steps look equal: lightness rises in
a straight line from dark violet to pale yellow, so the map reads the same in grey or by a colour-blind eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wordbrush.picture.resize import resize

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["heat_colours", "heat_over", "make_panel", "make_sheet"]

TITLES = ("input", "contrast", "mask", "result")
GUTTER = 24
PAPER = (250, 250, 248)
INK = (38, 38, 42)
FRAME = (214, 214, 210)

# OKLab (Ottosson 2020): to the cube roots of the cone responses, and from cone responses to linear sRGB.
_LAB_TO_CONES = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def heat_colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour a map.

    Args:
        values: any shape; read as clipped to [0, 1], anything not finite as 0.

    Returns:
        The same shape with a last axis of 3, sRGB, 8 bit.
    """
    share = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    lightness = 0.17 + 0.79 * share
    chroma = 0.05 + 0.125 * np.sin(np.pi * share)
    hue = np.deg2rad(288.0 + 178.0 * share)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((lab @ _LAB_TO_CONES.T) ** 3 @ _CONES_TO_RGB.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255.0), dtype=np.uint8)


def heat_over(picture: NDArray[np.uint8], contrast: NDArray[np.floating]) -> Image.Image:
    """Lay a contrast map over a picture: the picture in grey below, the colours stronger where the map is high.

    Args:
        picture: (height, width, 3), sRGB.
        contrast: (rows, columns) in [0, 1], any size; it is stretched to the picture.

    Returns:
        An RGB image of the picture's size.
    """
    height, width = picture.shape[:2]
    soft = np.nan_to_num(np.asarray(contrast, dtype=np.float32))
    share = np.clip(resize(soft, (width, height), "linear"), 0.0, 1.0)
    grey = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)[..., None]
    weight = (0.45 + 0.45 * share)[..., None]
    mixed = (1.0 - weight) * grey + weight * heat_colours(share).astype(np.float32)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def make_panel(
    picture: NDArray[np.uint8],
    contrast: NDArray[np.floating] | None,
    mask: NDArray[np.floating],
    result: NDArray[np.uint8],
    *,
    tile: int = 256,
    titles: Sequence[str] = TITLES,
    caption: str = "",
) -> Image.Image:
    """Draw input | contrast over the input | mask | result.

    Args:
        picture: (height, width, 3) the input, sRGB.
        contrast: (rows, columns) in [0, 1], or None for a mask of the user: that tile is left out.
        mask: (rows, columns) in [0, 1], 1 = edited; any size.
        result: (height, width, 3) the edited picture, sRGB.
        tile: the longer side of each tile in pixels, at least; pictures up to twice that keep their size.
        titles: one title for each of the four tiles.
        caption: a line above the tiles, shortened to fit.

    Returns:
        An RGB image.
    """
    height, width = picture.shape[:2]
    size = _tile_size(width, height, tile)
    strength = Image.fromarray(np.rint(np.clip(mask, 0.0, 1.0) * 255.0).astype(np.uint8))
    images = [Image.fromarray(picture), strength.convert("RGB"), Image.fromarray(result)]
    names = [titles[0], titles[2], titles[3]]
    if contrast is not None:
        images.insert(1, heat_over(picture, contrast))
        names.insert(1, titles[1])
    return _lay_out([_scaled(image, size) for image in images], names, caption)


def make_sheet(panels: Sequence[Image.Image], *, columns: int = 1) -> Image.Image:
    """Put several panels on one sheet, row by row.

    Args:
        panels: at least one.
        columns: how many panels stand side by side.

    Returns:
        An RGB image.

    Raises:
        ValueError: no panels, or no columns.
    """
    if not panels or columns < 1:
        raise ValueError("a sheet needs at least one panel and one column")
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(min(columns, len(panels)))]
    heights = [max(panel.height for panel in row) for row in rows]
    lefts = [sum(widths[:column]) + GUTTER * column for column in range(len(widths))]
    sheet = Image.new("RGB", (lefts[-1] + widths[-1], sum(heights) + GUTTER * (len(rows) - 1)), PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for left, panel in zip(lefts, row, strict=False):  # the last row may be shorter
            sheet.paste(panel, (left, top))
        top += height + GUTTER
    return sheet


def _tile_size(width: int, height: int, tile: int) -> tuple[int, int]:
    longest = max(width, height)
    scale = min(max(longest, tile), 2 * tile) / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Lanczos both ways: small pictures from a small model look cleaner smooth than as blocks.
    return image if image.size == size else Image.fromarray(resize(np.asarray(image.convert("RGB")), size, "lanczos"))


def _lay_out(tiles: Sequence[Image.Image], titles: Sequence[str], caption: str) -> Image.Image:
    width, height = tiles[0].size
    unit = max(8, max(width, height) // 32)
    font = ImageFont.load_default(size=round(unit * 1.9))
    head = round(unit * 3.2) if caption else 0
    title_height = round(unit * 3.0)
    # A very narrow picture would leave no room for its title.
    cell = max(width, *(round(font.getlength(title)) for title in titles))
    total = (len(tiles) * cell + (len(tiles) + 1) * unit, head + title_height + height + 2 * unit)
    panel = Image.new("RGB", total, PAPER)
    draw = ImageDraw.Draw(panel)
    if caption:
        line = _shortened(caption, font, total[0] - 2 * unit)
        draw.text((unit, unit + head // 2), line, fill=INK, font=font, anchor="lm")
    top = unit + head + title_height
    for index, (image, title) in enumerate(zip(tiles, titles, strict=True)):
        left = unit + index * (cell + unit)
        draw.text((left + cell // 2, top - title_height // 2), title, fill=INK, font=font, anchor="mm")
        corner = (left + (cell - width) // 2, top)
        panel.paste(image, corner)
        box = (corner[0] - 1, corner[1] - 1, corner[0] + width, corner[1] + height)
        draw.rectangle(box, outline=FRAME)
    return panel


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    line = " ".join(text.split())[:400]
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line.rstrip() + "…"
