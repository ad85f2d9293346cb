"""Prepare pictures for a network: resize, crop, normalise. Pillow, numpy and torch only.

The result is that of the image processors of transformers (Pillow backend) or, with `rounding="round"`, of
torchvision's Resize and CenterCrop on Pillow pictures, without needing torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from wordbrush.errors import InputError, ModelError

__all__ = ["CLIP_MEAN", "CLIP_STD", "FLEXIT_CLASSIFIER", "FLEXIT_SQUARE", "HALF", "IMAGENET_MEAN", "IMAGENET_STD"]
__all__ += ["Preparation", "Triple", "batches"]

Triple = tuple[float, float, float]
Filter = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

IMAGENET_MEAN: Final[Triple] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Triple] = (0.229, 0.224, 0.225)
CLIP_MEAN: Final[Triple] = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final[Triple] = (0.26862954, 0.26130258, 0.27577711)
HALF: Final[Triple] = (0.5, 0.5, 0.5)
"""Mean and deviation that bring [0, 1] to [-1, 1]."""

_FILTERS: Final[tuple[Filter, ...]] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's order


@dataclass(frozen=True)
class Preparation:
    """Resize, centre crop, scale to [0, 1], normalise.

    Attributes:
        resize: new length of the shorter side, or (height, width), or None to leave the size.
        crop: (height, width) of the centre crop, or None.
        filter: of the resampling.
        mean: per channel, in [0, 1].
        std: per channel.
        rounding: of the crop's offset where it is not whole: `floor` as transformers, `round` as torchvision.
        antialias: with it 8-bit pictures are resampled by Pillow. Without it float pictures are by torch (bilinear
            only), as older torchvision does with tensors; published structure distances come from that.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    filter: Filter = "bilinear"
    mean: Triple = HALF
    std: Triple = HALF
    rounding: Literal["floor", "round"] = "floor"
    antialias: bool = True

    def __post_init__(self) -> None:
        """Refuse a filter that is not defined without antialiasing."""
        if not self.antialias and self.filter != "bilinear":
            raise InputError(f"resampling by {self.filter} without antialiasing is not defined: use bilinear")

    def __call__(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """Return one picture as the network's input.

        Args:
            picture: (height, width, RGB), 0 to 255.

        Returns:
            (channel, height, width), float32.

        Raises:
            InputError: it is no such picture, or smaller than the crop.
        """
        size = self._size(picture)
        if self.antialias:
            pixels = _tensor(self._resampled(picture, size))
        else:
            pixels = functional.interpolate(_tensor(picture)[None], size, mode="bilinear", align_corners=False)[0]
        top, left, height, width = self._window(size)
        pixels = pixels[:, top : top + height, left : left + width]
        mean, std = (torch.tensor(value, dtype=torch.float32)[:, None, None] for value in (self.mean, self.std))
        return (pixels - mean) / std

    def pixels(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the resized and cropped picture in 8 bits, (height, width, RGB): for a network with its own resizing.

        Raises:
            InputError: as in a call, or this preparation does not work in 8 bits (no antialiasing).
        """
        if not self.antialias:
            raise InputError("without antialiasing pictures are resized as floats: there is no 8-bit picture to return")
        size = self._size(picture)
        top, left, height, width = self._window(size)
        return self._resampled(picture, size)[top : top + height, left : left + width]

    def _resampled(self, picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        if size == picture.shape[:2]:
            return picture
        order = Image.Resampling[self.filter.upper()]
        return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), order))

    def _size(self, picture: NDArray[np.uint8]) -> tuple[int, int]:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise InputError(f"a picture of {picture.dtype} and shape {picture.shape}: give uint8 (height, width, 3)")
        height, width = picture.shape[:2]
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        short = min(height, width)
        return self.resize * height // short, self.resize * width // short

    def _window(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) of the crop."""
        if self.crop is None:
            return 0, 0, *size
        spare = size[0] - self.crop[0], size[1] - self.crop[1]
        if min(spare) < 0:
            raise InputError(f"a picture of {size} (height, width) is smaller than the crop of {self.crop}")
        top, left = (side // 2 if self.rounding == "floor" else round(side / 2) for side in spare)
        return top, left, *self.crop

    @property
    def resize_text(self) -> str:
        """The resizing and cropping in words, for reports."""
        if self.resize is None:
            return "none"
        target = f"shorter side to {self.resize}" if isinstance(self.resize, int) else _size_text(self.resize)
        return f"{target}, {self.filter}, " + ("Pillow with antialiasing" if self.antialias else "no antialiasing")

    @property
    def text(self) -> str:
        """The whole preparation in words, for reports."""
        steps = [f"resize {self.resize_text}"] if self.resize else []
        steps += [f"centre crop {_size_text(self.crop)} ({self.rounding})"] if self.crop else []
        return "; ".join([*steps, f"mean {_numbers(self.mean)}", f"std {_numbers(self.std)}"])

    @classmethod
    def from_folder(cls, folder: Path) -> Preparation | None:
        """Read the preparation of a transformers checkpoint; None where the folder has none.

        Raises:
            ModelError: the file cannot be read, or asks for what is not supported here.
        """
        for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
            path = folder / name
            if not path.is_file():
                continue
            try:
                table = json.loads(path.read_text(encoding="utf-8"))
                table = table if key is None else table.get(key)
                if table is not None:
                    return _from_table(table)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(
                    f"{path}: the picture processing it asks for is not understood ({type(error).__name__}: {error})"
                ) from error
        return None


FLEXIT_SQUARE: Final = Preparation(256, (256, 256), rounding="round")
"""FlexIT's LPIPS: shorter side to 256, centre crop, [-1, 1]."""

FLEXIT_CLASSIFIER: Final = Preparation(384, (384, 384), mean=IMAGENET_MEAN, std=IMAGENET_STD, rounding="round")
"""FlexIT's classifier: shorter side to 384, centre crop."""


def _tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    """Return (channel, height, width) in [0, 1]."""
    return torch.from_numpy(np.array(picture.transpose(2, 0, 1), dtype=np.float32)) / 255


def _numbers(values: Triple) -> str:
    return " ".join(f"{value:g}" for value in values)


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _from_table(table: dict[str, Any]) -> Preparation:
    """Return the preparation that an image processor's settings describe, as transformers reads them."""
    kind = str(table.get("image_processor_type", table.get("feature_extractor_type", "")))
    size = table["size"] if table.get("do_resize", True) else None
    resize: int | tuple[int, int] | None
    if isinstance(size, dict):
        if unknown := set(size) - {"shortest_edge", "height", "width"}:
            raise ValueError(f"a size by {', '.join(sorted(unknown))}")
        resize = int(size["shortest_edge"]) if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
    else:  # a bare number is the shorter side for CLIP, and a square for the others
        resize = size if size is None or kind.startswith("CLIP") else (int(size), int(size))
    crop = table.get("crop_size") if table.get("do_center_crop", "crop_size" in table) else None
    if crop is not None:
        crop = (int(crop["height"]), int(crop["width"])) if isinstance(crop, dict) else (int(crop), int(crop))
    if not table.get("do_rescale", True) or abs(float(table.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-6:
        raise ValueError("values that are not scaled to [0, 1]")
    normalise = table.get("do_normalize", True)
    mean = _triple(table["image_mean"]) if normalise else (0.0, 0.0, 0.0)
    std = _triple(table["image_std"]) if normalise else (1.0, 1.0, 1.0)
    return Preparation(resize, crop, _FILTERS[int(table.get("resample", 2))], mean, std)


def _triple(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def batches(pictures: Iterable[NDArray[np.uint8]], prepare: Preparation, limit: int) -> Iterator[torch.Tensor]:
    """Yield prepared pictures in order, stacked to (picture, channel, height, width) while sizes agree.

    Args:
        pictures: (height, width, RGB) each.
        prepare: the preparation of each picture.
        limit: the most pictures in one stack.
    """
    held: list[torch.Tensor] = []
    for picture in pictures:
        tensor = prepare(picture)
        if held and (len(held) == limit or held[0].shape != tensor.shape):
            yield torch.stack(held)
            held = []
        held.append(tensor)
    if held:
        yield torch.stack(held)
