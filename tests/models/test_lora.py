"""LoRAs: they change the output by their scale, and are on record."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support import tiny
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import LoraIdentity, Model, load_model
from wordbrush.models.addons.distilled import distilled_by_loras
from wordbrush.models.text import EMBEDDING

pytestmark = pytest.mark.usefixtures("closed_network")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    save_file(tiny.lora_state("sd1"), tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def output(model: Model, conditioning: Conditioning | None = None) -> torch.Tensor:
    x = torch.randn(1, tiny.CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    text = conditioning or Conditioning({EMBEDDING: torch.ones(1, 77, 32)})
    return model.denoiser(x, model.schedule.level(0.5), text).eps


def words(model: Model) -> torch.Tensor:
    return model.text.encode(["a red car"])[0].conditioning[EMBEDDING]


def test_lora_changes_unet_and_text_encoder_and_scale_zero_does_not(
    checkpoints: Path, model: Model, lora: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    full, off = load_model(checkpoints / "sd1", loras=[lora]), load_model(checkpoints / "sd1", loras=[(lora, 0.0)])
    assert capfd.readouterr() == ("", "")
    assert (output(full) - output(model)).abs().max() > 1e-3
    assert (words(full) - words(model)).abs().max() > 1e-3
    assert torch.allclose(output(off), output(model), atol=1e-6)
    assert torch.allclose(words(off), words(model), atol=1e-6)


def test_lora_equals_the_one_of_diffusers(checkpoints: Path, lora: Path) -> None:
    pipeline = tiny.pipeline("sd1")
    pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="style")
    pipeline.set_adapters(["style"], [0.4])
    ours = load_model(checkpoints / "sd1", loras=((str(lora), 0.4),))
    theirs = load_model(pipeline)
    assert torch.allclose(output(ours), output(theirs), atol=1e-5)
    assert torch.allclose(words(ours), words(theirs), atol=1e-5)
    (adapter,) = theirs.identity.loras
    assert adapter.source == "adapter style"
    assert adapter.scale == pytest.approx(0.4)
    assert theirs.identity.sha256 != load_model(tiny.pipeline("sd1")).identity.sha256


def test_loras_are_recorded_in_order_with_digest_and_scale(checkpoints: Path, tmp_path: Path, lora: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file(tiny.lora_state("sd1", seed=9, text=False), other)
    plain = load_model(checkpoints / "sd1").identity
    identity = load_model(
        checkpoints / "sd1.safetensors", config=checkpoints / "sd1", loras=(lora, (other, 0.5))
    ).identity
    assert [(Path(entry.source).name, entry.scale) for entry in identity.loras] == [
        ("style.safetensors", 1.0),
        ("other.safetensors", 0.5),
    ]
    assert identity.loras[0].sha256 == hashlib.sha256(lora.read_bytes()).hexdigest()
    assert identity.as_dict()["loras"][1]["scale"] == 0.5
    assert load_model(checkpoints / "sd1", loras=[lora]).identity.sha256 == plain.sha256


def test_lora_follows_the_dtype(checkpoints: Path, lora: Path) -> None:
    model = load_model(checkpoints / "sd1", dtype="bfloat16", loras=[lora])
    assert model.identity.dtype == "bfloat16"
    assert output(model).isfinite().all()


def test_loras_that_cannot_be_used(checkpoints: Path, tmp_path: Path, lora: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.safetensors"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "nowhere.safetensors"])
    with pytest.raises(SettingsError, match="scale nan"):
        load_model(checkpoints / "sd1", loras=[(lora, float("nan"))])
    with pytest.raises(ModelError, match=r"style\.safetensors"):
        load_model(checkpoints / "sd2", loras=[lora])
    save_file({"nonsense.weight": torch.zeros(2, 2)}, tmp_path / "nonsense.safetensors")
    with pytest.raises(ModelError, match=r"nonsense\.safetensors"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "nonsense.safetensors"])
    (tmp_path / "lora.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(UnsafeWeightsError, match=r"lora\.pt"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "lora.pt"])


def test_lora_in_the_naming_of_other_trainers_is_the_same(checkpoints: Path, tmp_path: Path, lora: Path) -> None:
    """The naming most shared files have: underscores for dots, down and up, and an alpha that scales by its rank."""
    state: dict[str, torch.Tensor] = {}
    for name, value in tiny.lora_state("sd1").items():
        prefix, rest = name.split(".", 1)
        layer, matrix = rest.removesuffix(".weight").rsplit(".", 1)
        if prefix == "text_encoder":
            layer = f"text_model.{layer.removeprefix('text_model.')}"
        stem = f"lora_{'te' if prefix == 'text_encoder' else 'unet'}_{layer.replace('.', '_')}"
        state[f"{stem}.lora_{'down' if matrix == 'lora_A' else 'up'}.weight"] = value
        state[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(state, tmp_path / "other.safetensors")
    ours, theirs = (load_model(checkpoints / "sd1", loras=[path]) for path in (lora, tmp_path / "other.safetensors"))
    assert torch.allclose(output(ours), output(theirs), atol=1e-5)
    assert torch.allclose(words(ours), words(theirs), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "distils"),
    [
        ("lcm-lora-sdv1-5/pytorch_lora_weights.safetensors", True), ("Hyper-SD15-8steps-lora.safetensors", True),
        ("sdxl_lightning_4step_lora.safetensors", True), ("FLUX.1-Turbo-Alpha.safetensors", True),
        ("dmd2_sdxl.safetensors", True), ("HyperSD.safetensors", True),
        ("style.safetensors", False), ("lightning_bolts.safetensors", False), ("hyperrealism.safetensors", False),
        ("fox-2000steps.safetensors", False), ("flash photography.safetensors", False),
        ("turbocharger.safetensors", False),
    ],
)  # fmt: skip
def test_a_lora_that_distils_is_told_by_its_name(model: Model, name: str, distils: bool) -> None:
    found = distilled_by_loras(model, (LoraIdentity(f"/any/{name}", "", 1.0),))
    assert (found.encoding, found.guidance) == (("noise", 1.0) if distils else ("invert", 7.5))
    assert distilled_by_loras(model, (LoraIdentity(name, "", 0.0),)) is model


def test_a_model_with_a_lora_that_distils_is_noised_and_told(checkpoints: Path, lora: Path) -> None:
    few = lora.rename(lora.with_name("lcm.safetensors"))
    found = load_model(checkpoints / "sd1", loras=[few])
    assert (found.policy.kind, found.guidance, found.encoding) == ("cfg", 1.0, "noise")
    assert found.policy.scale_of(2.0) == 2.0
    assert "by the name of its LoRA 'lcm.safetensors': guidance is 1, and the picture is noised" in found.notes[-1]
    assert found.sibling == "sd1 without that LoRA"
