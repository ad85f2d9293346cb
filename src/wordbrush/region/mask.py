"""Masks: which cells of a picture (or of its latent) are edited. 1 or white = edit, 0 or black = keep.

A mask is a value: nothing changes it, every operation gives a new one. Between 0 and 1 it is soft, and the algebra is
that of fuzzy sets: `a | b` is the larger, `a & b` the smaller, `a - b` the smaller of a and 1 - b, `~a` is 1 - a. On
binary masks these are union, intersection, difference and complement.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from PIL import Image, PngImagePlugin

from wordbrush.errors import MaskError, OutputError
from wordbrush.files import write_atomic
from wordbrush.picture.resize import resize
from wordbrush.region import cells
from wordbrush.region.reading import EXACT, array_reading, image_reading, is_plain, open_reading, values_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Mask", "ResizeRule"]

ResizeRule = Literal["nearest", "linear", "area", "any"]


@dataclass(frozen=True, eq=False)
class Mask:
    """Which cells are edited.

    Two masks are compared by `digest()`, to 8 bits, or through `values`.

    Attributes:
        values: float32 (height, width) in [0, 1], 1 = edit; read-only.
        notes: what a user should know about how it was read; kept when it is rounded, else what is made of a mask
            has none.

    Raises:
        MaskError: `values` is not such an array; `from_array` takes other kinds.
    """

    values: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not np.issubdtype(np.asarray(self.values).dtype, np.floating):
            raise MaskError("Mask(values) takes floats in 0 ... 1; use Mask.from_array for other kinds of numbers")
        values = np.array(values_of(self.values), order="C")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    # ---- from what people have

    @classmethod
    def from_array(cls, array: ArrayLike, *, label: int | None = None) -> Mask:
        """Make a mask from an array (height, width) or (height, width, 1) of any plain dtype.

        bool: True = edit. Floats: strengths in [0, 1] as they are, up to 1e-6 of rounding. Whole numbers mean what
        they mean in a file, see `open`: labels 0 and 1, or strengths of 8 or 16 bits; beyond 16 bits the largest number
        of the dtype is white.

        Args:
            array: the numbers.
            label: edit where the array has this number, the class of a label map.

        Raises:
            MaskError: another shape or dtype, no cells, NaN, numbers out of range, or labels of several classes.
        """
        return cls(*array_reading(array, label))

    @classmethod
    def from_image(cls, image: Image.Image, *, label: int | None = None) -> Mask:
        """Make a mask from a Pillow image of any mode, turned upright by its EXIF; the rule is that of `open`.

        Raises:
            MaskError: the image cannot be decoded, holds numbers out of range, or could mean two things.
        """
        return cls(*image_reading(image, label))

    @classmethod
    def open(cls, source: str | Path | bytes, *, label: int | None = None) -> Mask:
        """Read a mask from a PNG, JPEG, WebP, TIFF, BMP or AVIF file, or from its bytes.

        The picture is turned upright by EXIF; of an animation the first frame counts. What is in it means, whatever
        the depth and the mode:

        | it holds | it means |
        |---|---|
        | 0 and 1; 0 and 255; 0 and 256; 0 and 65535; mode `1` | 0 = keep, the other = edit |
        | greys up to 255, also in 16 bits; multiples of 256 or of 257 | strengths, 255 (times that) = 1 |
        | other greys of 16 bits; `F` | strengths, 65535 = 1; as they are, in 0 ... 1 |
        | black and white slightly off, by at most 8 of 255, or with the noise of JPEG | black and white |
        | nothing above 40 of 255, or areas of such numbers beside 255 | refused: labels of classes, or too dark |
        | a colour palette with the indices 0 and N | class N is edited (a note, but for 1) |
        | a colour palette with more indices, up to 64 | refused: labels of classes |
        | one hue on black | its brightest channel, so that pure blue is white, too |
        | one hue on a light ground; a colour photograph | refused |
        | several colours | luminance (ITU-R 601), with a note |
        | one colour, not black, and transparency | a drawing: opacity is strength |
        | black and transparency | opaque along the sides: the hole is edited; transparent there: a drawing; a note |
        | black, white and transparency | luminance times opacity, with a note |
        | a picture with transparency | the transparent part is edited, with a note |
        | a few flat colours and transparency | refused: a drawing or a picture |
        | transparent to the same degree everywhere | luminance times opacity, with a note |

        Args:
            source: the file or its bytes. A name may end in `#` and a class: `labels.png#15`.
            label: edit where the file has this number (of a palette: this index), the class of a label map.

        Raises:
            MaskError: no such file, not one of these formats, broken, above 25 MB or above 50 million pixels (both
                looked at before anything is decoded), or what the table refuses.
        """
        return cls(*open_reading(source, label))

    @classmethod
    def recorded(cls, data: bytes) -> Mask:
        """Read the bytes of `png_bytes` as they were written, whatever a file of such greys may mean otherwise.

        Raises:
            MaskError: as for `open`.
        """
        return cls(*open_reading(data, exact=True))

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Mask:
        """Keep everything; `size` is (width, height)."""
        width, height = _size(size)
        return cls(np.zeros((height, width), dtype=np.float32))

    @classmethod
    def full(cls, size: tuple[int, int]) -> Mask:
        """Edit everything; `size` is (width, height)."""
        width, height = _size(size)
        return cls(np.ones((height, width), dtype=np.float32))

    @classmethod
    def from_box(cls, size: tuple[int, int], box: tuple[int, int, int, int]) -> Mask:
        """Edit the rectangle `box` (left, top, right, bottom; the last two exclusive), cut to `size` (width, height).

        Raises:
            MaskError: right is left of left, or bottom above top.
        """
        width, height = _size(size)
        left, top, right, bottom = box
        if right < left or bottom < top:
            raise MaskError(f"the box {box} is inside out: it is (left, top, right, bottom)")
        values = np.zeros((height, width), dtype=np.float32)
        values[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1
        return cls(values)

    # ---- what it is like

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in cells."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def area(self) -> float:
        """Share of the cells that is edited, in [0, 1]: the mean value."""
        return float(self.values.mean(dtype=np.float64))

    @property
    def is_empty(self) -> bool:
        """Whether every value is 0."""
        return not self.values.any()

    @property
    def is_binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return bool(np.all((self.values == 0) | (self.values == 1)))

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of the values above 0, the last two exclusive; None when empty."""
        return cells.bounds(self.values)

    def __repr__(self) -> str:
        kind = "binary" if self.is_binary else "soft"
        return f"Mask({self.size[0]} × {self.size[1]}, {kind}, {100 * self.area:.1f} % edited)"

    # ---- algebra

    def __or__(self, other: Mask) -> Mask:
        if not isinstance(other, Mask):
            return NotImplemented
        return Mask(np.maximum(self.values, self._same(other)))

    def __and__(self, other: Mask) -> Mask:
        if not isinstance(other, Mask):
            return NotImplemented
        return Mask(np.minimum(self.values, self._same(other)))

    def __sub__(self, other: Mask) -> Mask:
        if not isinstance(other, Mask):
            return NotImplemented
        return Mask(np.minimum(self.values, 1 - self._same(other)))

    def __invert__(self) -> Mask:
        return Mask(1 - self.values)

    def _same(self, other: Mask) -> NDArray[np.float32]:
        if other.size != self.size:
            raise MaskError(
                f"masks of {self.size[0]} × {self.size[1]} and {other.size[0]} × {other.size[1]} cells do not go "
                "together; resize one of them first"
            )
        return other.values

    # ---- shape

    def grow(self, radius: float) -> Mask:
        """Widen by `radius` of this mask's cells in every direction (a disc; soft masks: the largest value in it)."""
        return Mask(cells.grow(self.values, _radius("grow", radius)))

    def shrink(self, radius: float) -> Mask:
        """Narrow by `radius` of this mask's cells: `~(~self).grow(radius)`. The edge of the picture takes nothing."""
        return Mask(cells.shrink(self.values, _radius("shrink", radius)))

    def fill_holes(self) -> Mask:
        """Set to 1 every region below 0.5 that is shut in by values of at least 0.5, corners being shut."""
        return Mask(cells.fill_holes(self.values))

    def drop_specks(self, min_cells: float) -> Mask:
        """Set to 0 every connected region (corners connect) whose values sum to less than `min_cells`."""
        return Mask(cells.drop_specks(self.values, _radius("drop_specks", min_cells)))

    def feather(self, radius: float) -> Mask:
        """Soften outwards: a ramp falling linearly from the mask's edge to 0 at `radius` cells; inside, 1 stays 1.

        Distances run from cell centre to cell centre, so a radius up to 1 changes nothing. Values below 1/16 do
        not spread.
        """
        return Mask(cells.feather(self.values, _radius("feather", radius)))

    def binarise(self, at: float = 0.5) -> Mask:
        """Return 1 where the value is at least `at` (in (0, 1]), 0 elsewhere.

        Raises:
            MaskError: `at` is not in (0, 1].
        """
        if not 0 < at <= 1:
            raise MaskError(f"binarise at {at} is outside 0 (excluded) ... 1")
        return Mask((self.values >= np.float32(at)).astype(np.float32))

    def rounded(self) -> Mask:
        """Return the mask at 8 bits a cell: what a PNG keeps, and all that `digest` sees."""
        return Mask(self._bytes8().astype(np.float32) / np.float32(255), self.notes)

    def resize(self, size: tuple[int, int], how: ResizeRule = "nearest") -> Mask:
        """Resample to `size` (width, height).

        - nearest: the cell under the target's centre; a binary mask stays binary.
        - linear: straight lines between cell centres, all covered cells weighted when shrinking.
        - area: the mean over what the target covers; `area` does not change.
        - any: the largest value the target touches, however little of it; a binary mask stays binary and loses nothing.

        Raises:
            MaskError: a side below 1, or an unknown rule.
        """
        if how not in get_args(ResizeRule):
            raise MaskError(f"resize by {how!r} is unknown: known are {', '.join(get_args(ResizeRule))}")
        if _size(size) == self.size:
            return self
        return Mask(resize(self.values, _size(size), "centre" if how == "nearest" else how))

    # ---- out

    def to_image(self) -> Image.Image:
        """Return a Pillow image of mode L, 255 = edit."""
        return Image.fromarray(self._bytes8())

    def png_bytes(self) -> bytes:
        """Return the smallest PNG: 1 bit a cell for a binary mask, else 8-bit grey. `Mask.open` gives it back."""
        return _png(Image.fromarray(self.values > 0)) if self.is_binary else self.grey_png()

    def grey_png(self) -> bytes:
        """Return an 8-bit grey PNG, white = edit, as `save` writes it. `Mask.open` gives it back at 8 bits."""
        levels = self._bytes8()
        info = PngImagePlugin.PngInfo()
        if not is_plain(levels):  # such as one so dark that its greys would be taken for labels
            info.add_text(EXACT, "1")
        return _png(self.to_image(), info)

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write an 8-bit grey PNG, white = edit.

        Raises:
            OutputError: the name does not end in .png, exists already (and not `force`), or cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise OutputError(f"{path}: a mask is saved as PNG; choose a name that ends in .png")
        write_atomic(path, self.grey_png(), force=force)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the size and the 8-bit values."""
        width, height = self.size
        return hashlib.sha256(f"{width}x{height}:".encode() + self._bytes8().tobytes()).hexdigest()

    def _bytes8(self) -> NDArray[np.uint8]:
        return np.rint(self.values * 255).astype(np.uint8)


def _png(image: Image.Image, info: PngImagePlugin.PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6, pnginfo=info)
    return buffer.getvalue()


def _size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (int(side) for side in size)
    if width < 1 or height < 1:
        raise MaskError(f"a mask of {width} × {height} cells has none; both sides are at least 1")
    return width, height


def _radius(what: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise MaskError(f"{what} by {value} is not possible; it takes a number of cells from 0 on")
    return float(value)
