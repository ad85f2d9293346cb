"""The autoencoder's training: pictures with silhouettes, crops, figures inside objects, resuming, other channels."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wordbrush
from tests.pocket.sprites import DrawnArtwork
from training.pocket.autoencoder import fidelity, load_vae, new_vae, picture_loss, returned
from training.pocket.pictures import crops, draw, open_pictures
from training.pocket.render import SIZE, render
from training.pocket.scenes import sample_scene
from training.pocket.store import save_weights, tensor_of
from training.pocket.train_vae import Run, parser, rate, step_loss

SHIPPED = Path(wordbrush.__file__).parent / "models" / "pocket" / "vae" / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    draw(made, "some", "train", 12, DrawnArtwork())
    return made


def settings(folder: Path, run: Path, *more: str) -> argparse.Namespace:
    files = ["--pictures", str(folder / "some.npy"), "--heldout", str(folder / "some.npy"), "--threads", "1"]
    small = ["--batch", "2", "--crop", "16", "--steps", "8", "--measure", "2", "--lr", "1e-3"]
    return parser().parse_args(["--run", str(run), *files, *small, *more])


def test_pictures_come_with_the_silhouettes_of_their_objects(folder: Path) -> None:
    pictures, silhouettes = open_pictures(folder / "some.npy")
    for index in range(12):
        drawn = render(sample_scene(index, "train"), DrawnArtwork())
        assert np.array_equal(pictures[index], drawn.picture)
        union = np.zeros((SIZE, SIZE), np.bool_)
        for mask in drawn.silhouettes:
            union |= mask
        assert np.array_equal(np.unpackbits(silhouettes[index], axis=1).astype(np.bool_), union)


def test_crops_prefer_objects_and_carry_their_own_silhouettes(folder: Path) -> None:
    pictures, silhouettes = open_pictures(folder / "some.npy")
    marked = np.repeat(np.unpackbits(silhouettes, axis=2)[..., None] * np.uint8(255), 3, axis=3)
    shares = []
    for prefer in (0.0, 1.0):
        cut, masks = crops(marked, silhouettes, 64, 32, prefer, np.random.default_rng(0))
        assert torch.equal(cut[:, :1] > 0, masks > 0)
        shares.append(float(masks.mean()))
    assert shares[1] > 1.3 * shares[0]
    whole, _ = crops(pictures, silhouettes, 4, SIZE, 1.0, np.random.default_rng(0))
    assert whole.shape == (4, 3, SIZE, SIZE)


def test_figures_inside_count_the_silhouettes_alone_and_the_worst_tenth() -> None:
    pictures = np.full((20, 16, 16, 3), 128, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    silhouettes = np.stack([np.packbits(mask, axis=1)] * 20)
    silhouettes[-1] = 0  # a picture without objects counts on the whole only
    made = tensor_of(pictures)
    made[0] += torch.from_numpy(mask) * 0.2  # an error of a tenth of the range, inside
    made[1:] += torch.from_numpy(mask) * 0.02
    figures = fidelity(made, pictures, silhouettes)
    assert figures["inside_worst"] == pytest.approx(20.0, abs=0.01)
    assert figures["inside"] == pytest.approx((20 + 18 * 40) / 19, abs=0.01)
    quarter = 10 * np.log10(4)  # the square is a quarter of the picture
    assert figures["psnr"] == pytest.approx((20 + 19 * 40) / 20 + quarter, abs=0.01)
    # Inside, differences err at two edges of the square: its last column and row, eight pixels each.
    assert figures["edges_worst"] == pytest.approx(255 * 0.1 * 8 / 64, rel=1e-3)


def test_a_weight_of_one_changes_nothing_and_weight_moves_the_loss_to_where_it_lies() -> None:
    torch.manual_seed(0)
    truth = torch.zeros(2, 3, 16, 16)
    made = torch.zeros_like(truth)
    made[..., :8] = 0.1 * torch.randn(2, 3, 16, 8)
    plain = picture_loss(made, truth)
    assert torch.allclose(plain, picture_loss(made, truth, torch.ones(2, 1, 16, 16)))
    weight = torch.ones(2, 1, 16, 16)
    weight[..., :8] = 3.0
    assert picture_loss(made, truth, weight) > 1.2 * plain


def test_shrunken_latents_are_held_against_shrunken_pictures() -> None:
    torch.manual_seed(0)
    vae = new_vae(4)
    seen: list[tuple[int, ...]] = []
    vae.decoder.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape)))
    truth, weight = torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    for shrink in (False, True):
        step_loss(vae, truth, weight, False, shrink).backward()  # type: ignore[no-untyped-call]
    assert seen == [(1, 3, 32, 32), (1, 3, 16, 16)]
    assert all(weight.grad is not None for weight in vae.encoder.parameters())


def test_the_decoder_alone_learns_when_asked_to(folder: Path, tmp_path: Path) -> None:
    run = Run(settings(folder, tmp_path, "--decoder-only", "--channels-latent", "4"))
    before = {name: tensor.clone() for name, tensor in run.vae.state_dict().items()}
    run.advance()
    moved = [name for name, tensor in run.vae.state_dict().items() if not torch.equal(tensor, before[name])]
    assert {name.split(".")[0] for name in moved} == {"post_quant_conv", "decoder"}


def test_a_stopped_run_goes_on_exactly_where_it_was(folder: Path, tmp_path: Path) -> None:
    whole = Run(settings(folder, tmp_path / "whole"))
    losses = [float(whole.advance()) for _ in range(4)]
    first = Run(settings(folder, tmp_path / "halves"))
    halves = [float(first.advance()) for _ in range(2)]
    figures = first.save()
    assert set(figures) == {"psnr", "inside", "inside_worst", "edges", "edges_worst"}
    second = Run(settings(folder, tmp_path / "halves"))
    assert second.step == 2
    halves += [float(second.advance()) for _ in range(2)]
    assert halves == losses
    for left, right in zip(whole.vae.parameters(), second.vae.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_rate_warms_up_by_steps_and_falls_by_the_share_that_is_done() -> None:
    assert rate(0.0, 0) == pytest.approx(0.01)
    assert rate(0.5, 500) == pytest.approx(0.5)
    assert rate(1.0, 1000) == rate(2.0, 2000) == pytest.approx(0.01)


@pytest.mark.parametrize("channels", [4, 16])
def test_weights_tell_their_own_latent_channels(channels: int, tmp_path: Path) -> None:
    vae = new_vae(channels)
    save_weights(vae.half(), tmp_path / "vae.safetensors")
    again = load_vae(tmp_path / "vae.safetensors")
    assert again.config.latent_channels == channels
    assert again.dtype == torch.float32
    assert load_vae(SHIPPED).config.latent_channels == 16


def test_the_shipped_autoencoder_returns_pictures_it_never_saw() -> None:
    with Image.open(Path(__file__).parent / "heldout" / "object-inputs.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB").crop((0, 0, 5 * SIZE, SIZE)))
    pictures = np.stack(np.split(pixels, 5, axis=1))
    figures = fidelity(returned(load_vae(SHIPPED), pictures), pictures, np.full((5, SIZE, SIZE // 8), 255, np.uint8))
    assert figures["psnr"] > 36.0
