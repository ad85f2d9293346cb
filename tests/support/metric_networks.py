"""Metric networks in miniature: the real transformers classes with small random weights, saved as users have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.support import tiny
from wordbrush.evaluation.networks.backbones import BackboneName
from wordbrush.evaluation.networks.lpips import LpipsModule
from wordbrush.models.checkpoint.quiet import quiet

SIDE = 32
"""Native side of the tiny vision networks in pixels."""

_SMALL: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE}
_SMALL |= {"patch_size": 8, "intermediate_size": 32}


def picture(seed: int, height: int = 48, width: int = 40) -> NDArray[np.uint8]:
    """A picture with structure: blocks of random colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]


def _save(model: Any, folder: Path, processor: dict[str, Any] | None) -> Path:
    with quiet():
        model.eval().save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def processor(kind: str = "ViTImageProcessor", **changes: Any) -> dict[str, Any]:
    """What a folder says of its pictures, as transformers writes it."""
    table: dict[str, Any] = {"image_processor_type": kind, "do_resize": True, "do_normalize": True, "do_rescale": True}
    table |= {"size": {"height": SIDE, "width": SIDE}, "resample": 2, "rescale_factor": 1 / 255}
    table |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    return table | changes


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP of two small towers with the tiny tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    text = tiny.text_encoder("sd1").config.to_dict()
    config = CLIPConfig(text_config=text, vision_config=_SMALL, projection_dim=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config)
    tiny.write_tokenizer(folder)
    square = {"height": SIDE, "width": SIDE}
    return _save(
        model,
        folder,
        processor(
            "CLIPImageProcessor", size={"shortest_edge": SIDE}, crop_size=square, do_center_crop=True, resample=3
        ),
    )


def write_vision(folder: Path, family: str = "dinov2", seed: int = 0) -> Path:
    """A DINOv2 or ViT without a head."""
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "dinov2":
            model: Any = Dinov2Model(Dinov2Config(**_SMALL))
        else:
            model = ViTModel(ViTConfig(**_SMALL), add_pooling_layer=False)
    return _save(model, folder, processor("ViTImageProcessor" if family == "vit" else "BitImageProcessor"))


def write_classifier(folder: Path, scores: list[float], seed: int = 0) -> Path:
    """A DeiT with distillation whose answer to any picture is `scores`: its heads have no weight, only these biases."""
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    names = {index: f"class {index}" for index in range(len(scores))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = DeiTForImageClassificationWithTeacher(DeiTConfig(**_SMALL, id2label=names))
    with torch.no_grad():
        for head in (model.cls_classifier, model.distillation_classifier):
            head.weight.zero_()
            head.bias.copy_(torch.tensor(scores))
    return _save(model, folder, processor("DeiTImageProcessor", size=38, crop_size=SIDE, resample=3))


def lpips_state(net: BackboneName = "alex", seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of LPIPS that let signals through to the last layer; the learned ones are positive."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in LpipsModule(net).state_dict().items():
        drawn = torch.randn(value.shape, generator=generator)
        if name.startswith("lin"):
            state[name] = drawn.abs() / value.numel()
        else:
            state[name] = drawn * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1 * drawn
    return state


def write_lpips(folder: Path, net: BackboneName = "alex", seed: int = 0) -> Path:
    """A folder with `lpips_{net}.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(lpips_state(net, seed), folder / f"lpips_{net}.safetensors")
    return folder
