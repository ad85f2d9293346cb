"""LoRAs and embeddings on the command line: told of, recorded, found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support import tiny
from tests.support.command import Command

TEXTS = ("--from", "a horse", "--to", "a moss zebra")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA of 16 layers, one of which no model has."""
    state = dict(tiny.lora_state("sd1"))
    state |= {"unet.gone.lora_A.weight": torch.ones(2, 8), "unet.gone.lora_B.weight": torch.ones(8, 2)}
    save_file(state, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    save_file({"emb_params": vectors}, tmp_path / "x1.safetensors")
    return tmp_path / "x1.safetensors"


def test_what_is_left_out_is_a_warning_and_the_record_finds_the_files_again(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, lora: Path, embedding: Path
) -> None:
    out = tmp_path / "out.png"
    add_ons = ("--lora", f"{lora}:0.5", "--embedding", f"{embedding}:moss")
    done = wordbrush("edit", picture, *TEXTS, *quick, *add_ons, "-o", out)
    assert done.code == 0, done.err
    layers = len({name.rsplit(".lora_", 1)[0] for name in tiny.lora_state("sd1")}) + 1
    left_out = f"1 of its {layers} layers is not in this model and was left out (first: unet.gone)"
    assert done.err.count("warning") == 1
    assert f"warning: LoRA style.safetensors: {left_out}" in done.err
    told = wordbrush("inspect", out)
    assert "style.safetensors, sha256" in told.text
    assert "scale 0.5" in told.text
    assert "x1.safetensors, sha256" in told.text
    assert "word moss" in told.text
    again = wordbrush("replay", out, "--json")
    assert again.code == 0, again.err
    assert again.json["identical"] is True
    moved = embedding.rename(tmp_path / "x2.safetensors")
    wordbrush("replay", out, "--force").failed(4, "x1.safetensors")
    here = wordbrush("replay", out, "--json", "--force", "--embedding", f"{moved}:moss")
    assert here.json["same_pixels"] is True
    save_file({"emb_params": torch.ones(3, 32)}, moved)
    other = wordbrush("replay", out, "--json", "--force", "--embedding", f"{moved}:moss")
    assert "the embedding x2.safetensors is not as in the record" in other.err
    assert other.json["same_weights"] is False


def test_a_word_that_no_text_has_is_told_once(
    wordbrush: Command, picture: Path, quick: list[str], tmp_path: Path, embedding: Path
) -> None:
    texts = ("--from", "a horse", "--to", "a zebra")
    for command in ("edit", "mask"):
        out = tmp_path / f"{command}.png"
        done = wordbrush(command, picture, *texts, *quick, "--embedding", f"{embedding}:moss", "-o", out)
        assert done.code == 0, done.err
        assert done.err.count("no text has the word 'moss'") == 1


@pytest.mark.parametrize("item", [":moss", "x.safetensors: "])
def test_items_that_cannot_be_read(wordbrush: Command, picture: Path, tmp_path: Path, item: str) -> None:
    wordbrush("edit", picture, *TEXTS, "--embedding", item, "-o", tmp_path / "o.png").failed(2, "--embedding")
