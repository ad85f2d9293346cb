"""The shipped model: loads in plain diffusers, draws, knows its words, stays small."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import wordbrush

POCKET = Path(wordbrush.__file__).parent / "models" / "pocket"


@lru_cache(maxsize=1)
def pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(POCKET, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def words() -> list[str]:
    return list(json.loads((POCKET / "words.json").read_text()))


def test_the_folder_is_small_and_holds_no_pickles() -> None:
    files = [file for file in POCKET.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sum(file.stat().st_size for file in files) < 60_000_000
    assert not [file for file in files if file.suffix in {".bin", ".ckpt", ".pt", ".pth", ".pkl"}]


def test_weights_are_half_precision_on_disk_and_whole_in_memory() -> None:
    from safetensors import safe_open

    for file in POCKET.rglob("*.safetensors"):
        with safe_open(str(file), "pt") as tensors:
            names = list(tensors.keys())
            assert {str(tensors.get_tensor(name).dtype) for name in names} <= {"torch.float16", "torch.int64"}
    pipe = pipeline()
    assert {str(part.dtype) for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {"torch.float32"}


def test_the_schedule_is_stable_diffusions_with_v_prediction() -> None:
    config = pipeline().scheduler.config
    assert config.prediction_type == "v_prediction"
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert not config.clip_sample
    assert config.steps_offset == 1


def test_every_known_word_is_one_token_and_others_fall_to_pieces() -> None:
    tokenizer = pipeline().tokenizer
    for word in words():
        assert len(tokenizer(word)["input_ids"]) == 3, word
    assert len(tokenizer("giraffe")["input_ids"]) > 3
    assert tokenizer.decode(tokenizer("a zebra on grass")["input_ids"], skip_special_tokens=True) == "a zebra on grass"


def test_the_longest_caption_fits() -> None:
    text = "a photo of a red car and a watermelon side by side on a wooden floor at night"
    tokenizer = pipeline().tokenizer
    assert len(tokenizer(text)["input_ids"]) <= tokenizer.model_max_length


def draw(text: str, steps: int = 10) -> np.ndarray[Any, Any]:
    import torch

    seeds = torch.Generator().manual_seed(0)
    made = pipeline()(text, num_inference_steps=steps, guidance_scale=4.0, generator=seeds)
    return np.asarray(made.images[0]).astype(np.float32)


def test_it_draws_a_picture_that_is_neither_flat_nor_broken() -> None:
    picture = draw("a strawberry on snow")
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 20
    red, green, blue = picture[60:100, 50:80].mean((0, 1))
    assert red > green + 20
    assert red > blue + 20


def test_words_for_the_ground_and_the_time_are_followed() -> None:
    day, night = draw("a panda on grass"), draw("a panda on grass at night")
    red, green, blue = day[100:, :30].mean((0, 1))
    assert green > max(red, blue) + 20
    assert day[:30].mean() > night[:30].mean() + 60


def test_the_same_seed_draws_the_same_picture() -> None:
    import torch

    pictures = [
        pipeline()("a fox", num_inference_steps=2, generator=torch.Generator().manual_seed(4)).images[0]
        for _ in range(2)
    ]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_the_autoencoder_returns_a_held_out_picture() -> None:
    import torch
    from PIL import Image

    with Image.open(Path(__file__).parent / "heldout" / "object-inputs.webp") as sheet:
        truth = torch.from_numpy(np.asarray(sheet.convert("RGB").crop((0, 0, 128, 128))).copy())
    batch = truth.permute(2, 0, 1)[None].float() / 127.5 - 1
    vae = pipeline().vae
    with torch.no_grad():
        made = vae.decode(vae.encode(batch).latent_dist.mean).sample.clamp(-1, 1)
    error = float(((made - batch) / 2).square().mean())
    assert -10 * np.log10(error) > 25
