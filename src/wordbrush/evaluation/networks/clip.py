"""CLIP: how well a picture fits a text (CLIPScore, Hessel et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation.networks.figures import Card, Pictures, Skipped
from wordbrush.evaluation.networks.preparing import CLIP_MEAN, CLIP_STD, Preparation, batches
from wordbrush.evaluation.networks.sources import find, load_pretrained
from wordbrush.models.checkpoint.quiet import quiet

__all__ = ["Clip", "load_clip"]

Vectors = NDArray[np.float64]


class Clip:
    """A CLIP model with its tokenizer.

    Attributes:
        card: which network.
        preparation: what the checkpoint's folder asks for.
    """

    def __init__(self, model: Any, tokenizer: Any, card: Card, preparation: Preparation) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.card, self.preparation = card, preparation

    def embed_pictures(self, pictures: Pictures, batch: int = 16) -> Vectors:
        """Return unit vectors, (picture, feature), of pictures (height, width, RGB)."""
        with torch.inference_mode():
            stacks = [
                self._model.get_image_features(pixel_values=stack).pooler_output
                for stack in batches(pictures, self.preparation, batch)
            ]
        return _unit(stacks)

    def embed_texts(self, texts: Sequence[str], batch: int = 64) -> Vectors:
        """Return unit vectors, (text, feature); texts longer than the model's limit are cut."""
        stacks = []
        length = self._model.config.text_config.max_position_embeddings
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                tokens = self._tokenizer(
                    list(texts[start : start + batch]),
                    padding=True,
                    truncation=True,
                    max_length=length,
                    return_tensors="pt",
                )
                stacks.append(self._model.get_text_features(**tokens).pooler_output)
        return _unit(stacks)

    def cosines(self, pictures: Pictures, texts: Sequence[str]) -> Vectors:
        """Return the cosine of each picture with its text, (pair,), -1 to 1.

        Raises:
            InputError: there are not as many pictures as texts.
        """
        if len(pictures) != len(texts):
            raise InputError(f"{len(pictures)} pictures and {len(texts)} texts: give one text per picture")
        cosines: Vectors = np.einsum("nd,nd->n", self.embed_pictures(pictures), self.embed_texts(texts))
        return cosines

    def scores(self, pictures: Pictures, texts: Sequence[str]) -> Vectors:
        """Return CLIPScore as editing papers report it, 100·max(cosine, 0), per pair, 0 to 100."""
        return 100 * np.maximum(self.cosines(pictures, texts), 0)


def _unit(stacks: list[torch.Tensor]) -> Vectors:
    if not stacks:
        return np.zeros((0, 0))
    vectors = torch.cat(stacks).double()
    unit: Vectors = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    return unit


def load_clip(source: str | Path | None, revision: str | None = None) -> Clip | Skipped:
    """Load a CLIP checkpoint in the layout of transformers: config, weights, tokenizer, picture processing.

    Args:
        source: a folder or a hub id, such as `openai/clip-vit-large-patch14`.
        revision: of a hub repository.

    Raises:
        ModelError: the checkpoint is there but is not CLIP, or is damaged.
    """
    place = find(source, "clip", revision)
    if isinstance(place, Skipped):
        return place
    if not (place.path / "config.json").is_file():
        return Skipped("clip", f"{place.source}: there is no config.json, so it is not a transformers folder")
    import transformers
    from transformers import AutoTokenizer, CLIPModel

    model = load_pretrained(CLIPModel, place.path)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders of transformers raise what they like
        raise ModelError(
            f"{place.source}: the tokenizer cannot be read: {' '.join(str(error).split())[:200]}"
        ) from error
    vision = model.config.vision_config
    side = int(vision.image_size)
    standard = Preparation(side, (side, side), "bicubic", CLIP_MEAN, CLIP_STD)
    backbone = f"CLIP ViT, {vision.num_hidden_layers} layers, width {vision.hidden_size}, patch {vision.patch_size}"
    card = place.card(place.weights(), backbone, f"transformers {transformers.__version__}")
    return Clip(model, tokenizer, card, Preparation.from_folder(place.path) or standard)
