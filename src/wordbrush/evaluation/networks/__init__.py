"""Metric networks: load their weights, and compute features, distances and scores of pictures.

Weights are safetensors in a local folder or a hub repository that the user names. A network that cannot be had is
`Skipped` with the reason; a report shows it as a `Figure` without a value. `convert` turns published pickles into
safetensors once. torchvision is needed for Inception only.

| kind | metric | weights |
|---|---|---|
| lpips | LPIPS with AlexNet, VGG16 or SqueezeNet | `lpips_{alex,vgg,squeeze}.safetensors`, made by `convert` |
| clip | CLIPScore | any CLIP checkpoint of transformers |
| features | FID, CSFID with another network | DINOv2, CLIP or ViT of transformers |
| inception | FID, CSFID as published | `inception_fid.safetensors`, made by `convert` |
| classifier | accuracy | any image classifier of transformers |
| structure | structure distance | DINO ViT-B/8 of transformers |
"""

from wordbrush.evaluation.networks.clip import Clip, load_clip
from wordbrush.evaluation.networks.figures import Card, Described, FeatureNetwork, Figure, Pictures, Skipped
from wordbrush.evaluation.networks.inception import Inception, load_inception
from wordbrush.evaluation.networks.lpips import Lpips, load_lpips
from wordbrush.evaluation.networks.preparing import FLEXIT_CLASSIFIER, FLEXIT_SQUARE, Preparation
from wordbrush.evaluation.networks.vision import (
    Classifier,
    Features,
    Structure,
    load_classifier,
    load_features,
    load_structure,
)

__all__ = [
    "FLEXIT_CLASSIFIER",
    "FLEXIT_SQUARE",
    "Card",
    "Classifier",
    "Clip",
    "Described",
    "FeatureNetwork",
    "Features",
    "Figure",
    "Inception",
    "Lpips",
    "Pictures",
    "Preparation",
    "Skipped",
    "Structure",
    "load_classifier",
    "load_clip",
    "load_features",
    "load_inception",
    "load_lpips",
    "load_structure",
]
