"""Pictures that pocket does not know are told: the inversion finds far more noise in them than in its own scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import toy
from wordbrush import Editor, EditResult
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.result import UNKNOWN_FROM, USUAL_NOISE
from wordbrush.settings import Settings

BENCH = [item.picture for item in load_truth(default_bench(), "dev", limit=1)]
WARNING = "the model does not know such pictures"


def natural(slope: float, seed: int) -> NDArray[np.uint8]:
    """Coloured noise whose amplitude falls as frequency ** -slope, as that of photographs does (Field 1987: near 1)."""
    draw = np.random.default_rng(seed).standard_normal((128, 128, 3))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    frequency[0, 0] = 1 / 128
    field = np.fft.ifft2(np.fft.fft2(draw, axes=(0, 1)) / frequency[..., None] ** slope, axes=(0, 1)).real
    field += field[..., :1]  # the channels of a photograph go together
    levels: NDArray[np.uint8] = np.clip(128 + 45 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8)
    return levels


@pytest.fixture(scope="module")
def pocket() -> Editor:
    return Editor.from_pretrained("pocket", device="cpu")


def edit(editor: Editor, picture: NDArray[np.uint8]) -> EditResult:
    half = np.repeat([[0], [255]], picture.shape[0] // 2, axis=0) * np.ones((1, picture.shape[1]))
    result: EditResult = editor.edit(picture, "a cat on grass", "a dog on grass", mask=half.astype(np.uint8))
    return result


@pytest.mark.parametrize("slope", [0.7, 1.0, 1.3])
def test_noise_like_nature_raises_the_warning(pocket: Editor, slope: float) -> None:
    report = edit(pocket, natural(slope, seed=7)).report
    assert report.noise is not None
    assert report.noise > 1.55 * pocket.model.card[USUAL_NOISE]
    assert [text for text in report.warnings if text.startswith(WARNING)]
    assert report.as_dict()["noise"] == report.noise


@pytest.mark.parametrize("number", range(len(BENCH)))
def test_scenes_like_those_it_was_taught_do_not(pocket: Editor, number: int) -> None:
    report = edit(pocket, BENCH[number]).report
    assert report.noise is not None
    assert 0.8 < report.noise / pocket.model.card[USUAL_NOISE] < 1.25 < UNKNOWN_FROM
    assert not [text for text in report.warnings if text.startswith(WARNING)]


def test_a_model_whose_card_says_nothing_of_it_never_warns_and_a_guided_inversion_tells_nothing() -> None:
    """The toy's exact inversion is known: it scales z0 as the spread of the data grows, S_r / S_0."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    session = toy.editor().open(picture)
    plain = session.edit("dark left", "light left", steps=500, inversion_stride=1)
    top = session.levels(Settings(steps=500))[-1]
    alpha, sigma = float(top.alpha), float(top.sigma)
    size = float(session.latent().square().mean().sqrt())
    expected = size * (np.hypot(alpha * toy.SPREAD, sigma) / toy.SPREAD - alpha) / sigma
    assert plain.report.noise == pytest.approx(expected, rel=0.02)
    assert plain.report.warnings == ()
    guided = toy.editor().edit(picture, "dark left", "light left", inversion_guidance=2.0)
    assert guided.report.noise is None


def test_the_card_of_the_shipped_model_tells_its_usual_noise(pocket: Editor) -> None:
    card = Path(__file__).parents[2] / "src" / "wordbrush" / "models" / "pocket" / "wordbrush.json"
    assert json.loads(card.read_text())[USUAL_NOISE] == pocket.model.card[USUAL_NOISE]
