"""The denoiser's training: warm start across latent channels and words, the truth head, averages, pieces."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

import wordbrush
from tests.pocket.sprites import DrawnArtwork
from training.pocket.autoencoder import new_vae
from training.pocket.captions import CAPTIONS_PER_SCENE
from training.pocket.denoiser import Denoiser, warm_start
from training.pocket.diffusion import Batch, Corpus, v_loss
from training.pocket.export import export
from training.pocket.latents import encode_scenes, prepare, write_tokens
from training.pocket.render import render
from training.pocket.scenes import sample_scene
from training.pocket.store import save_weights
from training.pocket.text import MAX_LENGTH, token_ids
from training.pocket.train_unet import Run, parser, train, truth_weight
from training.pocket.truth_head import CLASSES, class_map, truth_loss
from training.pocket.words import NOUNS

POCKET = Path(wordbrush.__file__).parent / "models" / "pocket"
WIDTHS = (32, 32)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with an untrained autoencoder of four channels and 48 scenes encoded by it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "run").mkdir()
    torch.manual_seed(0)
    vae = new_vae(4).eval()
    save_weights(vae, folder / "run" / "vae-frozen.safetensors")
    write_tokens(folder, "some", "train", 48)
    prepare(folder / "run", "some", 48, 4)
    encode_scenes(vae, DrawnArtwork(), folder / "run" / "some.npy", "train", (0, 48), 1.0)
    return folder


def settings(work: Path, run: Path, *more: str) -> argparse.Namespace:
    files = ["--latents", str(work / "run" / "some.npy"), "--heldout", str(work / "run" / "some.npy")]
    small = ["--widths", "32", "32", "--batch", "4", "--threads", "1", "--device", "cpu"]
    return parser().parse_args(["--run", str(run), *files, *small, *more])


def test_encoded_scenes_carry_latents_tokens_and_class_maps_and_a_second_call_changes_nothing(work: Path) -> None:
    corpus = Corpus(work / "run" / "some.npy", seed=0)
    assert (len(corpus), corpus.channels) == (48, 4)
    batch = corpus.batch(8, 0.0)
    assert batch.latents.shape == (8, 4, 16, 16)
    assert batch.tokens.shape == (8, MAX_LENGTH)
    assert batch.classes is not None
    assert batch.classes.shape == (8, 16, 16)
    path = work / "run" / "some.npy"
    before = path.read_bytes()
    prepare(work / "run", "some", 48, 4)
    encode_scenes(new_vae(4), DrawnArtwork(), path, "train", (0, 48), 1.0)  # other weights, but nothing is left to do
    assert path.read_bytes() == before
    assert np.load(work / "run" / "some-tokens.npy").shape == (48, CAPTIONS_PER_SCENE, MAX_LENGTH)


def test_the_class_map_says_what_covers_most_of_a_cell() -> None:
    scene = sample_scene(0, "train", 2)
    drawn = render(scene, DrawnArtwork())
    classes = class_map(scene, drawn)
    assert set(np.unique(classes)) == {0, *(1 + NOUNS.index(thing.noun) for thing in scene.things)}
    for row in range(16):
        for column in range(16):
            cell = np.s_[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            for thing, mask in zip(scene.things, drawn.silhouettes, strict=True):
                if mask[cell].mean() > 0.5:
                    assert classes[row, column] == 1 + NOUNS.index(thing.noun)


def test_a_warm_start_keeps_everything_but_what_other_channels_need(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Denoiser(tmp_path, (160, 256), 1, 4)
    fresh = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    warm_start(model, POCKET)
    pipe = StableDiffusionPipeline.from_pretrained(POCKET, local_files_only=True)
    shipped = pipe.unet.state_dict()
    for name, tensor in model.unet.state_dict().items():
        kept = fresh if name.startswith(("conv_in", "conv_out")) else shipped
        assert torch.equal(tensor, kept[name]), name
    texts = ["a red car and a zebra on a wooden floor at night", "a photo of an owl"]
    ours = model.text(token_ids(model.tokenizer, texts)).last_hidden_state
    ids = pipe.tokenizer(texts, padding="max_length", return_tensors="pt")["input_ids"]
    theirs = pipe.text_encoder(ids).last_hidden_state
    length = len(texts[0].split()) + 2
    assert torch.allclose(ours[:, :length], theirs[:, :length], atol=1e-4)


def test_the_truth_head_learns_where_objects_are_and_leaves_with_the_export(work: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Denoiser(tmp_path, WIDTHS, 1, 4)
    batch = Corpus(work / "run" / "some.npy", seed=0).batch(6, 0.0)
    plain, _ = v_loss(model, batch, torch.Generator().manual_seed(1))
    told, error = v_loss(model, batch, torch.Generator().manual_seed(1), truth=0.1)
    assert float(plain.detach()) == pytest.approx(float(error), abs=1e-6)
    assert float(told.detach()) > float(error) + 0.05
    plain.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in model.head.parameters())
    told.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.head.parameters())
    without, _ = v_loss(model, Batch(batch.latents, batch.tokens), torch.Generator().manual_seed(1), truth=0.1)
    assert float(without.detach()) == pytest.approx(float(error), abs=1e-6)


def test_the_truth_loss_counts_visible_examples_only() -> None:
    logits = torch.zeros(2, CLASSES, 4, 4)
    logits[1, 3] = 50.0
    classes = torch.zeros(2, 4, 4, dtype=torch.uint8)
    first, none = torch.tensor([True, False]), torch.tensor([False, False])
    assert float(truth_loss(logits, classes, first)) == pytest.approx(np.log(CLASSES), rel=1e-5)
    assert float(truth_loss(logits, classes, none)) == 0.0
    assert truth_weight(0.5, 0.1) == 0.1
    assert truth_weight(0.7, 0.1) == 0.0


def test_a_run_in_pieces_ends_where_its_steps_end_with_every_average_and_exports(work: Path, tmp_path: Path) -> None:
    piece = settings(work, tmp_path / "run", "--steps", "3", "--piece", "1e-9", "--ema", "0.1", "0.9")
    steps = [train(piece).step for _ in range(3)]
    assert steps[-1] == 3
    assert steps == sorted(set(steps))
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"held_out_0.1", "held_out_0.9", "final"} <= entries[-1].keys()
    assert entries[-1]["held_out_0.1"] != entries[-1]["held_out_0.9"]
    export(tmp_path / "run", work / "run" / "vae-frozen.safetensors", 1.0, tmp_path / "out", WIDTHS, 1, 0.9)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    assert pipe.unet.config.in_channels == pipe.vae.config.latent_channels == 4
    assert pipe("a fox on snow", num_inference_steps=2, output_type="np").images.shape == (1, 128, 128, 3)
    assert not [name for name in pipe.unet.state_dict() if "head" in name]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(work: Path, tmp_path: Path) -> None:
    def losses(run: Run, count: int) -> list[float]:
        made = []
        for _ in range(count):
            run.corpus.skip(run.step + 1)  # the same random numbers, whichever run it is
            made.append(float(run.advance(0.0)))
        return made

    whole = losses(Run(settings(work, tmp_path / "whole", "--steps", "9")), 4)
    first = Run(settings(work, tmp_path / "halves", "--steps", "9"))
    halves = losses(first, 2)
    first.save()
    halves += losses(Run(settings(work, tmp_path / "halves", "--steps", "9")), 2)
    assert halves == whole
