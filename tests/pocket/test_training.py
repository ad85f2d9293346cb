"""The training's parts: optimizer, schedule, corpus, resuming, tokenizer, and the autoencoder's normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.pocket.autoencoder import new_vae
from training.pocket.diffusion import Batch, Corpus, v_loss
from training.pocket.latents import normalise
from training.pocket.optim import Muon, optimizers, orthogonalised, set_rate, split
from training.pocket.parallel import Team
from training.pocket.state import Ema, load_state, save_state
from training.pocket.store import tensor_of
from training.pocket.text import MAX_LENGTH, build_tokenizer, known_words, token_ids
from training.pocket.train_unet import rate


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3))


def test_orthogonalised_updates_have_singular_values_near_one_whatever_their_shape() -> None:
    torch.manual_seed(0)
    shapes = [(8, 40), (40, 8), (8, 4, 3, 3), (8, 40)]
    for shape, made in zip(shapes, orthogonalised([torch.randn(shape) for shape in shapes]), strict=True):
        assert made.shape == shape
        values = torch.linalg.svdvals(made.reshape(shape[0], -1))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.3


def test_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    hidden, rest = split([small()])
    assert [weight.ndim for weight in hidden] == [4, 4]
    assert {weight.ndim for weight in rest} == {1}


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    assert rate(0.0, 0, 100, 0.2) == pytest.approx(0.01)
    assert rate(0.5, 500, 100, 0.2) == 1.0
    assert rate(0.9, 500, 100, 0.2) == pytest.approx(0.5)
    assert rate(1.0, 500, 100, 0.2) == pytest.approx(0.02)


def test_muon_learns() -> None:
    model = small()
    made = optimizers([model], "muon", 0.02)
    assert isinstance(made[0], Muon)
    set_rate(made, 0.5)
    assert {group["lr"] for optimizer in made for group in optimizer.param_groups} == {0.01}
    batch = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(30):
        loss = (model(batch) - 1.0).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]


def _advance(model: nn.Module, made: list[torch.optim.Optimizer], ema: Ema, step: int) -> None:
    batch = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    model(batch).square().mean().backward()
    for optimizer in made:
        optimizer.step()
        optimizer.zero_grad()
    ema.update(model, step)


def test_a_resumed_run_goes_on_exactly(tmp_path: Path) -> None:
    model = small()
    made, ema = optimizers([model], "muon", 0.01), Ema(model, 0.9)
    for step in range(3):
        _advance(model, made, ema, step)
    save_state(tmp_path, model, [ema], made, 3, 1.5)
    again = small()
    fresh, average = optimizers([again], "muon", 0.01), Ema(again, 0.9)
    assert load_state(tmp_path, again, [average], fresh) == (3, 1.5)
    for one, two, three in ((model, made, ema), (again, fresh, average)):
        _advance(one, two, three, 3)
    for left, right in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)
    assert all(torch.equal(left, right) for left, right in zip(ema.values, average.values, strict=True))


def test_the_average_is_put_in_and_taken_out_again() -> None:
    model = small()
    ema = Ema(model, 0.5)
    before = [weight.detach().clone() for weight in model.parameters()]
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    with ema.applied(model):
        assert all(torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))
    assert all(torch.equal(weight, old + 1.0) for weight, old in zip(model.parameters(), before, strict=True))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    latents = np.random.default_rng(0).normal(size=(20, 8, 16, 16)).astype(np.float16)
    latents[12:] = 0.0  # not encoded yet
    tokens = np.full((20, 6, MAX_LENGTH), 9, np.int16)
    tokens[:, :, 0], tokens[:, :, 1:4] = 8, np.arange(20)[:, None, None]
    np.save(tmp_path / "some.npy", latents)
    np.save(tmp_path / "some-tokens.npy", tokens)
    return Corpus(tmp_path / "some.npy", seed=5)


def test_the_corpus_draws_encoded_scenes_with_their_own_captions(corpus: Corpus) -> None:
    assert len(corpus) == 12
    batch = corpus.batch(64, dropout=0.25)
    latents, tokens = batch.latents, batch.tokens
    named = tokens[:, 1] != 9
    assert 0.5 < float(named.float().mean()) < 1.0
    assert int(tokens[named, 1].max()) < 12
    for latent, token in zip(latents[named], tokens[named], strict=True):
        assert torch.equal(latent, corpus.rows(token[1:2].numpy(), np.zeros(1, np.int64)).latents[0])


def test_the_loss_of_a_perfect_prediction_is_that_of_rounding(corpus: Corpus) -> None:
    from training.pocket.diffusion import _ALPHAS

    batch = corpus.batch(8, dropout=0.0)
    latents = batch.latents

    def perfect(noised: torch.Tensor, level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        alpha = _ALPHAS[level].view(-1, 1, 1, 1)
        noise = (noised - alpha.sqrt() * latents) / (1 - alpha).sqrt()
        velocity: torch.Tensor = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        return velocity

    loss, error = v_loss(perfect, Batch(latents, batch.tokens), torch.Generator().manual_seed(0))
    assert float(loss) == float(error) < 1e-6


def test_every_known_word_is_one_token(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    for word in known_words():
        assert len(tokenizer(word)["input_ids"]) == 3, word
    ids = token_ids(tokenizer, ["a zebra on grass", ""])
    assert ids.shape == (2, MAX_LENGTH)
    assert len(set(ids[1].tolist())) == 2


@pytest.mark.parametrize("channels", [8, 16])
def test_normalising_evens_the_channels_and_changes_no_picture(channels: int) -> None:
    torch.manual_seed(0)
    vae = new_vae(channels).eval()
    pictures = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    batch = tensor_of(pictures)
    with torch.no_grad():
        before = vae.decode(vae.encode(batch).latent_dist.mean).sample
        scale = normalise(vae, pictures)
        latents = vae.encode(batch).latent_dist.mean
        after = vae.decode(latents).sample
    assert torch.allclose(before, after, atol=1e-3)
    assert torch.allclose((latents * scale).std((0, 2, 3)), torch.ones(channels), atol=1e-3)
    assert torch.allclose(latents.mean((0, 2, 3)) * scale, torch.zeros(channels), atol=1e-3)


def test_a_team_of_one_changes_nothing(tmp_path: Path) -> None:
    model = small()
    weights = list(model.parameters())
    team = Team(0, 1, tmp_path / "meeting")
    assert team.share(weights) == weights
    assert team.average(weights, 2.5) == 2.5
    team.exchange(weights)
