"""Writing the soft map."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wordbrush.files import write_atomic
from wordbrush.record.provenance import save_image

__all__ = ["save_contrast"]


def save_contrast(contrast: NDArray[Any], path: str, *, force: bool) -> None:
    """Write the soft map at the picture's size: `.npy` as float32, a picture as grey, white = 1.

    Args:
        contrast: (height, width) in [0, 1].
        path: where to.
        force: overwrite.

    Raises:
        OutputError: the file exists and `force` is off, or cannot be written.
    """
    if Path(path).suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(contrast, dtype=np.float32), allow_pickle=False)
        write_atomic(path, buffer.getvalue(), force=force)
        return
    grey = Image.fromarray(np.rint(np.clip(contrast, 0, 1) * 255).astype(np.uint8))
    save_image(grey, path, None, force=force)
