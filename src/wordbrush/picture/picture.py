"""Pictures: opened from anything, upright and safe; put together again with what was edited.

```
picture = Picture.open("horse.jpg")
plan = plan_fit(picture.size, grid=64, resolution=512)
seen = plan.forward(picture.srgb)          # what the model sees
edited = plan.inverse(edited_on_canvas)
picture.compose(edited, weight).save("zebra.png")
```
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.errors import MaskError, PictureError
from wordbrush.files import bounded_read, stream_number
from wordbrush.picture.colour import from_srgb, settle, to_srgb
from wordbrush.picture.decode import decode, refusing, settled
from wordbrush.picture.density import Density, file_density, info_density
from wordbrush.picture.fit import FitPlan, Resample, plan_fit
from wordbrush.picture.guard import SUPPORTED, check_size
from wordbrush.picture.limits import MAX_BYTES, MAX_PIXELS, reading_limits
from wordbrush.picture.modes import flattener, strips

__all__ = ["MAX_BYTES", "MAX_PIXELS", "SUPPORTED", "FitPlan", "Picture", "PictureSource", "Resample", "plan_fit"]

GROUND = 128
"""Grey that a model sees where a picture is transparent."""

SEEN = 8
"""Least alpha, of 255, of a pixel that counts as visible: about 3 %."""

_BLEND_PIXELS = 65_536  # blended in float64 at a time: bounds memory and stays in cache
_MOST_LIFT = 4.0  # see `Picture.compose`


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright, 8 bit. Arrays are read-only.

    Attributes:
        pixels: (height, width, 3) in the picture's own RGB colours.
        alpha: (height, width), or None when the source had none.
        icc_profile: the RGB profile of `pixels`; None means sRGB.
        sha256: hex digest of the source's bytes; for pictures in memory of their normalised mode, size and pixels.
        name: file name without folder, when known.
        format: one of `SUPPORTED` for files, None for pictures in memory.
        notes: what a user should know about how it was read.
        density: pixels per inch, or the shape of a pixel, where the source told it.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    icc_profile: bytes | None
    sha256: str
    name: str | None
    format: str | None
    notes: tuple[str, ...]
    density: Density | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def srgb(self) -> NDArray[np.uint8]:
        """What a model sees: (height, width, 3), sRGB, read-only.

        What is transparent is laid over a neutral grey, so that colours which nobody can see decide nothing. Without
        transparency and profile it is `pixels` itself.
        """
        colours = self.colours
        if self.alpha is None or self.alpha.min() == 255:
            return _frozen(colours)
        out = np.empty_like(colours)
        for part in _parts(out):
            share = self.alpha[part, :, None].astype(np.float32) / 255
            out[part] = np.floor(colours[part] * share + GROUND * (1 - share) + 0.5).astype(np.uint8)
        return _frozen(out)

    @property
    def colours(self) -> NDArray[np.uint8]:
        """`pixels` in sRGB, (height, width, 3), whatever of them can be seen."""
        return to_srgb(self.pixels, self.icc_profile)

    @property
    def visible(self) -> NDArray[np.bool_] | None:
        """Where the picture can be seen, (height, width); None where it can be seen everywhere."""
        seen = None if self.alpha is None else self.alpha >= SEEN
        return None if seen is None or seen.all() else seen

    @classmethod
    def open(
        cls, source: "PictureSource", *, max_pixels: int | None = None, max_bytes: int | None = None
    ) -> "Picture":
        """Open a picture from a path, a file's bytes, a PIL image, an array, or a Picture (returned as it is).

        Files may be PNG, JPEG, WebP, TIFF, BMP or AVIF, whatever they are called. They are turned upright by EXIF;
        of an animation the first frame is used. Arrays are (height, width), (height, width, 3) or (height, width, 4)
        uint8, sRGB. How each PIL mode is read is in `wordbrush.picture.modes`, how colours are that a file declares
        without an ICC profile in `wordbrush.picture.declared`.

        Args:
            source: what to open.
            max_pixels: most pixels (width x height), checked before decoding; by default those of
                `limits.reading_limits`, 120 million unless they were changed.
            max_bytes: most bytes of a file, checked before reading; by default 200 million, in the same way.

        Raises:
            PictureError: for whatever is wrong with the source.
        """
        if isinstance(source, Picture):
            return source
        limits = reading_limits()
        max_pixels = limits.pixels if max_pixels is None else max_pixels
        max_bytes = limits.size if max_bytes is None else max_bytes
        if isinstance(source, str | Path | bytes):
            return _from_file(source, max_pixels, max_bytes)
        if isinstance(source, Image.Image):
            return _from_image(source, max_pixels)
        if isinstance(source, np.ndarray):
            return _from_array(source, max_pixels)
        raise PictureError(
            f"cannot open a {type(source).__name__} as a picture; give a path, bytes, a PIL image or a numpy array"
        )

    def compose(self, edited: NDArray[np.uint8], weight: NDArray[np.float32]) -> Image.Image:
        """Lay edited pixels over the picture: out = pixels + weight * (edited - pixels), rounded half up.

        Where the picture is transparent in part, `edited` is what shall be seen over the ground of `srgb`. The colour
        under an alpha a (of 1) then becomes own + (edited - srgb) / a, which seen over that ground is `edited`. Below
        a = 1/4 the factor stays 4: there a change of what is seen would need colours out of range. Where alpha is 0
        nothing is changed.

        Args:
            edited: (height, width, 3) uint8 sRGB, at the picture's size; converted to the picture's own profile.
            weight: (height, width) in [0, 1]. Where it is 0 the picture's own bytes come out, where it is 1 the
                edited ones.

        Returns:
            Mode RGB, or RGBA with the picture's alpha unchanged; `info` holds `icc_profile`, and `dpi` or `aspect`, if
            any.

        Raises:
            PictureError: `edited` has another shape or dtype.
            MaskError: `weight` has another shape, or leaves [0, 1].
        """
        if edited.shape != self.pixels.shape or edited.dtype != np.uint8:
            raise PictureError(f"edited must be uint8 {self.pixels.shape}, got {edited.dtype} {edited.shape}")
        if weight.shape != self.pixels.shape[:2]:
            raise MaskError(f"weight must have shape {self.pixels.shape[:2]}, got {weight.shape}")
        if not (weight.min() >= 0 and weight.max() <= 1):  # written so that NaN fails
            raise MaskError("weight must lie in [0, 1] everywhere")
        if self.alpha is not None and self.alpha.min() < 255:
            edited, weight = self._under_alpha(edited, self.alpha), np.where(self.alpha > 0, weight, np.float32(0))
        blended = _blend(self.pixels, edited, weight, self.icc_profile)
        if self.alpha is not None:
            blended = np.dstack((blended, self.alpha))
        image = Image.fromarray(blended)
        if self.icc_profile is not None:
            image.info["icc_profile"] = self.icc_profile
        if self.density is not None:
            image.info |= self.density.as_info()
        return image

    def _under_alpha(self, edited: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the colours that are seen as `edited` when laid over the ground, as far as there are such."""
        own, seen, out = self.colours, self.srgb, np.empty_like(edited)
        for part in _parts(out):
            lift = np.minimum(255 / np.maximum(alpha[part, :, None], 1).astype(np.float32), _MOST_LIFT)
            wanted = own[part] + lift * (edited[part].astype(np.float32) - seen[part])
            out[part] = np.clip(np.floor(wanted + 0.5), 0, 255).astype(np.uint8)
        return out


PictureSource = str | Path | bytes | Image.Image | NDArray[Any] | Picture


def _frozen(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _parts(array: NDArray[np.uint8]) -> Iterator[slice]:
    """Yield slices of rows that are worked on at a time."""
    rows = max(1, _BLEND_PIXELS // array.shape[1])
    for top in range(0, len(array), rows):
        yield slice(top, top + rows)


def _blend(
    pixels: NDArray[np.uint8], edited: NDArray[np.uint8], weight: NDArray[np.float32], profile: bytes | None
) -> NDArray[np.uint8]:
    out = pixels.copy()
    if not weight.any():
        return out
    edited = from_srgb(edited, profile)
    for part in _parts(out):
        share = weight[part, :, None].astype(np.float64)
        if share.any():  # in float64, weights 0 and 1 give the two pictures exactly
            own = pixels[part].astype(np.float64)
            out[part] = np.floor(own + share * (edited[part] - own) + 0.5).astype(np.uint8)
    return out


def _from_file(source: str | Path | bytes, max_pixels: int, max_bytes: int) -> Picture:
    data = bounded_read(source, max_bytes, error=PictureError, kind="picture", advice=reading_limits().advice(1))
    name = None if isinstance(source, bytes) or stream_number(source) is not None else Path(source).name
    try:
        image, kind, notes = decode(data, max_pixels)
        with refusing(f"the {kind} file", max_pixels):
            return _finish(image, image.info, name, kind, notes, hashlib.sha256(data).hexdigest())
    except PictureError as error:
        if name is None:
            raise
        raise PictureError(f"{name}: {error}") from error


def _from_image(image: Image.Image, max_pixels: int) -> Picture:
    check_size(*image.size, max_pixels)
    filename = getattr(image, "filename", None)
    name = Path(filename).name if isinstance(filename, str) and filename else None
    with refusing("the PIL image", max_pixels):  # one opened lazily by the caller decodes only now
        density = file_density(image)
        image.load()
        turned, info, notes = settled(image, density)
        return _finish(turned, info, name, None, notes, None)


def _from_array(array: NDArray[Any], max_pixels: int) -> Picture:
    if array.dtype != np.uint8:
        raise PictureError(f"the array's dtype is {array.dtype}; give uint8 values in 0..255")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(
            f"the array's shape is {array.shape}; give (height, width), (height, width, 3) or (height, width, 4)"
        )
    check_size(array.shape[1], array.shape[0], max_pixels)
    return _finish(Image.fromarray(np.ascontiguousarray(array)), {}, None, None, (), None)


def _finish(
    image: Image.Image,
    info: Mapping[Any, Any],
    name: str | None,
    kind: str | None,
    notes: tuple[str, ...],
    digest: str | None,
) -> Picture:
    """Flatten, settle colours, and build the Picture; `digest` None means: of the result itself."""
    profile = info.get("icc_profile")
    flatten, how = flattener(image)
    pixels, alpha = np.empty((image.height, image.width, 3), np.uint8), None
    for top, strip in strips(image):
        flat, clear = flatten(strip)
        if top == 0:
            convert, icc_profile, why = settle(flat.mode, profile if isinstance(profile, bytes) and profile else None)
        part = slice(top, top + strip.height)
        pixels[part] = np.asarray(convert(flat))
        if clear is not None:
            alpha = np.empty(pixels.shape[:2], np.uint8) if alpha is None else alpha
            alpha[part] = clear
    if alpha is not None and alpha.max() < SEEN:
        why += ("nothing of the picture can be seen: it is transparent everywhere",)
    if digest is None:
        digest = _digest(pixels, alpha, icc_profile)
    alpha = None if alpha is None else _frozen(alpha)
    return Picture(_frozen(pixels), alpha, icc_profile, digest, name, kind, notes + how + why, info_density(info))


def _digest(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, profile: bytes | None) -> str:
    mode = "RGB" if alpha is None else "RGBA"
    digest = hashlib.sha256(f"{mode} {pixels.shape[1]}x{pixels.shape[0]} ".encode())
    for part in (pixels.data, b"" if alpha is None else alpha.data, profile or b""):
        digest.update(part)
    return digest.hexdigest()
