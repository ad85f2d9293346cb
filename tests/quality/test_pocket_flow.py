"""What the shipped flow model reaches on scenes it never saw, against the known truth: masks, inversion, exactness.

The floors are what the shipped checkpoint honestly reaches, less a margin for other hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest

from tests.support import heldout
from wordbrush.editor import Editor

FLOORS = {"object": 0.72, "ground": 0.88}
"""Least mean mask IoU of the default preset over the first scenes of a kind."""
SCENES = 8
WORST_RECONSTRUCTION = 0.12
"""Largest root mean square, in latent units, after the default inversion and back; latents have a spread of 1."""


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.from_pretrained("pocket-flow", device="cpu")


@pytest.mark.parametrize("kind", list(FLOORS))
def test_mask_overlaps_the_true_region(kind: str, editor: Editor, measured: Callable[[str], None]) -> None:
    scores = []
    for item in islice(heldout.items(kind), SCENES):
        mask = editor.open(item.picture).mask(item.query, item.reference)
        scores.append(heldout.iou(mask.values >= 0.5, item.region))
    measured(f"pocket-flow: {kind:7s} mask IoU, {len(scores)} scenes: {np.mean(scores):.3f}")
    assert float(np.mean(scores)) >= FLOORS[kind]


def test_the_inversion_leads_back(editor: Editor, measured: Callable[[str], None]) -> None:
    errors = [editor.open(item.picture).reconstruction() for item in islice(heldout.items("object"), 4)]
    measured(f"pocket-flow: reconstruction RMS of the default, {len(errors)} scenes: {np.mean(errors):.4f}")
    assert float(np.mean(errors)) <= WORST_RECONSTRUCTION


def test_outside_the_mask_the_bytes_are_the_input_s(editor: Editor) -> None:
    item = next(heldout.items("ground"))
    result = editor.edit(item.picture, item.query, item.reference, steps=10)
    outside = result.mask.values == 0
    assert outside.mean() > 0.05
    np.testing.assert_array_equal(np.asarray(result.image)[outside], item.picture[outside])
