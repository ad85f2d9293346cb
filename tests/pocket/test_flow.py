"""pocket-flow's training: the batched pass is the module's own, resuming is exact, the export loads, and it learns."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from diffusers import ZImagePipeline

from tests.pocket.sprites import DrawnArtwork
from training.pocket.autoencoder import new_vae
from training.pocket.diffusion import held_out_loss, v_loss
from training.pocket.export_flow import export_flow
from training.pocket.flow import FlowDenoiser
from training.pocket.flow_text import CHAT
from training.pocket.latents import encode_scenes, prepare, write_tokens
from training.pocket.store import save_weights
from training.pocket.text import token_ids
from training.pocket.train_flow import FLOW, Flow, flow_parser, generate
from training.pocket.train_unet import Run
from wordbrush import Editor

WIDTH, LAYERS, CHANNELS = 64, 2, 4
TEXTS = ["a red car and a zebra on a wooden floor at night", "grass", ""]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained autoencoder of four channels and 48 scenes encoded by it."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "run").mkdir()
    torch.manual_seed(0)
    vae = new_vae(CHANNELS).eval()
    save_weights(vae, folder / "run" / "vae-frozen.safetensors")
    write_tokens(folder, "some", "train", 48)
    prepare(folder / "run", "some", 48, CHANNELS)
    encode_scenes(vae, DrawnArtwork(), folder / "run" / "some.npy", "train", (0, 48), 1.0)
    return folder


def settings(work: Path, run: Path, *more: str) -> argparse.Namespace:
    files = ["--latents", str(work / "run" / "some.npy"), "--heldout", str(work / "run" / "some.npy")]
    small = ["--widths", str(WIDTH), "--layers", str(LAYERS), "--batch", "4", "--threads", "1", "--device", "cpu"]
    return flow_parser().parse_args(["--run", str(run), *files, *small, *more])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FlowDenoiser:
    """Untrained networks, but none of whose weights is 0."""
    torch.manual_seed(0)
    made = FlowDenoiser(tmp_path_factory.mktemp("words"), WIDTH, LAYERS, CHANNELS)
    with torch.no_grad():
        for weight in made.transformer.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return made.eval()


@torch.no_grad()
def test_the_batched_pass_is_the_modules_own(model: FlowDenoiser) -> None:
    tokens, levels = token_ids(model.tokenizer, TEXTS), torch.tensor([0.1, 0.5, 0.93])
    x = torch.randn(3, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(1))
    states, present = model.read(tokens)
    texts = [state[there] for state, there in zip(states, present, strict=True)]
    assert [len(text) for text in texts] == [len(text.split()) + 2 for text in TEXTS]
    own = model.transformer(list(x.unsqueeze(2)), 1 - levels, texts, return_dict=False)[0]
    ours, logits = model(x, levels, tokens, truth=True)
    assert torch.allclose(ours, torch.stack(own).squeeze(2), atol=1e-5)
    assert float(ours.std()) > 0.1
    assert logits.shape[2:] == (16, 16)


def test_every_word_is_one_token_of_both_tokenizers_and_a_stranger_is_several(model: FlowDenoiser) -> None:
    ids = token_ids(model.tokenizer, TEXTS)
    for text, row in zip(TEXTS, model.table[ids], strict=True):
        laid_out = model.chat.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        told = model.chat([laid_out]).input_ids[0]
        assert row[: len(told)].tolist() == told
        assert len(told) == len(text.split()) + 2
    assert len(model.chat.tokenize(" zebra")) == 1 < len(model.chat.tokenize(" unicorn"))
    assert "lower" in CHAT


def test_times_are_spread_over_the_whole_range_and_prefer_the_middle() -> None:
    drawn = Flow().draw(4096, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert 0 < float(drawn.min()) < 0.01
    assert 0.99 < float(drawn.max()) < 1
    middle = ((drawn > 0.3) & (drawn < 0.8)).float().mean()
    assert float(middle) == pytest.approx(0.5 * 0.5 + 0.5 * 0.735, abs=0.01)  # uniform, and normal(.3, 1) of the logit


def test_a_resumed_run_goes_on_exactly(work: Path, tmp_path: Path) -> None:
    pieces = settings(work, tmp_path / "pieces", "--steps", "4")
    first = Run(pieces, kind=FLOW)
    for _ in range(2):
        first.advance(0.0)
    first.save()
    second = Run(pieces, kind=FLOW)
    assert second.step == 2
    for name, weight in first.model.named_parameters():
        assert torch.equal(weight, second.model.get_parameter(name)), name
    first.corpus.skip(2)  # a resumed run draws anew
    for run in (first, second):
        run.advance(0.0)
    for name, weight in first.model.named_parameters():
        assert torch.equal(weight, second.model.get_parameter(name)), name


def test_it_learns_and_the_truth_head_with_it(work: Path, tmp_path: Path) -> None:
    told = ["--steps", "1000", "--warmup", "3", "--truth", "0.3", "--batch", "12"]
    run = Run(settings(work, tmp_path, *told), kind=FLOW)
    batch = run.held.batch(16, 0.0)

    def losses() -> tuple[float, float]:
        with torch.no_grad():
            total, error = v_loss(run.model, batch, torch.Generator().manual_seed(3), 1.0, run.kind.process)
        return float(error), float(total - error)

    before = losses()
    held = held_out_loss(run.model, run.held, process=run.kind.process)
    for _ in range(25):
        run.advance(0.0)
    after = losses()
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.8 * before[1]
    assert held_out_loss(run.model, run.held, process=run.kind.process) < 0.9 * held


def test_an_export_is_z_image_to_diffusers_and_to_us(work: Path, tmp_path: Path) -> None:
    run = Run(settings(work, tmp_path / "run", "--steps", "4", "--ema", "0.5"), kind=FLOW)
    for _ in range(2):
        run.advance(0.0)
    run.save()
    export_flow(tmp_path / "run", work / "run" / "vae-frozen.safetensors", 1.0, tmp_path / "out", WIDTH, LAYERS, 0.5)
    pipe = ZImagePipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    assert pipe.transformer.config.in_channels == pipe.vae.config.latent_channels == CHANNELS
    given = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(3))
    told = {"height": 128, "width": 128, "num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    theirs = pipe("A fox on snow", latents=given.clone(), **told).images
    with run.averages[0].applied(run.model):
        assert isinstance(run.model, FlowDenoiser)
        ours = generate(run.model, ["a fox on snow"], 3, steps=3, scale=4.0)
    assert float((theirs - ours).abs().max()) < 0.02  # of half precision
    further = Run(settings(work, tmp_path / "more", "--steps", "4", "--init-from", str(tmp_path / "out")), kind=FLOW)
    assert isinstance(further.model, FlowDenoiser)
    again = generate(further.model, ["a fox on snow"], 3, steps=3, scale=4.0)
    assert float((again - ours).abs().max()) < 0.02
    editor = Editor.from_pretrained(tmp_path / "out", device="cpu")
    assert (editor.model.resolution, editor.model.guidance) == (128, 4.0)
    assert editor.model.encoding == "invert"
    assert "zebra" in editor.model.words
