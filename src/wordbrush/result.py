"""What goes into an edit and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.picture.fit import FitPlan
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import Provenance, save_image
from wordbrush.region.mask import Mask
from wordbrush.settings import Settings

if TYPE_CHECKING:
    from wordbrush.region.threshold import Contrast
    from wordbrush.report import Report

__all__ = ["EditRequest", "EditResult", "MaskLike", "Queries", "as_mask", "requests_of"]

Queries = list[str] | tuple[str, ...]
MaskLike = Mask | Image.Image | NDArray[Any] | str | Path | bytes


def as_mask(value: MaskLike) -> Mask:
    """Take a mask as it comes - a Mask, a picture, an array, a file - at the 8 bits that a record keeps.

    Raises:
        MaskError: it cannot be read as a mask.
    """
    if isinstance(value, Mask):
        return value.rounded()
    if isinstance(value, Image.Image):
        return Mask.from_image(value).rounded()
    if isinstance(value, np.ndarray):
        return Mask.from_array(value).rounded()
    return Mask.open(value).rounded()


@dataclass(frozen=True, eq=False, kw_only=True)
class EditRequest:
    """One edit of one picture.

    Attributes:
        picture: anything `Picture.open` takes.
        query: what the picture should show.
        reference: what it shows now; may be empty.
        negative: what the decode is guided away from.
        seed: of the contrast's noises, unless the settings have a `contrast_seed` (and of the decode's, with eta
            above 0).
        mask: use this mask, any size; no contrast is computed.
        include: always edit here, too.
        exclude: never edit here; wins over the rest.
        settings: all switches; by default those of the call.
        check_inversion: measure the reconstruction error, at the cost of a decode without guidance.
    """

    picture: Any
    query: str
    reference: str = ""
    negative: str = ""
    seed: int = 0
    mask: MaskLike | None = None
    include: MaskLike | None = None
    exclude: MaskLike | None = None
    settings: Settings | None = None
    check_inversion: bool = False


def requests_of(
    picture: Any,
    query: str | Queries,
    reference: str,
    negative: str,
    seed: int | Sequence[int],
    mask: MaskLike | None,
    include: MaskLike | None,
    exclude: MaskLike | None,
    settings: Settings,
    check_inversion: bool,
) -> list[EditRequest]:
    """List the edits of every query with every seed, queries first; masks are read once."""
    masks = {
        name: None if value is None else as_mask(value)
        for name, value in (("mask", mask), ("include", include), ("exclude", exclude))
    }
    queries = [query] if isinstance(query, str) else list(query)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    return [
        EditRequest(
            picture=picture,
            query=text,
            reference=reference,
            negative=negative,
            seed=number,
            settings=settings,
            check_inversion=check_inversion,
            **masks,
        )
        for text in queries
        for number in seeds
    ]


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

        return make_panel(self.picture.srgb, self.contrast, self.mask, np.asarray(self.image.convert("RGB")), tile=tile)

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
