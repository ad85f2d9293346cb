"""What comes out of an edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.picture.fit import FitPlan
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import Provenance, save_image
from wordbrush.region.mask import Mask

if TYPE_CHECKING:
    from wordbrush.region.threshold import Contrast
    from wordbrush.report import Report

__all__ = ["EditResult"]

@dataclass(frozen=True, eq=False, kw_only=True)
class EditResult:
    """One edited picture.

    Attributes:
        image: at the picture's own size; where `mask` is 0 its pixels are the input's own.
        mask: what was edited and how the seam was blended, at the picture's size, [0, 1].
        cells: the same at latent cells, as the decode used it.
        contrast_map: the contrast, or None where the user gave the mask.
        picture: the input.
        provenance: how it was made.
        report: what it cost.
        fit: how the picture lay on the model's canvas.
    """

    image: Image.Image
    mask: Mask
    cells: Mask
    contrast_map: Contrast | None
    picture: Picture
    provenance: Provenance
    report: Report
    fit: FitPlan = field(repr=False)

    @property
    def contrast(self) -> NDArray[np.float32] | None:
        """The soft map (height, width) in [0, 1] at the picture's size, or None where the user gave the mask."""
        return None if self.contrast_map is None else self.contrast_map.on_picture(self.fit)

    def panel(self, *, tile: int = 256) -> Image.Image:
        """Return input | contrast | mask | result side by side."""
        from wordbrush.picture.panel import make_panel

        edited = np.asarray(self.image.convert("RGB"))
        return make_panel(self.picture.srgb, self.contrast, self.mask.values, edited, tile=tile)

    def save(
        self,
        path: str | Path,
        *,
        force: bool = False,
        strip_metadata: bool = False,
        include_prompt: bool = True,
    ) -> Path:
        """Write the picture with its provenance inside.

        Args:
            path: .png, .webp (both exact) or .jpg, .tif.
            force: overwrite.
            strip_metadata: write no provenance.
            include_prompt: write the texts into the record; without them it cannot be replayed.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        target = Path(path)
        record = None if strip_metadata else self.provenance
        save_image(self.image, target, record, force=force, include_prompt=include_prompt)
        return target
