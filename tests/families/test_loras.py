"""LoRAs of transformers under the names of their authors and of trainers that follow them.

The judge is each network's own conversion in diffusers of a checkpoint of its authors: a LoRA that changes a layer of
the checkpoint means what the conversion makes of the changed checkpoint. The conversions of FLUX.1 and Lumina 2 know
the sizes of the published networks alone, so there the rows are written out.
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
    """Return the layers of a network by what its authors call them, with those that they call like diffusers."""
    layers = {path for path, layer in network.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)}
    named: dict[str, list[str]] = {}
    for pattern, ours in TABLES[name].items():
        for number in ("0", "1") if "#" in pattern else ("",):
            paths = [path.replace("#", number) for path in ours]
            if layers.issuperset(paths):
                named[pattern.replace("#", number)] = paths
    return named


def lora(layers: dict[str, Any], prefix: str = "diffusion_model.", seed: int = 0) -> tuple[State, State]:
    """Return a file that changes layers, given by name with the shapes of their weights, and each one's change."""
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


def applied(name: str, path: Path, scale: float = 1.0) -> tuple[State, tuple[str, ...]]:
    """Return by how much a LoRA changes each layer of a family's transformer, and what is told of it."""
    pipeline = ROWS[name].build()
    family = family_of_pipeline(pipeline, name)
    parts = Parts({part: getattr(pipeline, part) for part in family.lora or ()}, {}, {}, "")
    _, notes = apply_loras(parts, family, [(path, scale)])
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
        assert notes == ()
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
    "sd3": lambda: {"pos_embed": torch.zeros(1)},
    "sana": lambda: {
        key: torch.zeros(1)
        for key in (
            "pos_embed", "y_embedder.y_embedding", "attention_y_norm.weight", "final_layer.scale_shift_table",
            "blocks.0.scale_shift_table", "blocks.1.scale_shift_table",
        )
    },
    "auraflow": lambda: {"positional_encoding": torch.zeros(1)},
}  # fmt: skip
"""What a checkpoint has beside layers that a conversion will not do without."""


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_lora_means_what_diffusers_makes_of_the_authors_checkpoint_changed_by_it(name: str, tmp_path: Path) -> None:
    from diffusers.loaders import single_file_utils

    network = ROWS[name].build().transformer
    state, changes = lora(shapes(network, theirs(name, network)))
    save_file(state, tmp_path / "own.safetensors")
    found, _ = applied(name, tmp_path / "own.safetensors")
    checkpoint = {f"{layer}.weight": change for layer, change in changes.items()}
    for path, layer in network.named_modules():  # what both call the same
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and f"{path}.weight" not in checkpoint:
            checkpoint.setdefault(f"{path}.weight", torch.zeros(1))
    biases = {key.replace(".weight", ".bias"): change[:, 0].flatten() for key, change in checkpoint.items() if change.dim() > 1}
    biases |= {key.replace(".weight", ".bias"): torch.zeros(1) for key in checkpoint if checkpoint[key].dim() == 1}
    given = {**checkpoint, **(biases if name in {"sd3", "sana", "auraflow"} else {}), **BESIDE.get(name, dict)()}
    only = {key: value for key, value in given.items() if name != "krea-2-raw" or key.removesuffix(".weight") in changes}
    only = {k: v for k, v in only.items() if name not in {"flux-2-klein", "z-image"} or k.removesuffix(".weight") in changes}
    converted = getattr(single_file_utils, CONVERSIONS[name])(only)
    assert len(found) > 8
    for path, change in found.items():
        assert torch.allclose(change, converted[f"{path}.weight"], atol=1e-5), path
