"""The whole edit on real diffusers classes with small random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support import tiny
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.engine.running import Item
from wordbrush.models import load_model
from wordbrush.region.mask import Mask
from wordbrush.request import EditRequest
from wordbrush.result import EditResult
from wordbrush.settings import Settings

if TYPE_CHECKING:
    from wordbrush.models.model import Model

QUICK = Settings(steps=6, maps=3)
KINDS: list[tiny.Kind] = ["sd1", "sd2"]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {kind: load_model(tiny.pipeline(kind)) for kind in KINDS}


def picture(seed: int, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def edit(editor: Editor, source: Any, query: str, reference: str, **keywords: Any) -> EditResult:
    result: EditResult = editor.edit(source, query, reference, **keywords)
    return result


def latents_of(driver: Driver, requests: list[EditRequest]) -> list[torch.Tensor]:
    """Edited latents of several requests, run together, with a random soft mask each."""
    editor, items = Editor(driver.model), []
    editor.driver = driver
    for request in requests:
        session = editor.open(request.picture)
        noise = np.random.default_rng(request.seed).random(session.latent_size[::-1], dtype=np.float32)
        masked = replace(request, mask=Mask.from_array(noise), settings=request.settings or QUICK)
        items.append(Item(session.program(masked), session.store))
    latents = [outcome.result().painted.latent for outcome in driver.run(items).outcomes]
    return [latent[0] for latent in latents if latent is not None]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_and_chunk_sizes_change_latents_by_less_than_1e_4(models: dict[str, Model], kind: str) -> None:
    """Half depth, little guidance: an untrained network does not pull latents together, so rounding only ever grows.

    `tests/quality` shows the same of the trained model at the defaults.
    """
    mild = replace(QUICK, guidance=1.5, ratio=0.5)
    requests = [
        EditRequest(picture=picture(i), query=query, reference="a cat", negative="red", settings=mild, seed=i)
        for i, query in enumerate(["a dog", "a horse on grass", ""])
    ]
    alone = [latents_of(Driver(models[kind], join=False), [r])[0] for r in requests]
    for limit in (1, 3, 8):
        together = latents_of(Driver(models[kind], batch_limit=limit, join=True), requests)
        assert len(together) == 3
        for one, other in zip(alone, together, strict=True):
            assert float((one - other).abs().max()) < 1e-4


UNLIKE = (
    Settings(steps=8, ratio=0.5, maps=3),
    Settings(steps=6, ratio=0.5, maps=2, inversion_label="source"),
    Settings(steps=10, ratio=0.4, maps=2),
    Settings(steps=4, ratio=0.5, maps=4, solver="ddim", fixed_point=1),
    Settings(steps=6, ratio=0.5, maps=2, solver="dpm2m", strength=(0.55, 0.65)),
    Settings(steps=5, ratio=0.6, maps=2, eta=0.5),
    Settings(steps=6, ratio=0.5, maps=2, inversion_text="reference"),
    Settings(steps=7, ratio=0.4, maps=2, strength_axis="grid"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_unlike_edits_joined_change_latents_by_less_than_1e_4_and_take_fewer_calls(
    models: dict[str, Model], kind: str
) -> None:
    """Levels, labels, texts, steps and sizes of eight edits stand side by side in a call; one by one, nothing moves."""
    sizes = [(64, 64), (64, 64), (97, 33), (64, 64), (64, 64), (97, 33), (64, 64), (64, 64)]
    requests = [
        EditRequest(
            picture=picture(number, *size),
            query=["a dog", "a horse on grass", "a red car", ""][number % 4],
            reference="a cat",
            settings=replace(settings, guidance=1.5),
            seed=number,
        )
        for number, (size, settings) in enumerate(zip(sizes, UNLIKE, strict=True))
    ]
    alone = [latents_of(Driver(models[kind], join=False), [request])[0] for request in requests]
    one_by_one, joined = Driver(models[kind], join=False), Driver(models[kind], batch_limit=16, join=True)
    for one, other in zip(alone, latents_of(one_by_one, requests), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(alone, latents_of(joined, requests), strict=True):
        assert float((one - other).abs().max()) < 1e-4
    assert joined.rows == one_by_one.rows
    assert joined.calls < 0.5 * one_by_one.calls


@pytest.mark.parametrize("kind", KINDS)
def test_mask_depends_neither_on_batch_mates_nor_on_chunks(models: dict[str, Model], kind: str) -> None:
    shares = QUICK.changed(pool="shares")
    wanted = EditRequest(picture=picture(1), query="a dog on grass", reference="a cat", settings=shares)
    mate = EditRequest(picture=picture(2), query="a red car", reference="snow", settings=shares)
    editor = Editor(models[kind])
    alone = editor.edit_batch([wanted])[0]
    beside = editor.edit_batch([mate, wanted, mate])[1]
    np.testing.assert_array_equal(alone.mask.values, beside.mask.values)
    np.testing.assert_array_equal(np.asarray(alone.image), np.asarray(beside.image))
    assert alone.contrast is not None
    assert alone.contrast.raw.mean() == pytest.approx(1.0)  # the maps of two strengths, each divided by its mean
    for limit in (1, 2, 5):
        chunked = Editor(models[kind], batch_limit=limit).edit_batch([wanted])[0]
        assert chunked.contrast is not None
        np.testing.assert_allclose(chunked.contrast.raw, alone.contrast.raw, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_number_of_seeds_changes_no_result(models: dict[str, Model], kind: str) -> None:
    editor = Editor(models[kind])
    many = editor.edit(picture(3), "a dog", "a cat", seed=[4, 5, 6], settings=QUICK)
    for result, seed in zip(many, (4, 5, 6), strict=True):
        alone = edit(editor, picture(3), "a dog", "a cat", seed=seed, settings=QUICK)
        np.testing.assert_array_equal(np.asarray(result.image), np.asarray(alone.image))
    assert not np.array_equal(many[0].contrast.raw, many[1].contrast.raw)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_texts_return_the_picture_itself(models: dict[str, Model], kind: str) -> None:
    source = picture(4, 51, 37)
    result = edit(Editor(models[kind]), source, "a cat on grass", "a cat on grass", settings=QUICK)
    assert result.contrast is not None
    assert float(np.abs(result.contrast.raw).max()) == 0.0
    assert result.mask.is_empty
    np.testing.assert_array_equal(np.asarray(result.image), source)


@pytest.mark.parametrize("size", [(64, 64), (97, 33), (200, 48)])
def test_outside_the_mask_the_bytes_are_the_input_s(models: dict[str, Model], size: tuple[int, int]) -> None:
    source = picture(5, *size)
    # Noise all over differs from what is painted everywhere, and these canvases are small.
    result = edit(Editor(models["sd1"]), source, "a dog", "a cat", settings=QUICK.changed(rim=2))
    assert result.image.size == size
    outside = result.mask.values == 0
    assert outside.any()
    np.testing.assert_array_equal(np.asarray(result.image)[outside], source[outside])
    assert (np.asarray(result.image) != source).any()


def test_record_is_enough_to_do_it_again(models: dict[str, Model]) -> None:
    editor = Editor(models["sd2"])
    result = edit(editor, picture(6), "a dog", "a cat", negative="red", seed=9, preset="fast", steps=7)
    record = result.provenance
    again = edit(
        Editor(models["sd2"]),
        picture(6),
        record.query,
        record.reference,
        negative=record.negative,
        seed=record.seed,
        preset=record.preset,
        settings=Settings(**record.settings),
    )
    assert again.provenance == record
    np.testing.assert_array_equal(np.asarray(again.image), np.asarray(result.image))


def test_negative_text_matters_only_with_guidance(models: dict[str, Model]) -> None:
    editor, mask = Editor(models["sd1"]), Mask.full((64, 64))

    def image(negative: str, scale: float) -> NDArray[np.uint8]:
        settings = replace(QUICK, guidance=scale)
        return np.asarray(edit(editor, picture(7), "a dog", "", negative=negative, mask=mask, settings=settings).image)

    images = {(text, scale): image(text, scale) for text in ("", "a red car") for scale in (1.0, 4.0)}
    np.testing.assert_array_equal(images["", 1.0], images["a red car", 1.0])
    assert not np.array_equal(images["", 4.0], images["a red car", 4.0])


def test_clip_skip_reaches_every_text(models: dict[str, Model]) -> None:
    editor = Editor(models["sd1"])
    plain = edit(editor, picture(8), "a dog", "a cat", settings=QUICK)
    skipped = edit(editor, picture(8), "a dog", "a cat", settings=replace(QUICK, clip_skip=1))
    assert plain.contrast is not None
    assert skipped.contrast is not None
    assert not np.allclose(plain.contrast.raw, skipped.contrast.raw, rtol=1e-3)
