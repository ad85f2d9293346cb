"""A UNet run on a box of its map: exact where the record is of the same call, and the network is left as it was."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import tiny
from wordbrush.speed import box_layers as layers
from wordbrush.speed.boxes import Box, Scale, box_of, boxes_of, scales_of, tiled_scales
from wordbrush.speed.records import Record, Standing, difference, keep
from wordbrush.speed.sparse import part_of
from wordbrush.speed.unet import halvings, recording, refusal, within

_THREE: dict[str, Any] = {
    "block_out_channels": (32, 32, 64),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
_SDXL: dict[str, Any] = {
    **_THREE,
    "transformer_layers_per_block": (1, 2, 2),
    "attention_head_dim": (2, 4, 4),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 16,
}
_KINDS = {
    "sd1": tiny.unet("sd1", **_THREE).double(),
    "sd2": tiny.unet("sd2", **{**_THREE, "attention_head_dim": (2, 4, 4)}).double(),
    "sdxl": tiny.unet("sd1", **_SDXL).double(),
}


def call(module: Any, x: Tensor, seed: int = 0) -> Tensor:
    """Run the network under texts that depend on the seed; float64."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(len(x), 7, module.config.cross_attention_dim, generator=generator, dtype=x.dtype)
    added = {"text_embeds": text[:, 0, :16], "time_ids": torch.full((len(x), 6), 32.0, dtype=x.dtype)}
    with torch.no_grad():
        output: Tensor = module(
            x, torch.full((len(x),), 500.0), encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False
        )[0]
    return output


def noise(height: int, width: int, rows: int = 1, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, tiny.CHANNELS, height, width, generator=generator, dtype=torch.float64)


def recorded(module: Any, x: Tensor, *boxes: Box) -> tuple[tuple[Scale, ...], Record]:
    """Return the scales of a box, or of several, and the record of a run on all of x."""
    size, times = (x.shape[2], x.shape[3]), halvings(module)
    scales = scales_of(boxes[0], size, times) if len(boxes) == 1 else tiled_scales(boxes, size, times)
    kept: Record = {}
    with recording(module, scales, kept):
        call(module, x)
    return scales, kept


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((16, 16), Box(0, 0, 16, 16)),  # all cells
        ((16, 20), Box(5, 7, 10, 12)),  # askew to every scale
        ((16, 16), Box(0, 9, 7, 16)),  # in a corner
        ((15, 18), Box(9, 2, 15, 5)),  # up to the end of a map whose side is odd
        ((16, 16), Box(7, 7, 8, 8)),  # one cell
    ],
)
def test_a_box_of_the_recorded_call_itself_is_the_dense_run(kind: str, size: tuple[int, int], box: Box) -> None:
    module, x = _KINDS[kind], noise(*size)
    scales, record = recorded(module, x, box)
    dense = call(module, x)
    with within(module, scales, Standing((record, 1.0))):
        output = call(module, x)
    assert torch.allclose(output, dense, atol=1e-5, rtol=0)  # statistics of norms are kept in float32


@pytest.mark.parametrize("kind", _KINDS)
def test_boxes_of_the_recorded_call_itself_are_the_dense_run(kind: str) -> None:
    module, x = _KINDS[kind], noise(16, 20)
    scales, record = recorded(module, x, Box(0, 4, 8, 8), Box(8, 0, 16, 4), Box(4, 16, 12, 20))
    dense = call(module, x)
    with within(module, scales, Standing((record, 1.0))):
        assert torch.allclose(call(module, x), dense, atol=1e-5)


def test_all_cells_need_no_record_of_the_same_input() -> None:
    module, x, other = _KINDS["sd1"], noise(16, 16), noise(16, 16, rows=2, seed=2)
    scales, record = recorded(module, x, Box(0, 0, 16, 16))
    with within(module, scales, Standing((record, 1.0))):
        output = call(module, other, seed=3)
    assert torch.allclose(output, call(module, other, seed=3), atol=1e-5, rtol=0)


def test_one_record_stands_for_the_outside_of_every_row_and_its_output_too() -> None:
    module, x, box = _KINDS["sd1"], noise(16, 16), Box(4, 4, 10, 10)
    scales, record = recorded(module, x, box)
    dense, changed = call(module, x), x.repeat(3, 1, 1, 1)
    box.cut(changed)[...] += noise(6, 6, rows=3, seed=4)
    with within(module, scales, Standing((record, 1.0))):
        output = call(module, changed)
    outside = torch.ones(16, 16, dtype=torch.bool)
    scales[0].boxes[0].cut(outside).fill_(value=False)
    assert torch.allclose(output[..., outside], dense[..., outside].expand(3, -1, -1), atol=1e-12)
    assert not torch.allclose(box.cut(output[0]), box.cut(output[1]), atol=1e-2)


def test_the_error_falls_with_the_halo() -> None:
    module, x, inner = _KINDS["sd2"], noise(24, 24), Box(10, 10, 14, 14)
    changed = x.clone()
    inner.cut(changed)[...] += noise(4, 4, seed=5)
    dense = call(module, changed)
    errors = []
    for halo in (0, 2, 4, 10):
        scales, record = recorded(module, x, inner.grown(halo, (24, 24)))
        with within(module, scales, Standing((record, 1.0))):
            errors.append(float(inner.cut(call(module, changed) - dense).norm() / inner.cut(dense).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.5 * errors[0] < 0.25, errors
    assert errors[-1] < 1e-5  # the box is the map


def test_records_are_kept_in_half_precision_and_are_small() -> None:
    module = tiny.unet("sd1", **_THREE)
    x = noise(16, 16).float()
    scales, record = recorded(module, x, Box(2, 2, 12, 12))
    norms = {name for name, part in module.named_modules() if isinstance(part, nn.GroupNorm)}
    assert {name for name, values in record.items() if values.dtype != torch.float16} == norms
    dense = call(module, x)
    with within(module, scales, Standing((record, 1.0))):
        assert float((call(module, x) - dense).norm() / dense.norm()) < 2e-3


def test_values_beyond_half_precision_are_kept_as_they_are() -> None:
    kept: Record = {}
    keep(kept, "large", torch.tensor([1e5]), each=False)
    assert kept["large"].item() == 1e5


@pytest.mark.parametrize("boxes", [(Box(4, 4, 10, 10),), (Box(0, 0, 8, 8), Box(8, 8, 16, 16))])
def test_a_record_corrected_by_a_whole_run_gives_that_run(boxes: tuple[Box, ...]) -> None:
    module, x, other = _KINDS["sd1"], noise(16, 16), noise(16, 16, rows=2, seed=2)
    scales, record = recorded(module, x, *boxes)
    whole, ours = call(module, other, seed=3), Record()
    with recording(module, scales, ours, each=True):
        call(module, other, seed=3)
    standing = Standing((record, 1.0))
    corrected = Standing((record, 1.0), (difference(ours, standing), 1.0))
    with within(module, scales, corrected):
        assert torch.allclose(call(module, other, seed=3), whole, atol=1e-5)
    with within(module, scales, standing):
        assert not torch.allclose(call(module, other, seed=3), whole, atol=1e-2)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    module, x = _KINDS["sd1"], noise(16, 16)
    before = call(module, x)
    scales, record = recorded(module, x, Box(4, 4, 9, 9))
    with pytest.raises(RuntimeError) if fails else torch.no_grad(), within(module, scales, Standing((record, 1.0))):
        call(module, x[:, :1] if fails else x)
    parts = list(module.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in parts)
    assert torch.equal(call(module, x), before)


def test_heavy_convolutions_give_the_same_as_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    for stride in (1, 2):
        part = nn.Conv2d(6, 5, 3, stride=stride, padding=1).double()
        x = torch.randn(2, 6, 8, 10, dtype=torch.float64)
        ring = layers.frame(x[:1], [Box(2, 2, 6, 8)], (1, 1))
        rows = partial(Standing(({"frame": ring}, 1.0)).of, "frame")
        forward, inside = layers.framed_conv(part, rows), Box(2, 2, 6, 8).cut(x)
        plain = forward(inside)
        monkeypatch.setattr(layers, "_HEAVY", 0)
        assert torch.allclose(forward(inside), plain, atol=1e-12)
        whole = part(x)[0]
        step = Box(2 // stride, 2 // stride, 6 // stride, 8 // stride)
        assert torch.allclose(plain[0], step.cut(whole), atol=1e-12)
        monkeypatch.undo()


def test_networks_that_cannot_run_on_a_box_are_refused_by_name() -> None:
    assert refusal(_KINDS["sdxl"]) == ""
    assert refusal(None) == "the network is not a UNet"
    odd = tiny.unet("sd1", down_block_types=("AttnDownBlock2D", "CrossAttnDownBlock2D"))
    assert refusal(odd) == "the UNet has a AttnDownBlock2D"


def test_boxes_are_even_where_the_map_is_halved_and_hardly_wider_than_the_region() -> None:
    region = torch.zeros(2, 1, 16, 16)
    assert box_of(region) is None
    region[0, 0, 3, 5], region[1, 0, 9, 6] = 0.1, 1.0
    box = box_of(region)
    assert box == Box(3, 5, 10, 7)
    fine, middle, coarse = scales_of(box, (16, 16), 2)
    assert (fine.boxes, fine.inner) == ((Box(2, 4, 10, 8),), None)
    assert (middle.inner, middle.boxes) == (Box(1, 2, 5, 4), (Box(0, 2, 6, 4),))
    assert (coarse.inner, coarse.boxes) == (Box(0, 1, 3, 2), (Box(0, 1, 3, 2),))
    assert box.grown(4, (16, 16)) == Box(0, 1, 14, 11)


def test_pieces_of_a_region_get_boxes_of_one_size_that_do_not_meet() -> None:
    region = torch.zeros(1, 1, 32, 48)
    region[..., 3:6, 5:9], region[..., 30, 46] = 1, 0.2
    assert boxes_of(region, 4) == (Box(0, 4, 8, 12), Box(24, 40, 32, 48))  # the second is as large, and in the map
    region[..., 9, 14] = 1  # its tile touches the first piece's corner
    assert boxes_of(region, 4) == (Box(0, 4, 12, 16), Box(20, 36, 32, 48))
    region[..., 16, 20] = 1  # a box of its own that meets no other
    assert boxes_of(region, 4) == (Box(0, 4, 12, 16), Box(16, 20, 28, 32), Box(20, 36, 32, 48))
    region[..., 16, 40] = 1  # one that meets the last: both are in one
    assert len(boxes_of(region, 4)) < 4
    assert boxes_of(torch.zeros(1, 1, 30, 48), 4) == ()


def test_far_apart_pieces_are_computed_as_boxes_and_near_ones_as_one() -> None:
    module, region = _KINDS["sd1"], torch.zeros(1, 1, 32, 32)
    region[..., 2:5, 2:5] = 1
    alone = part_of(module, region).share
    region[..., 27:30, 27:30] = 1
    assert part_of(module, region).share == 2 * 8 * 8 / 32**2
    region[..., 27:30, 27:30], region[..., 6:9, 2:5] = 0, 1
    assert alone < part_of(module, region).share < 2 * alone
