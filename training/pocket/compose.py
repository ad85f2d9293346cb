"""Drawing of scenes on a device, thousands a second: the same pictures as `render`, up to resampling.

Sprites are turned and scaled by one bilinear look-up at twice the resolution and averaged down, where `render` lets
Pillow turn first and scale then; backdrops come from a bank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .atlas import ENTRIES, Atlas
from .render import FAINT, SIZE
from .table import SceneTable
from .truth_head import CELL
from .words import NOUNS

_FINE = 2


@dataclass(frozen=True)
class Drawn:
    """Pictures (batch, RGB, row, column) in [-1, 1], pixels of any object (batch, 1, row, column), class maps."""

    pictures: Tensor
    inside: Tensor
    classes: Tensor


class DeviceScenes:
    """Scenes of a table, drawn on one device from an atlas and a bank of backdrops."""

    def __init__(self, atlas: Atlas, bank: NDArray[np.uint8], table: SceneTable, device: torch.device) -> None:
        """Move everything to `device`."""
        sprites = torch.from_numpy(atlas.sprites).to(device).permute(0, 3, 1, 2).float() / 255.0
        self._sprites = torch.cat([sprites[:, :3] * sprites[:, 3:], sprites[:, 3:]], dim=1)
        self._sizes = torch.from_numpy(atlas.sizes).to(device).float()
        self._labels = torch.tensor([1 + NOUNS.index(noun) for noun, _ in ENTRIES], device=device)
        self._bank = torch.from_numpy(bank).to(device)
        self._columns = {name: torch.from_numpy(column).to(device) for name, column in vars(table).items()}
        self.device, self._count, self.captions = device, len(table), table.tokens.shape[1]
        line = torch.arange(SIZE, device=device) + 0.5
        self._y, self._x = torch.meshgrid(line, line, indexing="ij")
        fine = (torch.arange(SIZE * _FINE, device=device) + 0.5) / _FINE
        self._fine_y, self._fine_x = torch.meshgrid(fine, fine, indexing="ij")

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self._count

    def tokens(self, rows: Tensor, caption: Tensor) -> Tensor:
        """Return token numbers (batch, position) of the chosen captions."""
        return self._columns["tokens"][rows, caption].long()

    def draw(self, rows: Tensor) -> Drawn:
        """Draw the scenes of the rows (batch,)."""
        columns = {name: column[rows] for name, column in self._columns.items() if name != "tokens"}
        canvas = self._bank[columns["backdrops"]].permute(0, 3, 1, 2).float() / 255.0
        things = [self._place(columns, slot) for slot in range(columns["sprites"].shape[1])]
        for _, shade in things:
            canvas = canvas * (1.0 - shade[:, None])
        masks: list[Tensor] = []
        for frame, _ in things:
            alpha = frame[:, 3:]
            canvas = canvas * (1.0 - alpha) + frame[:, :3]
            masks = [mask * (alpha < 1.0) for mask in masks]
            masks.append((alpha > 0.0).float())
        silhouettes = torch.cat(masks, dim=1)
        bytes_ = (canvas.clamp(0.0, 1.0) * 255.0).round()
        return Drawn(bytes_ / 127.5 - 1.0, silhouettes.amax(1, keepdim=True), self._classes(columns, silhouettes))

    def _classes(self, columns: dict[str, Tensor], silhouettes: Tensor) -> Tensor:
        shares = functional.avg_pool2d(silhouettes, CELL)
        shares = torch.cat([1.0 - shares.sum(1, keepdim=True), shares], dim=1)
        labels = torch.cat([torch.zeros_like(columns["sprites"][:, :1]), self._labels[columns["sprites"]]], dim=1)
        chosen = shares.argmax(1)
        return labels.gather(1, chosen.flatten(1)).view(chosen.shape)

    def _place(self, columns: dict[str, Tensor], slot: int) -> tuple[Tensor, Tensor]:
        """Return one object's premultiplied RGBA (batch, 4, row, column) and its shadow (batch, row, column)."""
        sprite, there = columns["sprites"][:, slot].clamp(min=0), columns["sprites"][:, slot] >= 0
        x, y, size, tilt = columns["places"][:, slot].unbind(1)
        sizes = self._sizes[sprite]
        width, height = sizes.unbind(1)
        scale = torch.where(there, size * SIZE / sizes.amax(1), 1.0)
        cos, sin = tilt.deg2rad().cos(), tilt.deg2rad().sin()
        turned_wide = _grown(width, width * cos.abs() + height * sin.abs())
        turned_high = _grown(height, width * sin.abs() + height * cos.abs())
        wide, high = (turned_wide * scale).round().clamp(min=1), (turned_high * scale).round().clamp(min=1)
        middle_x = (x * SIZE - wide / 2).round() + wide / 2
        middle_y = (y * SIZE).round() - high / 2
        cos, sin = cos[:, None, None], sin[:, None, None]
        across = (self._fine_x - middle_x[:, None, None]) * (turned_wide / wide)[:, None, None]
        down = (self._fine_y - middle_y[:, None, None]) * (turned_high / high)[:, None, None]
        u, v = across * cos - down * sin, across * sin + down * cos  # Pillow turns anticlockwise, rows count downwards
        u = torch.where(columns["flips"][:, slot, None, None], -u, u)
        spot = torch.stack([u + width[:, None, None] / 2, v + height[:, None, None] / 2], dim=-1)
        grid = 2 * spot / self._sprites.shape[-1] - 1
        frame = functional.grid_sample(self._sprites[sprite], grid, mode="bilinear", align_corners=False)
        frame = functional.avg_pool2d(frame, _FINE)
        frame = frame * (frame[:, 3:] >= FAINT / 255.0) * there[:, None, None, None]
        frame[:, 3:] = torch.where(frame[:, 3:] > 254.5 / 255.0, 1.0, frame[:, 3:])  # opaque, but for rounding
        return frame, self._shadow(wide, y * SIZE, x, columns["light"]) * there[:, None, None]

    def _shadow(self, width: Tensor, foot: Tensor, x: Tensor, light: Tensor) -> Tensor:
        width, foot, x, light = (value[:, None, None] for value in (width, foot, x, light))
        across = (self._x - x * SIZE - 0.12 * light * width) / (0.52 * width)
        down = (self._y - foot + 0.02 * SIZE) / (0.11 * width + 2.0)
        inside = (1.0 - across**2 - down**2).clamp(min=0.0)
        return torch.where(inside > 0.04, 0.5 * inside, 0.0)


def _grown(side: Tensor, turned: Tensor) -> Tensor:
    """Return the side, in whole pixels, of the frame in which Pillow turns a sprite: the turned box and a little."""
    return ((side + turned) / 2).ceil() - ((side - turned) / 2).floor()
