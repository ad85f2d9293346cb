"""Small drawn sprites behind the same interface as the fetched artwork, so tests need no download."""

from __future__ import annotations

from PIL import Image, ImageDraw

from training.pocket.words import COLOUR_HUES, NOUN_FILES, NOUNS


class DrawnArtwork:
    """A different ellipse or box for every noun, tinted by the colour word."""

    def sprite(self, noun: str, colour: str | None = None) -> Image.Image:
        """Return the sprite of a noun; raises `KeyError` for an unknown noun."""
        if noun not in NOUN_FILES:
            raise KeyError(noun)
        number = NOUNS.index(noun)
        hue = int(255 * COLOUR_HUES[colour]) if colour else (40 * number) % 256
        size = (64 - number % 20, 64 - 3 * (number % 7))
        fill = Image.new("HSV", (1, 1), (hue, 200, 200)).convert("RGB").getpixel((0, 0))
        picture = Image.new("RGBA", size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(picture)
        draw = pen.ellipse if number % 2 else pen.rectangle
        draw((0, 0, size[0] - 1, size[1] - 1), fill=fill)
        return picture
