"""How far a decode of the region's box alone is from that of the whole latent, by halo and by what it normalises with.

The decoder's group norms take mean and variance over the whole picture, so a crop is another picture to them. Measured
are, for edits of the truth bench that stand in a corner of a picture of two by two scenes (a region of a twelfth):

- `crop`: the crop's own statistics
- `low`: the middle and the first block up on the whole latent, the rest on the crop
- `source`: statistics recorded from a decode of the latent of the picture before the edit
- `mixed`: those outside the box, those of the crop inside it
- `whole`: statistics of the whole decode itself, which only a whole decode knows; what is left is the halo's

Figures are differences to the whole decode in levels of 255 where the mask is not 0: the largest, the mean, the largest
mean of an edit (its change of tone), and the share of values that differ by more than 2. Cost is the share of the
latent that is decoded.

    python -m benchmarks.box_decode [--model FOLDER] [--limit 8] [--halo 1 2 4] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordbrush import Editor
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.models.codec import AutoencoderCodec

Box = tuple[int, int, int, int]
"""Rows from and to, columns from and to, in latent cells."""
Norm = Callable[[nn.GroupNorm, Tensor], tuple[Tensor, Tensor]]
"""Mean and variance of an input (1, channel, height, width), each (group,)."""


def own(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the statistics of the input itself."""
    rows = x.reshape(norm.num_groups, -1)
    return rows.mean(-1), rows.var(-1, unbiased=False)


class Decoder:
    """A decoder whose group norms take their statistics from where they are told."""

    def __init__(self, autoencoder: Any) -> None:
        self.autoencoder, self.net = autoencoder, autoencoder.decoder
        self.norms = [module for module in self.net.modules() if isinstance(module, nn.GroupNorm)]

    def low(self, latent: Tensor, blocks: int) -> Tensor:
        """Return the features after so many blocks up."""
        before = getattr(self.autoencoder, "post_quant_conv", None)
        x: Tensor = self.net.mid_block(self.net.conv_in(latent if before is None else before(latent)), None)
        for block in self.net.up_blocks[:blocks]:
            x = block(x, None)
        return x

    def high(self, x: Tensor, blocks: int) -> Tensor:
        """Return pixels (3, height, width) in 0 ... 255 from features after so many blocks up."""
        for block in self.net.up_blocks[blocks:]:
            x = block(x, None)
        pixels: Tensor = self.net.conv_out(self.net.conv_act(self.net.conv_norm_out(x)))[0]
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round()

    def whole(self, latent: Tensor) -> Tensor:
        """Decode a latent (1, channel, height, width)."""
        return self.high(self.low(latent, 0), 0)

    @contextmanager
    def normed(self, norm: Norm) -> Iterator[None]:
        """Take statistics from `norm` inside the block."""

        def forward(module: nn.GroupNorm, x: Tensor) -> Tensor:
            mean, variance = (v.repeat_interleave(x.shape[1] // module.num_groups) for v in norm(module, x))
            scale = module.weight / (variance + module.eps).sqrt()
            return x * scale[:, None, None] + (module.bias - mean * scale)[:, None, None]

        for module in self.norms:
            module.forward = partial(forward, module)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in self.norms:
                del module.forward


def mixed(seen: dict[nn.GroupNorm, Tensor], height: int, crop: Box, core: Box) -> Norm:
    """Return statistics of the inputs that were seen outside the core, and of the crop's inside it."""

    def norm(module: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
        before, groups = seen[module], module.num_groups
        side = before.shape[2] // height
        a, b, c, d = (side * edge for edge in core)
        inner = x[..., a - crop[0] * side : b - crop[0] * side, c - crop[2] * side : d - crop[2] * side]
        parts = ((1, before), (-1, before[..., a:b, c:d]), (1, inner))
        rows = [(sign, part.reshape(groups, -1).double()) for sign, part in parts]
        count = before.numel() // groups
        mean = torch.stack([sign * row.sum(-1) for sign, row in rows]).sum(0) / count
        square = torch.stack([sign * row.square().sum(-1) for sign, row in rows]).sum(0) / count
        return mean.float(), (square - mean**2).float()

    return norm


def around(inside: Tensor, factor: int, halo: int) -> Box:
    """Return the box of a mask (height, width) in latent cells, so many cells larger on each side."""
    edges: list[int] = []
    for axis in (1, 0):
        where = inside.any(dim=axis).nonzero().flatten()
        first, last = int(where[0]) // factor, int(where[-1]) // factor + 1
        edges += [max(0, first - halo), min(inside.shape[1 - axis] // factor, last + halo)]
    return edges[0], edges[1], edges[2], edges[3]


def ways(decoder: Decoder, source: Tensor, latent: Tensor, box: Callable[[int], Box], halo: int) -> dict[str, Tensor]:
    """Decode the box in every way."""
    (a, b, c, d), height = box(halo), latent.shape[2]
    crop = latent[:, :, a:b, c:d]
    found = {"crop": decoder.whole(crop)}
    features = decoder.low(latent, 1)
    side = features.shape[2] // height
    found["low"] = decoder.high(features[:, :, a * side : b * side, c * side : d * side], 1)
    seen: dict[str, dict[nn.GroupNorm, Tensor]] = {"source": {}, "whole": {}}
    for name, given in (("source", source), ("whole", latent)):
        with decoder.normed(partial(_first, seen[name])):
            decoder.whole(given)
            found[name] = decoder.whole(crop)
    with decoder.normed(mixed(seen["source"], height, (a, b, c, d), box(max(0, halo - 2)))):
        found["mixed"] = decoder.whole(crop)
    return found


def _first(seen: dict[nn.GroupNorm, Tensor], module: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the statistics of the first input that a norm was given."""
    return own(module, seen.setdefault(module, x))


def edited(editor: Editor, limit: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield latents of two by two scenes before and after an edit of the first, and where it is, (height, width)."""
    captured: list[Tensor] = []
    codec, others = editor.driver.codec, list[Tensor]()
    decode = codec.decode
    codec.decode = lambda latents: decode(captured.append(latents) or latents)  # type: ignore[method-assign,func-returns-value]
    for item in load_truth(default_bench(), "dev", ("object", "colour", "removal"), limit):
        reference, query = item.texts["captions"]
        session = editor.open(item.picture)
        mask = torch.from_numpy(session.edit(query, reference).mask.values > 0)
        others.append(session.latent())
        if len(others) > 3 and mask.any():
            before, *rest = others[-1], *others[-4:-1]
            inside = torch.zeros(2 * mask.shape[0], 2 * mask.shape[1], dtype=torch.bool)
            inside[: mask.shape[0], : mask.shape[1]] = mask
            yield _square(before, rest), _square(captured[-1], rest), inside


def _square(first: Tensor, rest: list[Tensor]) -> Tensor:
    rows = torch.cat([first, rest[0]], 3), torch.cat([rest[1], rest[2]], 3)
    return torch.cat(rows, 2)


def measure(editor: Editor, limit: int, halos: list[int]) -> list[dict[str, Any]]:
    """Return a row for every halo and way."""
    codec = editor.model.codec
    assert isinstance(codec, AutoencoderCodec)  # noqa: S101 - of the types: pocket's is one
    decoder, factor, found = Decoder(codec.autoencoder), codec.factor, dict[tuple[int, str], list[list[float]]]()
    for source, latent, inside in edited(editor, limit):
        source, latent = (codec_input(codec, value) for value in (source, latent))
        wanted = decoder.whole(latent)[:, inside]
        for halo in halos:
            a, b, c, d = around(inside, factor, halo)
            cost = (b - a) * (d - c) / latent[0, 0].numel()
            made = ways(decoder, source, latent, partial(around, inside, factor), halo)
            for name, pixels in made.items():
                laid = torch.zeros(3, *inside.shape)
                laid[:, a * factor : b * factor, c * factor : d * factor] = pixels
                off = laid[:, inside] - wanted
                figures = [off.abs().max(), off.abs().mean(), off.mean().abs(), (off.abs() > 2).float().mean()]
                found.setdefault((halo, name), []).append([*map(float, figures), cost])
    rows = []
    for (halo, name), values in found.items():
        table = np.array(values)
        rows.append({
            "halo": halo, "statistics": name, "edits": len(table), "largest": table[:, 0].max(),
            "mean": table[:, 1].mean(), "tone": table[:, 2].max(), "above_2": table[:, 3].mean(),
            "cost": table[:, 4].mean(),
        })  # fmt: skip
    return rows


def codec_input(codec: AutoencoderCodec, latent: Tensor) -> Tensor:
    """Return a latent as the autoencoder itself takes it."""
    return latent / codec._scale + codec._shift


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--limit", type=int, default=8, help="edits of each of three kinds")
    parser.add_argument("--halo", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with torch.no_grad():
        rows = measure(Editor.from_pretrained(given.model, device="cpu"), given.limit, given.halo)
    print("| halo | statistics | largest | mean | tone | above 2 | cost |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['halo']} | {row['statistics']} | {row['largest']:.0f} | {row['mean']:.2f} | {row['tone']:.2f} | "
            f"{row['above_2']:.3f} | {row['cost']:.2f} |"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
