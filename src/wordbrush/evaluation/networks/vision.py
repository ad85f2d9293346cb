"""Vision networks of transformers: features for set distances, a classifier, and the structure distance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation.networks.figures import Card, Pictures, Skipped
from wordbrush.evaluation.networks.preparing import IMAGENET_MEAN, IMAGENET_STD, Preparation, batches
from wordbrush.evaluation.networks.sources import Place, find, load_pretrained

__all__ = ["Classifier", "Features", "Structure", "load_classifier", "load_features", "load_structure"]

FAMILIES: Final = ("clip", "dinov2", "dinov2_with_registers", "vit")
"""Model types with features: CLIP's picture embedding, the class token of the others."""

PIE_STRUCTURE: Final = Preparation(224, None, "bilinear", IMAGENET_MEAN, IMAGENET_STD, antialias=False)
"""How PIE-Bench prepares pictures for the structure distance; its longest side of 480 matters beyond 15:7 only."""


class Features:
    """A vision network that gives one vector per picture. FID with it is not FID with Inception: never mix them.

    Attributes:
        card: which network.
        preparation: what the checkpoint's folder asks for.
    """

    def __init__(self, model: Any, card: Card, preparation: Preparation) -> None:
        self._model, self.card, self.preparation = model, card, preparation

    def features(self, pictures: Pictures, batch: int = 16) -> NDArray[np.float64]:
        """Return (picture, feature) of pictures (height, width, RGB)."""
        with torch.inference_mode():
            features = [self._look(stack).double().numpy() for stack in batches(pictures, self.preparation, batch)]
        return np.concatenate(features) if features else np.zeros((0, 0))

    def _look(self, stack: Tensor) -> Tensor:
        vectors: Tensor
        if self._model.config.model_type == "clip":
            vectors = self._model.get_image_features(pixel_values=stack).pooler_output
        else:
            vectors = self._model(pixel_values=stack).last_hidden_state[:, 0]
        return vectors


class Classifier:
    """An image classifier.

    Attributes:
        card: which network.
        preparation: what the checkpoint's folder asks for.
        labels: name of each class, by index.
    """

    def __init__(self, model: Any, card: Card, preparation: Preparation) -> None:
        self._model, self.card, self.preparation = model, card, preparation
        names = model.config.id2label
        self.labels = tuple(str(names[index]) for index in range(len(names)))

    def predict(
        self,
        pictures: Pictures,
        classes: Sequence[int] | None = None,
        preparation: Preparation | None = None,
        batch: int = 8,
    ) -> NDArray[np.int64]:
        """Return the class of each picture, (picture,), as an index into `labels`.

        Args:
            pictures: (height, width, RGB) each.
            classes: only these are possible answers, as in FlexIT; default all.
            preparation: such as `FLEXIT_CLASSIFIER`; default the checkpoint's own.
            batch: pictures at a time.

        Raises:
            InputError: a class is not one of the network's.
        """
        allowed = np.unique(np.arange(len(self.labels)) if classes is None else np.asarray(classes, dtype=np.int64))
        if not len(allowed) or allowed[0] < 0 or allowed[-1] >= len(self.labels):
            raise InputError(f"classes must be numbers from 0 to {len(self.labels) - 1}, and at least one")
        predicted = [np.zeros(0, np.int64)]
        with torch.inference_mode():
            for stack in batches(pictures, preparation or self.preparation, batch):
                best = self._model(pixel_values=stack).logits[:, torch.from_numpy(allowed)].argmax(-1)
                predicted.append(allowed[best.numpy()])
        return np.concatenate(predicted)


class Structure:
    """The structure distance of Tumanyan et al. 2022: mean squared error between self-similarities of keys.

    The keys of the last attention layer, all heads side by side, are compared token with token by cosine; the two
    pictures' tables of cosines are compared by their mean squared difference. PIE-Bench takes DINO ViT-B/8 and shows
    1000 times the distance.

    Attributes:
        card: which network.
        preparation: PIE-Bench's, shorter side to 224.
    """

    def __init__(self, model: Any, card: Card, preparation: Preparation = PIE_STRUCTURE) -> None:
        self._model, self.card, self.preparation = model, card, preparation
        keys = [module for name, module in model.named_modules() if name.endswith(".k_proj")]
        self._last: nn.Module = keys[-1]

    def self_similarity(self, stack: Tensor) -> Tensor:
        """Return the cosines between the keys of all tokens, (token, token), the class token first.

        Args:
            stack: one prepared picture, (1, channel, height, width).
        """
        held: list[Tensor] = []
        handle = self._last.register_forward_hook(lambda _module, _inputs, output: held.append(output[0]))
        # Pictures may be of another size than the network was trained with.
        options = {"interpolate_pos_encoding": True} if self._model.config.model_type == "vit" else {}
        try:
            with torch.inference_mode():
                self._model(pixel_values=stack, **options)
        finally:
            handle.remove()
        keys = held[0].double()
        lengths = keys.norm(dim=1)
        cosines: Tensor = (keys @ keys.T) / (lengths[:, None] * lengths[None]).clamp_min(1e-8)
        return cosines

    def distances(self, first: Pictures, second: Pictures) -> NDArray[np.float64]:
        """Return the distance of each pair of pictures (height, width, RGB), (pair,); 0 for equal pictures.

        Raises:
            InputError: there are not as many of the one as of the other, or a pair differs in shape.
        """
        if len(first) != len(second):
            raise InputError(f"{len(first)} pictures cannot be compared with {len(second)}: give one partner each")
        distances = []
        for a, b in zip(first, second, strict=True):
            one, other = self.preparation(a)[None], self.preparation(b)[None]
            if one.shape != other.shape:
                raise InputError(f"pictures of {a.shape[:2]} and {b.shape[:2]}: the structure distance needs one shape")
            distances.append(float(((self.self_similarity(one) - self.self_similarity(other)) ** 2).mean()))
        return np.array(distances)


def load_features(source: str | Path | None, revision: str | None = None) -> Features | Skipped:
    """Load a vision network for features: a transformers folder or hub id of CLIP, DINOv2 or ViT.

    Raises:
        ModelError: the checkpoint is there but is damaged.
    """
    place = _open(source, "features", revision, FAMILIES)
    if isinstance(place, Skipped):
        return place
    preparation = _preparation(place, "features")
    if isinstance(preparation, Skipped):
        return preparation
    model = _base(place)
    return Features(model, _card(place, model), preparation)


def load_structure(source: str | Path | None, revision: str | None = None) -> Structure | Skipped:
    """Load a vision transformer for the structure distance; PIE-Bench's is DINO ViT-B/8.

    Raises:
        ModelError: the checkpoint is there but is damaged.
    """
    place = _open(source, "structure", revision, FAMILIES[1:])
    if isinstance(place, Skipped):
        return place
    model = _base(place)
    return Structure(model, _card(place, model))


def load_classifier(source: str | Path | None, revision: str | None = None) -> Classifier | Skipped:
    """Load an image classifier of transformers; FlexIT's is DeiT-B distilled at 384 pixels.

    Raises:
        ModelError: the checkpoint is there but is no image classifier, or is damaged.
    """
    place = _open(source, "classifier", revision)
    if isinstance(place, Skipped):
        return place
    preparation = _preparation(place, "classifier")
    if isinstance(preparation, Skipped):
        return preparation
    from transformers import AutoModelForImageClassification

    model = load_pretrained(AutoModelForImageClassification, place.path)
    return Classifier(model, _card(place, model), preparation)


def _open(
    source: str | Path | None, kind: str, revision: str | None, families: tuple[str, ...] = ()
) -> Place | Skipped:
    """Return the place of a transformers checkpoint of one of the families, if any are named."""
    place = find(source, kind, revision)
    if isinstance(place, Skipped):
        return place
    path = place.path / "config.json"
    if not path.is_file():
        return Skipped(kind, f"{place.source}: there is no config.json, so it is not a transformers folder")
    try:
        family = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if families and family not in families:
        return Skipped(kind, f"{place.source} is of the type {family!r}: {kind} takes {', '.join(families)}")
    return place


def _preparation(place: Place, kind: str) -> Preparation | Skipped:
    """Return the checkpoint's own picture processing: a guess would give wrong numbers without a sign of it."""
    own = Preparation.from_folder(place.path)
    return own or Skipped(kind, f"{place.source}: there is no preprocessor_config.json to say how it sees pictures")


def _base(place: Place) -> Any:
    """Return the network without a head."""
    from transformers import AutoConfig, AutoModel

    # A pooler is a layer after the class token; DINO's checkpoints have none, and nothing here looks at it.
    config = AutoConfig.from_pretrained(place.path, local_files_only=True, trust_remote_code=False)
    options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
    return load_pretrained(AutoModel, place.path, **options)


def _card(place: Place, model: Any) -> Card:
    import transformers

    config = getattr(model.config, "vision_config", model.config)
    shape = [f"{word} {getattr(config, key)}" for key, word in _SHAPE.items() if hasattr(config, key)]
    backbone = ", ".join([type(model).__name__, *shape])
    return place.card(place.weights(), backbone, f"transformers {transformers.__version__}")


_SHAPE: Final = {"num_hidden_layers": "layers", "hidden_size": "width", "patch_size": "patch", "image_size": "image"}
