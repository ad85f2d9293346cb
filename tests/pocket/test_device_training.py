"""The training on one device, here the CPU: atlas, table of scenes, composition like the renderer's, pieces, shards."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.pocket.sprites import DrawnArtwork
from training.pocket import gpu, shards
from training.pocket.atlas import ENTRIES, Atlas, build_atlas, load_atlas
from training.pocket.captions import captions
from training.pocket.compose import DeviceScenes
from training.pocket.render import Rendering, render
from training.pocket.scenes import Scene, stream_of
from training.pocket.table import SceneTable, backdrop_row, bank_setting, build_bank, build_table, table_scene
from training.pocket.text import build_tokenizer, token_ids
from training.pocket.truth_head import class_map

VARIANTS = 2
COUNT = 40


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return build_atlas(DrawnArtwork())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SceneTable:
    return build_table(tmp_path_factory.mktemp("words"), "train", COUNT, VARIANTS, 1)


@pytest.fixture(scope="module")
def scenes(atlas: Atlas, table: SceneTable) -> DeviceScenes:
    return DeviceScenes(atlas, build_bank(VARIANTS, 1), table, torch.device("cpu"))


def rendered(index: int, atlas: Atlas) -> tuple[Scene, Rendering]:
    """The scene as the ordinary renderer draws it, on the backdrop that the bank has for it."""
    scene = table_scene(index, "train")
    ground, time, horizon, seed = bank_setting(backdrop_row(scene, VARIANTS), VARIANTS)
    assert (ground, time) == (scene.ground, scene.time)
    scene = replace(scene, horizon=horizon, seed=seed)
    return scene, render(scene, atlas)


def test_an_atlas_hands_out_the_sprites_it_was_made_of(atlas: Atlas, tmp_path: Path) -> None:
    atlas.save(tmp_path / "atlas.npz")
    again = load_atlas(tmp_path / "atlas.npz")
    for noun, colour in ENTRIES:
        assert again.sprite(noun, colour).tobytes() == DrawnArtwork().sprite(noun, colour).tobytes()
    with pytest.raises(KeyError):
        again.sprite("zebra", "red")


def test_the_table_holds_the_captions_tokens_and_train_backdrops_only(table: SceneTable, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    for index in range(COUNT):
        ids = token_ids(tokenizer, captions(table_scene(index, "train"))).numpy()
        assert np.array_equal(table.tokens[index], ids)
    assert {stream_of(bank_setting(row, 512)[3]) for row in range(0, 8192, 37)} == {"train"}


def test_composed_pictures_are_those_of_the_renderer_up_to_resampling(scenes: DeviceScenes, atlas: Atlas) -> None:
    drawn, agreement = scenes.draw(torch.arange(COUNT)), []
    for index in range(COUNT):
        scene, truth = rendered(index, atlas)
        picture = ((drawn.pictures[index].permute(1, 2, 0) + 1) * 127.5).numpy()
        error = np.abs(picture - truth.picture.astype(np.float32)).max(-1)
        assert np.median(error) <= 1.0
        assert error.mean() < 3.0, scene
        union = np.zeros(truth.picture.shape[:2], np.bool_)
        for mask in truth.silhouettes:
            union |= mask
        assert ((drawn.inside[index, 0].numpy() > 0) ^ union).mean() < 0.02
        agreement.append((drawn.classes[index].numpy() == class_map(scene, truth)).mean())
    assert min(agreement) > 0.95  # cells at an object's very edge may fall to either side
    assert np.mean(agreement) > 0.98


def settings(work: Path, *more: str) -> argparse.Namespace:
    small = ["--scenes", "24", "--variants", "1", "--measure", "48", "--processes", "1", "--channels", "4"]
    small += ["--vae-batch", "2", "--crop", "32", "--widths", "32", "32", "--batch", "2"]
    times = ["--no-compile", "--ema", "0.5", "--vae-minutes", "0.01", "--unet-minutes", "0.01", "--piece", "0.4"]
    words = ["--work", str(work), "--atlas", str(work / "atlas.npz")]
    return gpu.parser().parse_args([*words, *small, *times, *more])


@pytest.mark.slow
def test_pieces_end_in_a_model_that_comes_back_from_its_shards(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_HELD", 48)
    atlas.save(tmp_path / "atlas.npz")
    assert not gpu.work(settings(tmp_path, "--piece", "0"))  # no time at all: nothing is trained, nothing breaks
    assert not (tmp_path / "run" / "vae-frozen.safetensors").exists()
    calls = 0
    while not gpu.work(settings(tmp_path)):
        calls += 1
        assert calls < 20
    made = shards.split(tmp_path / "model", tmp_path / "out", limit=1_000_000)
    assert len(made) > 1
    assert max(shard.stat().st_size for shard in made) <= 1_000_000
    folder = shards.join(made[0], tmp_path / "back")
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert pipe.unet.config.in_channels == 4
    assert pipe("a cat on sand", num_inference_steps=2, output_type="np").images.shape == (1, 128, 128, 3)
