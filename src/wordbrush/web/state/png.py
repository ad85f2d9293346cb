"""PNG for the page: pictures as files, and as data addresses inside the values of components."""

from __future__ import annotations

import base64
import io

from PIL import Image

__all__ = ["data_address", "png_of", "size_within"]

DATA_ADDRESS = "data:image/png;base64,"


def png_of(image: Image.Image) -> bytes:
    """Return the image as PNG, quickly."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def data_address(png: bytes) -> str:
    """Return an address that holds the file itself."""
    return DATA_ADDRESS + base64.b64encode(png).decode()


def size_within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return a size (width, height) of the same shape whose longest side is at most `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
