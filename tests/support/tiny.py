"""Stable Diffusion in miniature: the real diffusers and transformers classes with small random weights.

Everything is built here, offline: configurations, weights and a CLIP tokenizer with a vocabulary of its own. Weights
depend on nothing but `kind` and `seed`.

```
tiny.components("sd1")          # unet, vae, text_encoder, tokenizer, scheduler, as a dict
tiny.pipeline("sd2")            # a StableDiffusionPipeline of them
tiny.write_folder(path, "sd1")  # the diffusers layout
tiny.write_single_file(path / "model.safetensors", "sd1")
```
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["sd1", "sd2"]
"""`sd1`: epsilon prediction, convolutional projections. `sd2`: v prediction, linear ones, a wider text encoder."""

FACTOR = 2
"""Pixels per latent cell, along each side."""

CHANNELS = 4
"""Latent channels."""

RESOLUTION = 64
"""Native side in pixels."""

_START, _END = "<|startoftext|>", "<|endoftext|>"
_TEXT_WIDTH = {"sd1": 32, "sd2": 48}
_WORDS = ("a", "cat", "dog", "horse", "zebra", "car", "red", "blue", "on", "grass", "snow", "sand", "and", "the")


def _alphabet() -> list[str]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(plain)
    return [chr(code) for code in plain] + [chr(256 + index) for index in range(others)]


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return (token -> id, merges) of a byte-level vocabulary that keeps a few words whole and spells out the rest."""
    letters = _alphabet()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        head = word[0]
        for index, letter in enumerate(word[1:], start=1):
            piece = letter if index < len(word) - 1 else f"{letter}</w>"
            if (head, piece) not in merges:
                merges.append((head, piece))
                tokens.append(head + piece)
            head += piece
    return {token: index for index, token in enumerate([*dict.fromkeys(tokens), _START, _END])}, merges


def write_tokenizer(folder: Path) -> Path:
    """Write the tokenizer's files as transformers expects them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": _START, "eos_token": _END}
    settings |= {"pad_token": _END, "unk_token": _END}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tokenizer() -> Any:
    """Return a CLIPTokenizer with the vocabulary above and a limit of 77 tokens."""
    from transformers import CLIPTokenizer

    table, merges = vocabulary()
    pairs: Any = merges
    return CLIPTokenizer(table, pairs, model_max_length=77)


def _seeded(seed: int, build: Callable[[], Any]) -> Any:
    """Build a module with weights that depend on `seed` alone; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval().requires_grad_(False)


def unet(kind: Kind = "sd1", seed: int = 0, **changes: Any) -> Any:
    """Return a UNet2DConditionModel of two blocks, 32 and 64 channels; `changes` go into its configuration."""
    from diffusers import UNet2DConditionModel

    config: dict[str, Any] = {
        "sample_size": RESOLUTION // FACTOR,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "layers_per_block": 2,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": _TEXT_WIDTH[kind],
        "attention_head_dim": (2, 4) if kind == "sd2" else 4,
        "use_linear_projection": kind == "sd2",
    }
    return _seeded(seed, lambda: UNet2DConditionModel(**(config | changes)))


def vae(seed: int = 1, **changes: Any) -> Any:
    """Return an AutoencoderKL that halves each side, with 4 latent channels."""
    from diffusers import AutoencoderKL

    config: dict[str, Any] = {
        "block_out_channels": (32, 64),
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "latent_channels": CHANNELS,
        "sample_size": RESOLUTION,
        "scaling_factor": 0.18215,
    }
    return _seeded(seed, lambda: AutoencoderKL(**(config | changes)))


def text_encoder(kind: Kind = "sd1", seed: int = 2, **changes: Any) -> Any:
    """Return a CLIPTextModel of three layers that knows the tiny vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    table, _ = vocabulary()
    width = _TEXT_WIDTH[kind]
    config: dict[str, Any] = {
        "vocab_size": len(table),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "projection_dim": width,
        "hidden_act": "gelu" if kind == "sd2" else "quick_gelu",
        "bos_token_id": table[_START],
        "eos_token_id": table[_END],
        "pad_token_id": table[_END],
    }
    return _seeded(seed, lambda: CLIPTextModel(CLIPTextConfig(**(config | changes))))


def scheduler(kind: Kind = "sd1", **changes: Any) -> Any:
    """Return the DDIM scheduler of Stable Diffusion 1 (eps) or 2 (v)."""
    from diffusers import DDIMScheduler

    config: dict[str, Any] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "v_prediction" if kind == "sd2" else "epsilon",
    }
    return DDIMScheduler(**(config | changes))


def components(kind: Kind = "sd1", seed: int = 0) -> dict[str, Any]:
    """Return fresh components under the names that pipelines use."""
    return {
        "unet": unet(kind, seed),
        "vae": vae(seed + 1),
        "text_encoder": text_encoder(kind, seed + 2),
        "tokenizer": tokenizer(),
        "scheduler": scheduler(kind),
    }


def pipeline(kind: Kind = "sd1", seed: int = 0, pipeline_class: Any = None, **parts: Any) -> Any:
    """Return a StableDiffusionPipeline (or `pipeline_class`) of tiny components; `parts` replace some of them."""
    from diffusers import StableDiffusionPipeline

    chosen = pipeline_class or StableDiffusionPipeline
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return chosen(
            **(components(kind, seed) | parts),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def write_folder(folder: Path, kind: Kind = "sd1", seed: int = 0, **parts: Any) -> Path:
    """Write a checkpoint in the diffusers layout, weights as safetensors; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = components(kind, seed) | parts
    for name in ("unet", "vae", "text_encoder", "scheduler"):
        chosen[name].save_pretrained(folder / name)
    write_tokenizer(folder / "tokenizer")
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.40.0"}
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {"scheduler": ["diffusers", type(chosen["scheduler"]).__name__]}
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder


def write_single_file(path: Path, kind: Kind = "sd1", seed: int = 0, **parts: Any) -> Path:
    """Write a checkpoint as one file under the tensor names of the original Stable Diffusion; returns the path."""
    from safetensors.torch import save_file

    from tests.support.original_names import original_state

    chosen = components(kind, seed) | parts
    save_file(original_state(chosen["unet"], chosen["vae"], chosen["text_encoder"], kind), path)
    return path


@cache
def lora_state(kind: Kind = "sd1", rank: int = 2, seed: int = 5, *, text: bool = True) -> dict[str, Tensor]:
    """Return a LoRA for the tiny model named as in diffusers; for queries, in the text encoder for outputs too."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    wanted: list[tuple[str, tuple[str, ...], Any]] = [("unet", ("to_q",), unet(kind))]
    wanted += [("text_encoder", ("q_proj", "out_proj"), text_encoder(kind))] if text else []
    for prefix, suffixes, module in wanted:
        for name, layer in module.named_modules():
            if name.endswith(suffixes):
                rows, columns = layer.weight.shape
                state[f"{prefix}.{name}.lora_A.weight"] = torch.randn(rank, columns, generator=generator)
                state[f"{prefix}.{name}.lora_B.weight"] = torch.randn(rows, rank, generator=generator)
    return state
