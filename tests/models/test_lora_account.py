"""Every tensor of a LoRA file is applied, told of, or refused by what it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.support import tiny
from tests.support.loras import (
    CONV,
    GOOD,
    INF,
    NAN,
    NORM,
    STEM,
    A,
    B,
    Change,
    Q,
    State,
    V,
    meant,
    output,
    pair,
    random,
    save,
    trainer,
)
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.quiet import quiet

pytestmark = pytest.mark.usefixtures("closed_network")


def test_what_is_left_out_is_counted_and_named(checkpoints: Path, tmp_path: Path) -> None:
    down, up = pair(3, V)
    state = {f"{trainer(V)}.lora_down.weight": down, f"{trainer(V)}.lora_up.weight": up, **GOOD}
    foreign = trainer("up_blocks.4.attentions.0.proj_in")
    state |= {f"{foreign}.lora_down.weight": random(2, 64), f"{foreign}.lora_up.weight": random(64, 2)}
    state |= {"bundle_emb.moss.string_to_param.*": random(2, 32), f"{trainer('conv_gone')}.alpha": torch.tensor(2.0)}
    loaded = load_model(checkpoints / "sd1", loras=[save(tmp_path / "moss.safetensors", state)])
    assert loaded.notes == (
        f"LoRA moss.safetensors: 1 of its 3 layers is not in this model and was left out (first: {foreign})",
        "LoRA moss.safetensors: 2 of its 8 tensors are of no kind known here and were left out (first: "
        "bundle_emb.moss.string_to_param.*)",
    )
    changes: dict[str, Change] = {f"{V}.weight": lambda w: w + up @ down}
    changes |= {f"{Q}.weight": lambda w: w + GOOD[B] @ GOOD[A]}
    assert torch.allclose(output(loaded), meant(changes), atol=2e-5)


def test_a_file_that_changes_nothing_says_so(checkpoints: Path, tmp_path: Path) -> None:
    state = GOOD | {B: 0 * GOOD[B]}
    loaded = load_model(checkpoints / "sd1", loras=[save(tmp_path / "new.safetensors", state)])
    assert loaded.notes == ("LoRA new.safetensors changes nothing: all of its layers are zero",)


REFUSED: dict[str, tuple[State, str]] = {
    "too wide": (GOOD | {A: random(2, 65)}, rf"layer unet\.{Q} is 64 x 65, and 64 x 64 in it"),
    "too high": (GOOD | {B: random(48, 2)}, "is 48 x 64, and 64 x 64"),
    "another kernel": (
        {f"unet.{CONV}.lora_A.weight": random(2, 32, 5, 5), f"unet.{CONV}.lora_B.weight": random(32, 2, 1, 1)},
        "is 32 x 32 x 5 x 5, and 32 x 32 x 3 x 3",
    ),
    "unlike ranks": (GOOD | {B: random(64, 3)}, "ranks of 2 x 64 and 64 x 3 differ"),
    "rank 0": ({A: random(0, 64), B: random(64, 0)}, "no rank"),
    "no up": ({A: GOOD[A]}, f"unet.{Q} has 'down' without 'up'"),
    "no down": ({B: GOOD[B]}, "has 'up' without 'down'"),
    "NaN": (GOOD | {A: GOOD[A] * NAN}, f"tensor 'unet.{Q}.lora_A.weight' holds NaN"),
    "infinite": (GOOD | {B: GOOD[B] * INF}, "lora_B.weight' holds NaN or infinity"),
    "NaN where it is left out": (
        GOOD | {"unet.gone.lora_A.weight": random(1, 2) * NAN, "unet.gone.lora_B.weight": random(2, 1)},
        "'unet.gone.lora_A.weight' holds NaN",
    ),
    "alpha 0": (GOOD | {f"unet.{Q}.alpha": torch.tensor(0.0)}, "alpha of .* is 0"),
    "alpha NaN": (GOOD | {f"unet.{Q}.alpha": NAN}, r"\.alpha' holds NaN"),
    "alpha twice": (GOOD | {f"unet.{Q}.alpha": torch.ones(3)}, "not one number"),
    "whole numbers": (GOOD | {A: torch.ones(2, 64, dtype=torch.int32)}, "is of I32"),
    "truths": (GOOD | {B: torch.ones(64, 2, dtype=torch.bool)}, "is of BOOL"),
    "two names": (
        GOOD | {f"{STEM}.lora_down.weight": random(2, 64), f"{STEM}.lora_up.weight": random(64, 2)},
        "one layer under two names|two tensors for one thing",
    ),
    "DoRA of another length": (GOOD | {f"unet.{Q}.dora_scale": random(1, 63)}, "is 1 x 63, and 64 x 64"),
    "magnitudes alone": (
        GOOD | {f"unet.{V}.lora_magnitude_vector": random(64)}, "DoRA magnitudes and no single LoRA"
    ),
    "difference of another shape": (GOOD | {f"unet.{V}.diff": random(64, 31)}, "is 64 x 31, and 64 x 32"),
    "bias that is not there": (GOOD | {f"unet.{Q}.diff_b": random(64)}, "has no bias in this model"),
    "core that joins nothing": (
        {
            f"unet.{CONV}.lora_A.weight": random(2, 32, 1, 1),
            f"unet.{CONV}.lora_B.weight": random(32, 2, 1, 1),
            f"unet.{CONV}.lora_mid.weight": random(2, 3, 3, 3),
        },
        "'mid' of 2 x 3 x 3 x 3 does not join",
    ),
    "factors for a norm": (
        {f"unet.{NORM}.lora_A.weight": random(1, 64), f"unet.{NORM}.lora_B.weight": random(64, 1)}, "GroupNorm"
    ),
    "LoHa": ({f"{STEM}.hada_w1_a": random(64, 2), f"{STEM}.hada_w1_b": random(2, 64)}, "is a LoHa"),
    "LoKr beside LoRA": (GOOD | {f"{STEM}.lokr_w2_a": random(8, 2)}, "is a LoKr"),
    "GLoRA": ({f"{STEM}.a1.weight": random(2, 64), f"{STEM}.b2.weight": random(64, 2)}, "is a GLoRA"),
    "IA3": ({f"{STEM}.weight": random(64, 1), f"{STEM}.on_input": torch.tensor(False)}, "is a IA3"),
    "OFT": ({f"{STEM}.oft_blocks": random(4, 16, 16)}, "is a OFT"),
    "BOFT": ({f"base_model.model.{Q}.boft_R": random(1, 4, 16, 16)}, "is a BOFT"),
    "SDXL by its second encoder": (
        GOOD | {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": random(2, 1280)}, "Stable Diffusion XL"
    ),
    "Flux": ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": random(2, 8)}, "another family, Flux"),
    "Flux of trainers": ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": random(2, 8)}, "Flux"),
    "Stable Diffusion 3": ({"lora_te3_encoder_block_0.lora_down.weight": random(2, 8)}, "Stable Diffusion 3"),
    "a language model": (
        {"base_model.model.model.layers.0.q_proj.lora_A.weight": random(2, 8)}, "no layers for this model"
    ),
    "only a strength": ({f"{STEM}.alpha": torch.tensor(2.0)}, "strengths"),
    "a learnt embedding": ({"emb_params": random(2, 32)}, "a learnt embedding, to be given with --embedding"),
    "a UNet": ({"down_blocks.0.resnets.0.conv1.weight": random(4, 4, 3, 3)}, "is a UNet"),
    "an autoencoder": ({"first_stage_model.decoder.conv_in.weight": random(4, 4, 3, 3)}, "an autoencoder"),
    "a checkpoint": ({"model.diffusion_model.out.2.weight": random(4, 4, 3, 3)}, "a full checkpoint"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_applied_is_refused_by_what_it_is_in_one_line(
    kind: str, checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, pattern = REFUSED[kind]
    good, bad = save(tmp_path / "good.safetensors", GOOD), save(tmp_path / "fault.safetensors", state)
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(checkpoints / "sd1", loras=[good, bad])
    assert str(caught.value).startswith("LoRA fault.safetensors")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_which_most_is_foreign_is_refused_with_the_family_it_says(checkpoints: Path, tmp_path: Path) -> None:
    state = dict(GOOD)
    for block in range(3):
        stem = trainer(f"input_blocks.{block}.1.transformer_blocks.9.attn2.to_k")
        state |= {f"{stem}.lora_down.weight": random(2, 2048), f"{stem}.lora_up.weight": random(64, 2)}
    for metadata in (None, {"ss_base_model_version": "sdxl_base_v1-0"}):
        path = save(tmp_path / "xl.safetensors", state, metadata)
        with pytest.raises(ModelError, match=r"3 of its 4 layers are not in it .*another model, Stable Diffusion XL"):
            load_model(checkpoints / "sd1", loras=[path])


def test_a_change_beyond_half_precision_is_the_loras_fault(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "loud.safetensors", {f"{trainer(CONV)}.diff": random(32, 32, 3, 3, size=3e4)})
    with pytest.raises(ModelError, match=r"LoRA loud\.safetensors: at scale 9 layer .* leaves the range of float16"):
        load_model(checkpoints / "sd1", dtype="float16", loras=[(path, 9.0)])
    path = save(tmp_path / "wide.safetensors", GOOD | {B: 1e5 * GOOD[B]})
    with pytest.raises(ModelError, match=r"LoRA wide\.safetensors: the factors of layer .* leave the range of float16"):
        load_model(checkpoints / "sd1", dtype="float16", loras=[path])


def test_a_folder_is_no_file(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"LoRA .* is a folder: give the \.safetensors file in it"):
        load_model(checkpoints / "sd1", loras=[tmp_path])


def test_a_shape_that_another_family_has_is_told_as_such(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "sd2.safetensors", {f"{trainer(V)}.lora_down.weight": random(2, 1024),
                                               f"{trainer(V)}.lora_up.weight": random(64, 2)})  # fmt: skip
    with pytest.raises(ModelError, match=r"is 64 x 1024, and 64 x 32 in it; it was made for Stable Diffusion 2"):
        load_model(checkpoints / "sd1", loras=[path])


def test_a_pipeline_with_a_damaged_lora_is_not_called_a_damaged_checkpoint() -> None:
    pipeline = tiny.pipeline()
    with quiet():
        pipeline.load_lora_weights({A: GOOD[A] * NAN, B: GOOD[B]}, adapter_name="ink")
    with pytest.raises(ModelError, match=r"lora_A\.ink\.weight' holds NaN or infinity: a LoRA"):
        load_model(pipeline)


def test_a_damaged_model_is_not_blamed_on_a_sound_lora(tmp_path: Path) -> None:
    unet = tiny.unet()
    with torch.no_grad():
        unet.conv_in.bias[0] = math.nan
    folder = tiny.write_folder(tmp_path / "broken", unet=unet)
    with pytest.raises(ModelError, match=r"conv_in\.bias") as caught:
        load_model(folder, loras=[save(tmp_path / "good.safetensors", GOOD)])
    assert "LoRA" not in str(caught.value)
