"""Operation counts against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tests.support import tiny, toy
from wordbrush.editor import Editor
from wordbrush.evaluation.flops import Costs, count_tflop, tflop, total

TERA = 1e12


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    convolution, linear = nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Linear(7, 11)
    x, rows = torch.zeros(1, 3, 16, 12), torch.zeros(13, 7)
    # Every output value sums 3 * 3 * 3 products; the output has 5 * 8 * 6 values.
    assert count_tflop(lambda: convolution(x)) * TERA == pytest.approx(2 * 27 * 5 * 8 * 6)
    assert count_tflop(lambda: linear(rows)) * TERA == pytest.approx(2 * 7 * 11 * 13)


def test_attention_counts_both_of_its_products() -> None:
    query, key = torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 9, 8)
    found = count_tflop(lambda: scaled_dot_product_attention(query, key, key))
    assert found * TERA == pytest.approx(2 * (2 * 4 * 6 * 9 * 8))


def test_costs_of_a_tiny_model_grow_with_the_picture() -> None:
    editor = Editor.from_pretrained(tiny.pipeline())
    small, large = (tflop(editor, (side, side), resolution=side) for side in (16, 32))
    assert min(small.evaluation, small.encode, small.decode, small.text) > 0.0
    # The tiny model's first convolution alone, 3 to 32 channels at 16 x 16, and many more behind it.
    assert small.encode * TERA > 2 * 27 * 32 * 16 * 16
    # Convolutions grow with the area, attention among cells with its square.
    assert 3.9 < large.encode / small.encode < 8
    assert 3.9 < large.decode / small.decode < 8
    assert 3.5 < large.evaluation / small.evaluation < 8
    assert large.text == small.text
    # Pictures are brought to the working size, so a larger picture costs no more.
    assert tflop(editor, (64, 64), resolution=16) == small


def test_a_model_without_networks_costs_nothing() -> None:
    assert tflop(toy.editor(), (32, 32)) == Costs(0.0, 0.0, 0.0, 0.0)


def test_totals_add_up() -> None:
    costs = Costs(evaluation=2.0, encode=3.0, decode=5.0, text=0.25)
    assert total(costs, 140) == 280.0 + 3.0 + 5.0
    assert total(costs, 10, encodes=0, decodes=2, texts=4) == 20.0 + 10.0 + 1.0
