"""Models that are known and cannot be used: each is refused by name, with the reason and what works in its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.more_families import pixart
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.layout import family_in, refuse_by_names
from wordbrush.models.registry import family_of_pipeline


@pytest.mark.parametrize(
    ("pipeline", "parts", "words"),
    [
        ("KolorsPipeline", {"unet": "UNet2DConditionModel", "text_encoder": "ChatGLMModel"}, r"Kolors.*ChatGLM.*XL"),
        ("HiDreamImagePipeline", {"transformer": "HiDreamImageTransformer2DModel"}, r"HiDream.*Llama.*FLUX\.1"),
        ("Ideogram4Pipeline", {"transformer": "Ideogram4Transformer2DModel"}, r"second network.*Qwen-Image"),
        ("PixArtAlphaPipeline", {"transformer": "PixArtTransformer2DModel"}, "PixArt-Sigma"),
        ("HunyuanDiTPipeline", {"transformer": "HunyuanDiT2DModel"}, r"Hunyuan-DiT.*PixArt-Sigma"),
        ("StableCascadeDecoderPipeline", {"decoder": "StableCascadeUNet"}, r"Stable Cascade.*coarse"),
        ("SomethingPipeline", {"transformer": "SomethingTransformer"}, "transformer of a kind not known"),
    ],
)
def test_a_folder_is_refused_by_the_name_of_its_pipeline(
    tmp_path: Path, pipeline: str, parts: dict[str, str], words: str
) -> None:
    index = {"_class_name": pipeline, **{name: ["diffusers", kind] for name, kind in parts.items()}}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=f"folder is not supported: it is .*{words}"):
        family_in(tmp_path, "folder")


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [("AnimaModularPipeline", r"\(Anima\).*XL"), ("Flux3ModularPipeline", r"\(FLUX\.3\).*klein"), ("X", "parts$")],
)
def test_a_folder_for_modular_pipelines_alone_is_refused_by_its_index(
    tmp_path: Path, pipeline: str, words: str
) -> None:
    (tmp_path / "modular_model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    with pytest.raises(ModelError, match=f"modular_model_index.json and no model_index.json.*{words}"):
        load_model(tmp_path)


def test_a_repository_for_modular_pipelines_alone_is_refused_before_it_is_fetched() -> None:
    with pytest.raises(ModelError, match=r"hub is not supported: it holds modular_model_index\.json"):
        refuse_by_names(["modular_model_index.json", "transformer/config.json"], "hub")


def test_pixart_alpha_is_told_by_its_network_where_its_pipeline_says_nothing(tmp_path: Path) -> None:
    pixart().save_pretrained(tmp_path / "alpha")
    config = tmp_path / "alpha/transformer/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_additional_conditions": True}))
    with pytest.raises(ModelError, match=r"resolution and aspect ratio.*PixArt-Sigma-XL"):
        load_model(tmp_path / "alpha")


def test_a_loaded_pipeline_is_refused_by_its_name_too() -> None:
    class KolorsPipeline:
        def __init__(self) -> None:
            self.components = {"unet": tiny.unet(), "text_encoder": tiny.vae()}

    with pytest.raises(ModelError, match=r"pipeline is not supported: it is Kolors"):
        family_of_pipeline(KolorsPipeline(), "pipeline")
