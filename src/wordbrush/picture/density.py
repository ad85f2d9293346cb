"""Print resolution: pixels per inch as files tell it, or the shape of a pixel alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from PIL import Image

__all__ = ["Density", "file_density", "info_density"]

_ORIENTATION, _X, _Y, _UNIT = 274, 282, 283, 296
_INCH, _CENTIMETRE = 2, 3


class Density(NamedTuple):
    """Pixels per inch; or, with unit "none", only how the two compare: (2, 1) are pixels twice as high as wide."""

    x: float
    y: float
    unit: Literal["inch", "none"] = "inch"

    @property
    def turned(self) -> Density:
        """That of the picture turned by a quarter."""
        return self._replace(x=self.y, y=self.x)

    def as_info(self) -> dict[str | tuple[int, int], Any]:
        """Return it under the name that Pillow has for it: `dpi` or `aspect`."""
        return {"dpi" if self.unit == "inch" else "aspect": (self.x, self.y)}


def _density(x: Any, y: Any, unit: Literal["inch", "none"] = "inch", factor: float = 1.0) -> Density | None:
    """Return a density whose numbers make sense; metres and fractions leave 299.9994 for 300, which is mended."""
    try:
        values = [float(value) * factor for value in (x, y)]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not all(math.isfinite(value) and 1 <= value <= 60_000 for value in values):
        return None
    if unit == "none" and values[0] == values[1]:
        return None
    x, y = (float(round(value)) if abs(value - round(value)) < 0.02 else value for value in values)
    return Density(x, y, unit)


def info_density(info: Mapping[Any, Any]) -> Density | None:
    """Read `dpi` or `aspect` of the `info` of a Pillow image."""
    for name, unit in (("dpi", "inch"), ("aspect", "none")):
        value = info.get(name)
        if isinstance(value, tuple) and len(value) == 2:
            return _density(*value, "inch" if unit == "inch" else "none")
    return None


def file_density(image: Image.Image) -> Density | None:
    """Read the density of a picture as opened, not yet decoded; where its format says nothing, EXIF is asked."""
    info = image.info
    if image.format == "JPEG":  # Pillow makes up 72 where there is none
        unit, values = info.get("jfif_unit"), info.get("jfif_density")
        if isinstance(values, tuple) and len(values) == 2 and unit in (0, 1, 2):
            found = _density(*values, "none" if unit == 0 else "inch", 2.54 if unit == 2 else 1.0)
            if found is not None:
                return found
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        found = _tagged(tags)
        return found.turned if found and tags.get(_ORIENTATION) in (5, 6, 7, 8) else found  # Pillow turns it itself
    elif (found := info_density(info)) is not None or image.format in ("PNG", "BMP", None):
        return found
    try:
        return _tagged(image.getexif())
    except Exception:  # a broken side record must not lose the picture
        return None


def _tagged(tags: Mapping[int, Any]) -> Density | None:
    unit = tags.get(_UNIT, _INCH)
    if unit not in (_INCH, _CENTIMETRE, 1):
        return None
    return _density(tags.get(_X), tags.get(_Y), "none" if unit == 1 else "inch", 2.54 if unit == _CENTIMETRE else 1.0)
