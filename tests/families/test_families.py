"""Every family against its own pipeline of diffusers, with small random weights: one suite over a table of rows."""

from __future__ import annotations

import json
import shutil
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.schedule import Level
from wordbrush.diffusion.solvers import decode
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models import Model, load_model
from wordbrush.models.registry import family_of_pipeline
from wordbrush.settings import Settings

TEXT, OTHER = "a red fox", "two dogs, on a hill of fresh snow"
SETTINGS: dict[str, Any] = {
    "maps": 1, "strength": 0.5, "steps": 4, "resolution": SIDE, "threshold": 0.5, "retry": False,
}


@pytest.fixture(params=ROWS, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return str(request.param)


@cache
def pipeline(name: str) -> Any:
    built = ROWS[name].build()
    built.set_progress_bar_config(disable=True)
    return built


@cache
def model(name: str) -> Model:
    return load_model(pipeline(name))


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family's checkpoint in diffusers layout."""
    path = tmp_path_factory.mktemp("checkpoint") / name
    pipeline(name).save_pretrained(path)
    return path


def canvas(name: str) -> tuple[int, int]:
    side = SIDE // model(name).codec.factor
    return side, side


def draw(name: str, rows: int = 1, seed: int = 0) -> Tensor:
    width, height = canvas(name)
    shape = (rows, model(name).codec.channels, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(name: str, prompt: str, scale: float = 1.0) -> Conditioning:
    of = model(name)
    return of.policy.told(of.text.encode([prompt], canvas=canvas(name))[0].conditioning, scale)


def picture(width: int = SIDE, height: int = SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def their_latents(name: str, x: Tensor, steps: int, prompt: str = TEXT, **arguments: Any) -> Tensor:
    return ROWS[name].answer(pipeline(name), prompt, x, steps, **arguments)


def our_latents(name: str, x: Tensor, steps: int, scale: float, prompt: str = TEXT) -> Tensor:
    of = model(name)
    grid = of.schedule_for(canvas(name), steps).grid(steps)
    told, empty = text(name, prompt, scale), text(name, "", scale)
    estimate = guided(told, empty, of.policy.weight_of(scale), join=of.policy.join)
    return drive(decode(estimate, x, grid), of.denoiser)


def test_a_whole_decode_gives_the_latents_of_the_familys_own_pipeline(name: str) -> None:
    x, row = draw(name), ROWS[name]
    theirs = their_latents(name, x, row.steps, **row.plain)
    assert (our_latents(name, x, row.steps, 1.0) - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_guidance_is_that_of_the_familys_own_pipeline(name: str) -> None:
    row = ROWS[name]
    if model(name).policy.kind == "none":
        pytest.skip("guidance is in the network")
    x = draw(name)
    theirs = their_latents(name, x, row.steps, **row.guidance(row.scale))
    ours = our_latents(name, x, row.steps, row.scale)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    assert (ours - our_latents(name, x, row.steps, 1.0)).abs().max() > 1e-3


def test_a_negative_text_is_read_as_in_the_familys_own_pipeline(name: str) -> None:
    row, of = ROWS[name], model(name)
    if of.policy.kind != "cfg" or "negative_prompt" not in signature(type(pipeline(name)).__call__).parameters:
        pytest.skip("its pipeline takes no negative text")
    x, negative = draw(name), Driver(of).prompt("Blurred, grey", canvas=canvas(name), negative=True).conditioning
    asked = {**row.guidance(row.scale), "negative_prompt": "Blurred, grey"}
    theirs = their_latents(name, x, row.steps, **asked)
    estimate = guided(text(name, TEXT), negative, row.scale, join=of.policy.join)
    ours = drive(decode(estimate, x, of.schedule_for(canvas(name), row.steps).grid(row.steps)), of.denoiser)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_a_text_that_is_too_long_is_cut_as_by_the_familys_own_pipeline(name: str) -> None:
    if name == "dit":
        pytest.skip("takes classes in place of texts")
    prompt, x, steps = " ".join(["a fox on snow,"] * 100), draw(name), min(2, ROWS[name].steps)
    theirs = their_latents(name, x, steps, prompt, **ROWS[name].plain)
    assert (our_latents(name, x, steps, 1.0, prompt) - theirs).abs().max() < 1e-4 * theirs.abs().max()
    dropped = model(name).text.encode([prompt], canvas=canvas(name))[0].dropped
    assert dropped[-1:] == (("snow,",) if ROWS[name].cuts else ())


def test_the_text_is_read(name: str) -> None:
    level = model(name).schedule.level(0.6)
    answers = [model(name).denoiser(draw(name), level, text(name, prompt)).eps for prompt in (TEXT, OTHER)]
    assert (answers[0] - answers[1]).abs().max() > 1e-5


def test_rows_of_unlike_texts_and_times_answer_as_alone(name: str) -> None:
    of, x, prompts = model(name), draw(name, 3), (TEXT, OTHER, "")
    levels = [of.schedule.level(time) for time in (0.2, 0.55, 0.9)]
    together = of.denoiser(x, Level.stack(levels), Conditioning.concat([text(name, prompt) for prompt in prompts]))
    for row, (level, prompt) in enumerate(zip(levels, prompts, strict=True)):
        alone = of.denoiser(x[row : row + 1], level, text(name, prompt))
        assert (together.eps[row] - alone.eps[0]).abs().max() < 2e-5 * alone.eps.abs().max()


def test_a_folder_loads_as_the_pipeline_does(name: str, folder: Path) -> None:
    loaded, level = load_model(folder), model(name).schedule.level(0.4)
    assert loaded.identity.family == ROWS[name].name
    assert loaded.identity.sha256
    ours = [of.denoiser(draw(name), level, text(name, TEXT)).eps for of in (model(name), loaded)]
    assert torch.allclose(ours[0], ours[1], atol=1e-6)
    words = loaded.text.encode([TEXT], canvas=canvas(name))[0].conditioning
    assert loaded.policy.told(words, 1.0).equals(text(name, TEXT))
    assert loaded.codec.encode(torch.zeros(1, 3, SIDE, SIDE)).shape == draw(name).shape
    assert loaded.resolution % loaded.grid == 0


def test_a_lora_is_read_into_the_network_and_a_foreign_one_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    if family_of_pipeline(pipeline(name), name).lora is None:
        pytest.skip("its pipeline reads no LoRA")
    part = "unet" if hasattr(pipeline(name), "unet") else "transformer"
    layers = dict(getattr(pipeline(name), part).named_modules())
    layer = next(key for key in layers if key.endswith("to_q"))
    wide, deep = layers[layer].weight.shape
    draws = torch.Generator().manual_seed(3)
    state = {"A": torch.randn(2, deep, generator=draws), "B": torch.randn(wide, 2, generator=draws)}
    for file, where in (("own", layer), ("far", "nowhere")):
        named = {f"{part}.{where}.lora_{key}.weight": value for key, value in state.items()}
        save_file(named, tmp_path / f"{file}.safetensors")
    level, words = model(name).schedule.level(0.4), text(name, TEXT)
    changed = load_model(folder, loras=[(tmp_path / "own.safetensors", 0.5)])
    assert [lora.scale for lora in changed.identity.loras] == [0.5]
    plain, other = (of.denoiser(draw(name), level, words).eps for of in (model(name), changed))
    assert (plain - other).abs().max() > 1e-5 * plain.abs().max()
    with pytest.raises(ModelError, match="LoRA far"):
        load_model(folder, loras=[tmp_path / "far.safetensors"])


def test_a_folder_runs_in_bfloat16_with_what_must_stay_float32(name: str, folder: Path) -> None:
    loaded, level = load_model(folder, dtype="bfloat16"), model(name).schedule.level(0.6)
    network = loaded.denoiser.network.module  # type: ignore[attr-defined]
    wide = [key for key, value in network.named_parameters() if value.dtype == torch.float32]
    kept = tuple(getattr(network, "_keep_in_fp32_modules", None) or ())
    assert all(any(part in kept for part in key.split(".")) for key in wide)
    assert bool(wide) == bool(kept)
    exact = model(name).denoiser(draw(name), level, text(name, TEXT)).eps
    narrow = loaded.denoiser(draw(name), level, text(name, TEXT)).eps
    assert narrow.dtype == torch.float32
    assert 0 < (narrow - exact).norm() < 0.05 * exact.norm()
    words = loaded.text.encode([TEXT], canvas=canvas(name))[0].conditioning
    for key, value in text(name, TEXT).items():
        if value.is_floating_point() and key in words:
            assert (words[key].float() - value).norm() <= 0.05 * value.norm()


def test_an_edit_keeps_what_is_outside_the_mask_and_changes_what_is_inside(name: str) -> None:
    editor, source = Editor(model(name)), picture()
    inside = np.zeros((SIDE, SIDE), bool)
    inside[8:24, 8:24] = True
    result = editor.edit(source, TEXT, mask=inside, **SETTINGS)
    found = np.asarray(result.image)
    kept = ~(result.mask.values > 0)
    assert (found[kept] == source[kept]).all()
    assert (found[inside] != source[inside]).any(axis=1).mean() > 0.5


def test_equal_texts_give_the_input_back(name: str) -> None:
    result = Editor(model(name)).edit(picture(), TEXT, TEXT, **SETTINGS)
    assert result.mask.is_empty
    assert (np.asarray(result.image) == picture()).all()


def test_an_edit_is_the_same_again_and_odd_sizes_come_back(name: str) -> None:
    source = picture(37, 23)
    once, again = (Editor(model(name)).edit(source, TEXT, OTHER, **SETTINGS) for _ in range(2))
    assert once.image.size == (37, 23)
    assert (np.asarray(once.image) == np.asarray(again.image)).all()


def test_the_mask_pools_levels_and_is_cut_by_the_default_rule(name: str) -> None:
    session = Editor(model(name)).open(picture(), resolution=SIDE)
    levels = Settings().strength
    alone = [session.contrast(TEXT, OTHER, strength=level).raw for level in levels]
    together = session.contrast(TEXT, OTHER, draws="shared")
    # Calls of other sizes round otherwise, and random weights tell texts apart by little.
    np.testing.assert_allclose(together.raw, np.mean(alone, axis=0), rtol=2e-3)
    shares = [raw / raw.mean() for raw in (*alone, together.raw)]
    assert max(np.abs(one - shares[-1]).max() for one in shares[:-1]) > 1e-3
    low, high = np.percentile(together.raw, [Settings().clip, 100 - Settings().clip])
    cut = (together.raw - low) / (high - low) > 0.26
    assert 0 < cut.sum() < cut.size
    assert (together.threshold().values.astype(bool) == cut).all()


def test_the_plan_counts_what_an_edit_takes(name: str) -> None:
    editor = Editor(model(name))
    settings = Settings.from_preset(**SETTINGS)
    result = editor.edit(picture(), TEXT, mask=np.ones((SIDE, SIDE), bool), settings=settings)
    plan = editor.plan((SIDE, SIDE), own_mask=True, settings=settings)
    spent = {stage: count for stage, count in result.report.evaluations.items() if count}
    assert spent == {stage: count for stage, count in plan.evaluations.items() if count}


def test_what_means_nothing_to_a_family_is_refused(name: str, folder: Path) -> None:
    wrong = "epsilon" if model(name).identity.parametrisation == "flow" else "flow"
    with pytest.raises(ModelError, match=wrong):
        load_model(folder, parametrisation=wrong)
    with pytest.raises(SettingsError, match="clip skip 12"):
        model(name).text.encode([TEXT], clip_skip=12)


def test_a_broken_checkpoint_ends_in_one_sentence(name: str, folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    network = "unet" if "unet" in index else "transformer"
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = next((broken / network).glob("*.safetensors"))
    state = load_file(weights)
    first = sorted(key for key, value in state.items() if value.is_floating_point())[0]
    save_file(state | {first: torch.full_like(state[first], float("nan"))}, weights)
    with pytest.raises(ModelError, match=f"{network}.*NaN"):
        load_model(broken)
    lost = next((part for part in index if part.startswith("tokenizer")), "scheduler")
    shutil.rmtree(broken / lost)
    with pytest.raises(ModelError, match=lost):
        load_model(broken)
    (broken / "model_index.json").write_text(json.dumps(index | {"vae": ["diffusers", "VQModel"]}))
    with pytest.raises(ModelError, match=r"'vae'.*VQModel"):
        load_model(broken)


def test_a_model_without_guidance_refuses_a_scale_and_a_negative(name: str) -> None:
    policy = model(name).policy
    if policy.kind == "cfg":
        pytest.skip("guided by two estimates")
    editor = Editor(model(name))
    with pytest.raises(SettingsError, match="negative"):
        editor.edit(picture(), TEXT, negative="blurred", **SETTINGS)
    if policy.kind == "none":
        with pytest.raises(SettingsError, match="guidance"):
            editor.edit(picture(), TEXT, guidance=3.0, **SETTINGS)
