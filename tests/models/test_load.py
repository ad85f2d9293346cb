"""Every way to load a model, with the network closed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.support import tiny
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.errors import ModelError, ResourceError, SettingsError
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.text import EMBEDDING

pytestmark = pytest.mark.usefixtures("closed_network")

KINDS = ("sd1", "sd2")
PREDICTION = {"sd1": "epsilon", "sd2": "v_prediction"}


def output(model: Model, rows: int = 1) -> torch.Tensor:
    """The network's own output on fixed latents, for comparing two ways to load it."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, tiny.CHANNELS, 16, 16, generator=generator)
    text = Conditioning.concat([model.text.encode(["a cat on grass"])[0].conditioning] * rows)
    return model.denoiser(x, model.schedule.level(0.5), text).x0


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    """All weights of UNet, autoencoder and text encoder."""
    denoiser, codec, text = cast(Any, model.denoiser), cast(Any, model.codec), cast(Any, model.text)
    modules = {"unet": denoiser.network.module, "vae": codec.autoencoder, "text": text.encoder}
    return {f"{part}.{name}": value for part, module in modules.items() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_folder_single_file_and_pipeline_are_the_same_model(checkpoints: Path, kind: tiny.Kind) -> None:
    folder = load_model(checkpoints / kind)
    single = load_model(str(checkpoints / f"{kind}.safetensors"), config=checkpoints / kind)
    pipeline = load_model(tiny.pipeline(kind))
    for model in (folder, single, pipeline):
        assert model.identity.parametrisation == PREDICTION[kind]
        assert (model.resolution, model.guidance, model.codec.factor) == (64, 7.5, 2)
        assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    # Equal weights, but at other addresses, which may choose another kernel.
    for name, value in weights_of(folder).items():
        assert torch.equal(value, weights_of(single)[name]), name
        assert torch.equal(value, weights_of(pipeline)[name]), name
    assert torch.allclose(output(folder), output(single), atol=1e-5)
    assert torch.allclose(output(folder), output(pipeline), atol=1e-5)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.allclose(folder.codec.encode(pixels), single.codec.encode(pixels), atol=1e-5)


def test_identity_says_what_it_is(checkpoints: Path) -> None:
    identity = load_model(checkpoints / "sd1", name="mine", dtype="bf16").identity
    assert (identity.name, identity.family, identity.revision) == ("mine", "stable-diffusion", "")
    assert (identity.device, identity.dtype) == ("cpu", "bfloat16")
    assert len(identity.sha256) == 64
    assert json.loads(json.dumps(identity.as_dict()))["loras"] == []
    single = load_model(checkpoints / "sd1.safetensors", config=checkpoints / "sd1").identity
    assert single.name == "sd1"
    assert single.sha256 != identity.sha256


def test_loading_is_silent_and_leaves_no_trace(checkpoints: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as of_transformers

    def state() -> tuple[Any, ...]:
        return (
            *(library.get_verbosity() for library in (of_diffusers, of_transformers)),
            *(library.is_progress_bar_enabled() for library in (of_diffusers, of_transformers)),
            are_progress_bars_disabled(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            logging.getLogger().level,
        )

    before = state()
    model = load_model(checkpoints / "sd1")
    load_model(checkpoints / "sd2.safetensors", config=checkpoints / "sd2")
    load_model(tiny.pipeline())
    output(model)
    model.text.encode(["word " * 200])
    assert state() == before
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_loading_is_silent_in_a_fresh_process(checkpoints: Path) -> None:
    """Libraries speak up once a process, and log to the stderr they found first: only a new one shows it."""
    code = (
        "import sys\n"
        "from wordbrush.models import load_model\n"
        "model = load_model(sys.argv[1], dtype='float16')\n"
        "load_model(sys.argv[1] + '.safetensors', config=sys.argv[1])\n"
        "model.text.encode(['word ' * 200])\n"
        "from tests.support import tiny\n"
        "from wordbrush.models.checkpoint.quiet import quiet\n"
        "with quiet(): pipeline = tiny.pipeline()\n"  # importing pipelines of diffusers is loud by itself
        "load_model(pipeline).text.encode(['word ' * 200])\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(checkpoints / "sd1")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pipeline_is_used_in_place() -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline

    for kind in (None, StableDiffusionImg2ImgPipeline):
        pipeline = tiny.pipeline("sd1", pipeline_class=kind, scheduler=EulerDiscreteScheduler())
        pipeline.unet.train()
        scheduler, config = pipeline.scheduler, dict(pipeline.scheduler.config)
        weights = {name: value.data_ptr() for name, value in pipeline.unet.state_dict().items()}
        model = load_model(pipeline)
        output(model)
        model.codec.decode(torch.zeros(1, tiny.CHANNELS, 8, 8))
        assert pipeline.scheduler is scheduler
        assert dict(scheduler.config) == config
        assert scheduler.num_inference_steps is None
        assert pipeline.unet.training
        assert {name: value.data_ptr() for name, value in pipeline.unet.state_dict().items()} == weights


def test_pipeline_digest_follows_its_weights() -> None:
    first, same, other = tiny.pipeline(), tiny.pipeline(), tiny.pipeline()
    with torch.no_grad():
        other.unet.conv_in.bias[0] += 1
    digests = [load_model(pipeline).identity.sha256 for pipeline in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("argument", ["device", "dtype", "loras", "revision", "config"])
def test_pipeline_takes_no_argument_that_would_change_it(argument: str) -> None:
    value: Any = ("x",) if argument == "loras" else "cpu"
    with pytest.raises(SettingsError, match=argument):
        load_model(tiny.pipeline(), **{argument: value})


def test_unets_for_other_tasks_are_refused() -> None:
    with pytest.raises(ModelError, match="inpainting"):
        load_model(tiny.pipeline("sd1", unet=tiny.unet(in_channels=9)))
    with pytest.raises(ModelError, match="instruction"):
        load_model(tiny.pipeline("sd1", unet=tiny.unet(in_channels=8)))
    with pytest.raises(ModelError, match="class_embed_type"):
        load_model(tiny.pipeline("sd1", unet=tiny.unet(class_embed_type="timestep")))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(tiny.pipeline("sd1", unet=tiny.unet("sd2")))
    with pytest.raises(ModelError, match="dict"):
        load_model({"unet": tiny.unet()})


def test_a_pipeline_whose_unet_is_of_another_family_is_refused() -> None:
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPTextModelWithProjection

    second = CLIPTextModelWithProjection(tiny.text_encoder().config)
    with quiet():
        parts = {**tiny.components(), "text_encoder_2": second, "tokenizer_2": tiny.tokenizer()}
        pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    with pytest.raises(ModelError, match="size and pooled text"):
        load_model(pipeline)


def test_inpaint_pipeline_with_a_plain_unet_is_taken() -> None:
    from diffusers import StableDiffusionInpaintPipeline

    assert load_model(tiny.pipeline("sd1", pipeline_class=StableDiffusionInpaintPipeline)).resolution == 64


def altered(source: Path, target: Path, file: str, change: dict[str, Any]) -> Path:
    """Copy a checkpoint folder and change some entries of one of its JSON files; None takes an entry away."""
    shutil.copytree(source, target)
    table = json.loads((target / file).read_text())
    table = {key: value for key, value in {**table, **change}.items() if value is not None}
    (target / file).write_text(json.dumps(table))
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, "XL"),
        ({"transformer": ["diffusers", "FluxTransformer2DModel"]}, "FLUX.1"),
        ({"transformer": ["diffusers", "HiDreamImageTransformer2DModel"]}, "transformer of a kind not known"),
        ({"unet": ["my_unet", "MyUNet"]}, "my_unet"),
        ({"extra": ["os", "system"]}, "custom code is never run"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, "remote code"),
        ({"unet": ["diffusers", "UNet3DConditionModel"]}, "UNet3DConditionModel"),
        ({"vae": None}, "'vae' is missing"),
    ],
)
def test_folders_of_another_kind_are_refused(
    checkpoints: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(altered(checkpoints / "sd1", tmp_path / "m", "model_index.json", change))


def test_inpainting_folder_is_refused_from_its_configuration(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"9 channels.*inpainting"):
        load_model(altered(checkpoints / "sd1", tmp_path / "m", "unet/config.json", {"in_channels": 9}))


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    ],
)
def test_missing_file_is_named(checkpoints: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(checkpoints / "sd1", tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_model(tmp_path / "m")


def test_missing_weight_is_named_and_never_made_up(checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoints / "sd1", tmp_path / "m")
    for file, name in (("unet/diffusion_pytorch_model", "conv_in.bias"), ("text_encoder/model", "final_layer_norm")):
        path = tmp_path / "m" / f"{file}.safetensors"
        before = path.read_bytes()
        state = load_file(path)
        lost = next(key for key in state if name in key)
        del state[lost]
        save_file(state, path, metadata={"format": "pt"})
        with pytest.raises(ModelError, match=rf"missing.*{lost.removeprefix('text_model.')}"):
            load_model(tmp_path / "m")
        path.write_bytes(before)


def test_half_variant_and_shards_are_found(checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(checkpoints / "sd1", folder)
    stem = folder / "unet" / "diffusion_pytorch_model"
    stem.with_suffix(".safetensors").rename(stem.with_suffix(".fp16.safetensors"))
    with quiet():
        tiny.vae().save_pretrained(folder / "vae", max_shard_size="500KB")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert len(list((folder / "vae").glob("*-of-*.safetensors"))) > 1
    assert torch.allclose(output(load_model(folder)), output(load_model(checkpoints / "sd1")), atol=1e-5)
    next((folder / "vae").glob("*-00002-of-*.safetensors")).unlink()
    with pytest.raises(ModelError, match="00002-of"):
        load_model(folder)


def test_words_and_guidance_come_from_the_folder(checkpoints: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(checkpoints / "sd1", folder)
    (folder / "words.txt").write_text("a zebra on grass\n")
    assert load_model(folder).words == ("a", "grass", "on", "zebra")
    (folder / "words.json").write_text('["horse"]')
    assert load_model(folder).words == ("horse",)
    (folder / "wordbrush.json").write_text('{"words": ["cat"], "guidance": 4}')
    model = load_model(folder)
    assert (model.words, model.guidance) == (("cat",), 4.0)
    (folder / "wordbrush.json").write_text('{"guidance": "much"}')
    with pytest.raises(ModelError, match="guidance"):
        load_model(folder)
    (folder / "wordbrush.json").unlink()
    (folder / "words.json").write_text("[")
    with pytest.raises(ModelError, match="words list"):
        load_model(folder)


def test_device_and_dtype_are_checked(checkpoints: Path) -> None:
    with pytest.raises(SettingsError, match="int8"):
        load_model(checkpoints / "sd1", dtype="int8")
    with pytest.raises(SettingsError, match="toaster"):
        load_model(checkpoints / "sd1", device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="not available"):
            load_model(checkpoints / "sd1", device="cuda:0")


def test_dtype_is_the_networks_alone(checkpoints: Path) -> None:
    whole, half = load_model(checkpoints / "sd1"), load_model(checkpoints / "sd1", dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert output(half).dtype == torch.float32
    assert half.text.encode(["a cat"])[0].conditioning[EMBEDDING].dtype == torch.bfloat16
    assert torch.allclose(output(half), output(whole), atol=0.05)


def test_network_is_the_unet_called_by_hand(checkpoints: Path) -> None:
    """Per-item timesteps too, and x in another precision than the network."""
    from wordbrush.models.families.stable_diffusion import UNetNetwork

    unet = tiny.unet()
    x = torch.randn(3, tiny.CHANNELS, 16, 16, dtype=torch.float64)
    text = torch.randn(3, 77, 32)
    steps = torch.tensor([1, 481, 999])
    found = UNetNetwork(unet, torch.device("cpu"))(x, steps.double(), Conditioning({EMBEDDING: text}))
    expected = unet(x.float(), steps, encoder_hidden_states=text).sample
    assert found.dtype == torch.float64
    assert torch.equal(found.float(), expected)
    rows = [unet(x[i : i + 1].float(), steps[i], encoder_hidden_states=text[i : i + 1]).sample for i in range(3)]
    assert torch.allclose(found.float(), torch.cat(rows), atol=1e-5)


@pytest.mark.parametrize("text", ["[]", "{", "\udcff"])
def test_unreadable_configuration_is_named(checkpoints: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(checkpoints / "sd1", tmp_path / "m")
    (tmp_path / "m" / "vae" / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"vae/config\.json is not"):
        load_model(tmp_path / "m")


def test_parts_that_the_libraries_cannot_read_are_named(checkpoints: Path, tmp_path: Path) -> None:
    folder = altered(checkpoints / "sd1", tmp_path / "m", "unet/config.json", {"block_out_channels": [32, 96]})
    with pytest.raises(ModelError, match="unet cannot be loaded"):
        load_model(folder)
    shutil.copy(checkpoints / "sd1" / "unet" / "config.json", folder / "unet")
    (folder / "tokenizer" / "vocab.json").write_text("[1, 2")
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load_model(folder)


def test_memory_that_runs_out_while_loading_is_a_resource_error() -> None:
    from wordbrush.models.checkpoint.parts import translated

    with pytest.raises(ResourceError, match="out of memory"), translated("the unet cannot be loaded"):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(SettingsError), translated("x"):
        raise SettingsError("passes")


def test_pipeline_without_a_part_and_with_offloaded_weights() -> None:
    from accelerate import cpu_offload

    with pytest.raises(ModelError, match="has no text_encoder"):
        load_model(tiny.pipeline("sd1", text_encoder=None))
    pipeline = tiny.pipeline("sd1")
    cpu_offload(pipeline.unet, torch.device("cpu"))
    with pytest.raises(ModelError, match="offloaded"):
        load_model(pipeline)
