"""LoRAs of transformers under the names of their authors and of trainers that follow them.

The judge is each network's own conversion in diffusers of a checkpoint of its authors: a LoRA that changes a layer of
the checkpoint means what the conversion makes of the changed checkpoint. The conversions of FLUX.1 and Lumina 2 know
the sizes of the published networks alone; there, and elsewhere too, the change is held to its rows of up @ down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.family_rows import ROWS
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.addons.loras import apply_loras
from wordbrush.models.addons.names import key_of
from wordbrush.models.families.layer_names import (
    AURAFLOW,
    FLUX_1,
    FLUX_2,
    KREA_2,
    LUMINA_2,
    SANA,
    STABLE_DIFFUSION_3,
    Z_IMAGE,
)
from wordbrush.models.family import Parts
from wordbrush.models.registry import family_of_pipeline

pytest.importorskip("peft")

State = dict[str, Tensor]
RANK, ALPHA = 2, 3.0
TABLES = {
    "flux-1-dev": FLUX_1, "chroma": FLUX_1, "flux-2-klein": FLUX_2, "flux-2-dev": FLUX_2, "sd3": STABLE_DIFFUSION_3,
    "z-image": Z_IMAGE, "lumina-2": LUMINA_2, "krea-2-raw": KREA_2, "sana": SANA, "auraflow": AURAFLOW,
}  # fmt: skip


def theirs(name: str, network: Any) -> dict[str, list[str]]:
    """Return the layers of a network by what its authors call them."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    layers = {
        path
        for path, layer in network.named_modules()
        if isinstance(layer, kinds) and getattr(layer, "groups", 1) == 1  # peft has no LoRA of rank 2 for many groups
    }
    named: dict[str, list[str]] = {}
    for pattern, ours in TABLES[name].items():
        for number in ("0", "1") if "#" in pattern else ("",):
            paths = [path.replace("#", number) for path in ours]
            if layers.issuperset(paths):
                named[pattern.replace("#", number)] = paths
    return named


def lora(layers: dict[str, Any], prefix: str = "diffusion_model.", seed: int = 0) -> tuple[State, State]:
    """Return a file that changes layers, given with the shapes of their weights, and each one's change."""
    draws = torch.Generator().manual_seed(seed)
    file: State = {}
    changes: State = {}
    for layer, shape in layers.items():
        down = torch.randn(RANK, *shape[1:], generator=draws)
        up = torch.randn(shape[0], RANK, *(1,) * (len(shape) - 2), generator=draws)
        stem = prefix + (key_of(layer) if prefix.endswith("_") else layer)
        file |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.alpha": torch.tensor(ALPHA)}
        changes[layer] = ALPHA / RANK * (up.flatten(1) @ down.flatten(1)).reshape(shape)
    return file, changes


def applied(name: str, path: Path) -> tuple[State, tuple[str, ...]]:
    """Return by how much a LoRA changes each layer of a family's transformer, and what is told of it."""
    pipeline = ROWS[name].build()
    family = family_of_pipeline(pipeline, name)
    parts = Parts({part: getattr(pipeline, part) for part in family.lora or ()}, {}, {}, "")
    _, notes = apply_loras(parts, family, [path])
    layers = {key: layer for key, layer in pipeline.transformer.named_modules() if hasattr(layer, "lora_A")}
    return {key: layer.get_delta_weight("lora_0") for key, layer in layers.items()}, notes


def shapes(network: Any, named: dict[str, list[str]]) -> dict[str, Any]:
    weights = {layer: [network.get_submodule(path).weight for path in paths] for layer, paths in named.items()}
    return {layer: (sum(len(of) for of in found), *found[0].shape[1:]) for layer, found in weights.items()}


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_", "base_model.model.", ""])
@pytest.mark.parametrize("name", TABLES)
def test_every_layer_under_its_authors_name_gets_its_own_rows(name: str, prefix: str, tmp_path: Path) -> None:
    network = ROWS[name].build().transformer
    named = theirs(name, network)
    assert len(named) > 5
    first: dict[str, list[str]] = {}
    for layer, paths in named.items():  # two names of one layer, as of FLUX.1 and XLabs, are two files
        if not {path for of in first.values() for path in of}.intersection(paths):
            first[layer] = paths
    for part in (first, {layer: paths for layer, paths in named.items() if layer not in first}):
        state, changes = lora(shapes(network, part), prefix)
        if not state:
            continue
        save_file(state, tmp_path / "own.safetensors")
        found, notes = applied(name, tmp_path / "own.safetensors")
        assert not any("left out" in note for note in notes)
        assert set(found) == {path for paths in part.values() for path in paths}
        for layer, paths in part.items():
            got = torch.cat([found[path].flatten(1) for path in paths])
            # Shift and scale of a last norm are the one thing that is not in its authors' order.
            kind = type(network.get_submodule(paths[0].rpartition(".")[0])).__name__
            wanted = changes[layer].flatten(1)
            if kind in {"AdaLayerNormContinuous", "AuraFlowPreFinalBlock"}:
                wanted = torch.cat(wanted.chunk(2)[::-1])
            assert torch.allclose(got, wanted, atol=1e-5), layer


CONVERSIONS: dict[str, str] = {
    "flux-2-klein": "convert_flux2_transformer_checkpoint_to_diffusers",
    "sd3": "convert_sd3_transformer_checkpoint_to_diffusers",
    "z-image": "convert_z_image_transformer_checkpoint_to_diffusers",
    "krea-2-raw": "convert_krea2_transformer_checkpoint_to_diffusers",
    "sana": "convert_sana_transformer_to_diffusers",
    "auraflow": "convert_auraflow_transformer_checkpoint_to_diffusers",
}
BESIDE: dict[str, Callable[[], State]] = {
    "sd3": lambda: dict.fromkeys(("pos_embed", "context_embedder.weight"), torch.zeros(6)),
    "sana": lambda: dict.fromkeys(
        (
            "pos_embed", "y_embedder.y_embedding", "attention_y_norm.weight", "final_layer.scale_shift_table",
            "blocks.0.scale_shift_table", "blocks.1.scale_shift_table", "blocks.0.mlp.depth_conv.conv.weight",
            "blocks.1.mlp.depth_conv.conv.weight",
        ),
        torch.zeros(6),
    ),
    "auraflow": lambda: {"positional_encoding": torch.zeros(6)},
}  # fmt: skip
"""What a checkpoint has beside layers that a conversion will not do without."""


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_lora_means_what_diffusers_makes_of_the_authors_checkpoint_changed_by_it(name: str, tmp_path: Path) -> None:
    from diffusers.loaders import single_file_utils

    network = ROWS[name].build().transformer
    state, changes = lora(shapes(network, theirs(name, network)))
    save_file(state, tmp_path / "own.safetensors")
    found, _ = applied(name, tmp_path / "own.safetensors")
    checkpoint = {f"{layer}.weight": change for layer, change in changes.items()} | BESIDE.get(name, dict)()
    checkpoint |= {key.replace(".weight", ".bias"): torch.zeros(6) for key in checkpoint}
    converted = getattr(single_file_utils, CONVERSIONS[name])(checkpoint)
    assert len(found) > 8
    for path, change in found.items():
        assert torch.allclose(change, converted[f"{path}.weight"], atol=1e-5), path


QKV = "lora_unet_double_blocks_0_img_attn_qkv"
MOD, MLP = "lora_unet_double_blocks_0_img_mod_lin", "lora_unet_single_blocks_0_linear1"
WIDE = 32


def flux(seed: int = 0) -> tuple[State, State]:
    shape = {"double_blocks.0.img_attn.qkv": (3 * WIDE, WIDE), "double_blocks.0.img_mod.lin": (6 * WIDE, WIDE)}
    return lora(shape | {"single_blocks.0.linear1": (7 * WIDE, WIDE)}, "lora_unet_", seed)


def test_what_is_joined_is_cut_in_the_order_of_queries_keys_values_and_mlp(tmp_path: Path) -> None:
    state, _ = flux()
    save_file(state, tmp_path / "own.safetensors")
    found, notes = applied("flux-1-dev", tmp_path / "own.safetensors")
    assert notes == ()
    assert len(found) == 3 + 1 + 4
    whole = 1.5 * state[f"{QKV}.lora_up.weight"] @ state[f"{QKV}.lora_down.weight"]
    for index, end in enumerate(("to_q", "to_k", "to_v")):
        rows = whole[WIDE * index : WIDE * (index + 1)]
        assert torch.allclose(found[f"transformer_blocks.0.attn.{end}"], rows, atol=1e-5)
    whole = 1.5 * state[f"{MLP}.lora_up.weight"] @ state[f"{MLP}.lora_down.weight"]
    assert torch.allclose(found["single_transformer_blocks.0.attn.to_v"], whole[2 * WIDE : 3 * WIDE], atol=1e-5)
    assert torch.allclose(found["single_transformer_blocks.0.proj_mlp"], whole[3 * WIDE :], atol=1e-5)


def test_two_files_under_unlike_names_and_scales_add_up_in_the_output(tmp_path: Path) -> None:
    (first, change), (second, other) = flux(), flux(1)
    save_file(first, tmp_path / "a.safetensors")
    own = {"transformer.transformer_blocks.0.attn.to_k.lora_A.weight": second[f"{QKV}.lora_down.weight"]}
    own |= {"transformer.transformer_blocks.0.attn.to_k.lora_B.weight": second[f"{QKV}.lora_up.weight"][:WIDE]}
    save_file({key: value.contiguous() for key, value in own.items()}, tmp_path / "b.safetensors")
    pipeline = ROWS["flux-1-dev"].build()
    load_model(pipeline)
    network = pipeline.transformer
    k = network.transformer_blocks[0].attn.to_k
    x = torch.randn(2, WIDE, generator=torch.Generator().manual_seed(5))
    plain = k(x)
    family = family_of_pipeline(pipeline, "flux")
    parts = Parts({part: getattr(pipeline, part) for part in family.lora or ()}, {}, {}, "")
    apply_loras(parts, family, [(tmp_path / "a.safetensors", 0.5), (tmp_path / "b.safetensors", -2.0)])
    moved = network.transformer_blocks[0].attn.to_k(x) - plain
    rows = change["double_blocks.0.img_attn.qkv"][WIDE : 2 * WIDE]
    alone = other["double_blocks.0.img_attn.qkv"][:WIDE] * RANK / ALPHA
    assert torch.allclose(moved, x @ (0.5 * rows - 2 * alone).T, atol=1e-4)


def test_the_names_of_xlabs_and_of_a_plain_text_encoder_in_one_file(tmp_path: Path) -> None:
    qkv, text = "double_blocks.0.processor.qkv_lora2", "text_encoders.clip_l.transformer.text_model.encoder.layers.0."
    draws = torch.Generator().manual_seed(2)
    down, up = torch.randn(2, WIDE, generator=draws), torch.randn(3 * WIDE, 2, generator=draws)
    state = {f"{qkv}.down.weight": down, f"{qkv}.up.weight": up}
    state |= {f"{text}mlp.fc1.lora_A.weight": down.clone(), f"{text}mlp.fc1.lora_B.weight": up[: 2 * WIDE].clone()}
    save_file(state, tmp_path / "own.safetensors")
    found, notes = applied("flux-1-dev", tmp_path / "own.safetensors")
    assert notes == ()
    assert set(found) == {f"transformer_blocks.0.attn.add_{end}_proj" for end in "qkv"}
    assert torch.allclose(found["transformer_blocks.0.attn.add_v_proj"], up[2 * WIDE :] @ down, atol=1e-5)


def test_a_layer_that_is_there_joined_and_singly_is_applied_once_and_told(tmp_path: Path) -> None:
    state, _ = lora({"layers.0.attention.qkv": (96, 32)})
    single, changes = lora({f"layers.0.attention.to_{end}": (32, 32) for end in "qkv"}, seed=1)
    save_file(state | single, tmp_path / "own.safetensors")
    found, notes = applied("z-image", tmp_path / "own.safetensors")
    assert notes == (
        "LoRA own.safetensors: 1 of its 4 layers is in it twice and was left out "
        "(first: diffusion_model.layers.0.attention.qkv)",
    )
    assert all(torch.allclose(change, changes[path], atol=1e-5) for path, change in found.items())


def test_a_dora_by_outputs_is_cut_with_its_layer_and_one_by_inputs_is_refused(tmp_path: Path) -> None:
    pipeline = ROWS["flux-1-dev"].build()
    family, attn = family_of_pipeline(pipeline, "flux"), pipeline.transformer.transformer_blocks[0].attn
    parts = Parts({part: getattr(pipeline, part) for part in family.lora or ()}, {}, {}, "")
    state, changes = lora({"double_blocks.0.img_attn.qkv": (3 * WIDE, WIDE)}, "lora_unet_")
    lengths = torch.rand(3 * WIDE, 1, generator=torch.Generator().manual_seed(3)) + 0.5
    moved = attn.to_v.weight + changes["double_blocks.0.img_attn.qkv"][2 * WIDE :]
    wanted = lengths[2 * WIDE :] * moved / moved.norm(dim=1, keepdim=True)
    save_file(state | {f"{QKV}.dora_scale": torch.rand(1, WIDE)}, tmp_path / "columns.safetensors")
    with pytest.raises(ModelError, match=f"columns.safetensors: layer {QKV} is a DoRA of joined layers by columns"):
        apply_loras(parts, family, [tmp_path / "columns.safetensors"])
    save_file(state | {f"{QKV}.dora_scale": lengths}, tmp_path / "rows.safetensors")
    apply_loras(parts, family, [tmp_path / "rows.safetensors"])
    assert torch.allclose(attn.to_v.weight, wanted, atol=1e-5)


SD1 = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
NAN = torch.full((2, WIDE), math.nan)


def odd(**changes: Tensor) -> State:
    """Return a sound file for FLUX.1 with other tensors of its first layer."""
    return flux()[0] | {f"{QKV}.{key.replace('_weight', '.weight')}": value for key, value in changes.items()}


REFUSED: dict[str, tuple[str, Callable[[], State], str]] = {
    "SD 1 into FLUX": (
        "flux-1-dev",
        lambda: {f"{SD1}.lora_down.weight": torch.ones(2, 768), f"{SD1}.lora_up.weight": torch.ones(1280, 2)},
        "it was made for another model, Stable Diffusion 1.x",
    ),
    "FLUX into Z-Image": ("z-image", lambda: flux()[0], f"made for another family, Flux .its layer '{QKV}'"),
    "FLUX into SD 3": ("sd3", lambda: flux()[0], "made for another family, Flux"),
    "SD 3 into FLUX": (
        "flux-1-dev",
        lambda: lora({"joint_blocks.0.x_block.attn.qkv": (96, 32)}, "lora_unet_")[0],
        "made for another family, Stable Diffusion 3",
    ),
    "a larger FLUX": (
        "flux-1-dev", lambda: odd(lora_up_weight=torch.ones(9216, 2)), f"{QKV} has 9216 outputs, and 96 in it"
    ),
    "a wider FLUX": ("flux-1-dev", lambda: odd(lora_down_weight=torch.ones(2, 48)), f"{QKV} is 32 x 48, and 32 x 32"),
    "NaN": ("flux-1-dev", lambda: odd(lora_down_weight=NAN), f"tensor '{QKV}.lora_down.weight' holds NaN"),
    "half of a pair": (
        "flux-1-dev",
        lambda: {key: value for key, value in flux()[0].items() if key != f"{QKV}.lora_up.weight"},
        f"layer {QKV} has 'down' without 'up'",
    ),
    "FLUX.2 into FLUX.1": (
        "flux-1-dev",
        lambda: lora({"double_stream_modulation_img.lin": (192, 32), "single_blocks.7.linear1": (288, 32)})[0],
        "no layers for this model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, state, message = REFUSED[case]
    save_file({key: value.contiguous() for key, value in state().items()}, tmp_path / "far.safetensors")
    with pytest.raises(ModelError, match="LoRA far.safetensors.*" + message):
        applied(name, tmp_path / "far.safetensors")


def test_blocks_beyond_the_models_are_left_out_counted_and_named(tmp_path: Path) -> None:
    state, _ = flux()
    far, _ = lora({"double_blocks.5.img_attn.qkv": (96, 32)}, "lora_unet_")
    te, _ = lora({"encoder.block.0.layer.0.SelfAttention.q": (32, 32)}, "lora_te3_")
    save_file(state | far | te, tmp_path / "own.safetensors")
    found, notes = applied("flux-1-dev", tmp_path / "own.safetensors")
    assert len(found) == 8
    assert notes == (
        "LoRA own.safetensors: 2 of its 5 layers are not in this model and were left out "
        "(first: lora_te3_encoder_block_0_layer_0_SelfAttention_q)",
    )
