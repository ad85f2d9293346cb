"""Checkpoints in one file under their authors' names, and parts given in place of a checkpoint's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.author_files import author_state, whole_state
from tests.support.families import seeded
from tests.support.family_rows import ROWS
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.outline import outline
from wordbrush.models.text import EMBEDDING

pytestmark = pytest.mark.usefixtures("closed_network")

WIDTHS: Mapping[str, tuple[str, Mapping[int, int]]] = {
    "flux-1-dev": ("FluxTransformer2DModel", {3072: 32}),
    "chroma": ("ChromaTransformer2DModel", {3072: 32}),
    "lumina-2": ("Lumina2Transformer2DModel", {2304: 8, 768: 8}),
}
"""Widths that diffusers' converters have written in them, to those of the small networks here."""
WHOLE = ("sdxl", "sd3")
ALONE = ("flux-2-dev", "flux-2-klein", "z-image", "qwen-image", "qwen-image-2.1", "krea-2-raw", "auraflow", "sana")
SAVED = (*WHOLE, *ALONE, *WIDTHS)
State = dict[str, Tensor]


@cache
def pipeline(name: str) -> Any:
    return ROWS[name].build()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder with a checkpoint in diffusers layout (`folder`) and as one file (`one.safetensors`)."""

    @cache
    def made(name: str) -> Path:
        path = tmp_path_factory.mktemp(name)
        built = pipeline(name)
        built.save_pretrained(path / "folder")
        state = whole_state(built) if name in WHOLE else author_state(built.transformer)
        save_file(state, path / "one.safetensors")
        return path

    return made


def resized(code: CodeType, widths: Mapping[int, int]) -> CodeType:
    """Return code with other whole numbers in it, inner functions, too."""
    inner = (resized(one, widths) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_consts=tuple(widths.get(one, one) if type(one) is int else one for one in inner))


@pytest.fixture
def narrowed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a converter of diffusers that has the published width written in it take the small network's."""
    kind, widths = WIDTHS.get(request.getfixturevalue("name"), ("", {}))
    if kind:
        entry = SINGLE_FILE_LOADABLE_CLASSES[kind]
        own: Any = entry["checkpoint_mapping_fn"]
        changed = FunctionType(resized(own.__code__, widths), own.__globals__)
        changed.__kwdefaults__ = own.__kwdefaults__
        monkeypatch.setitem(entry, "checkpoint_mapping_fn", changed)


def weights(model: Model) -> Any:
    return model.denoiser.network.module  # type: ignore[attr-defined]


def answer(model: Model) -> Tensor:
    side = 32 // model.codec.factor
    x = torch.randn(1, model.codec.channels, side, side, generator=torch.Generator().manual_seed(0))
    text = model.text.encode(["a red fox"], canvas=(side, side))[0].conditioning
    return model.denoiser(x, model.schedule.level(0.6), model.policy.told(text, 3.0)).eps


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.usefixtures("narrowed")
def test_one_file_is_the_folders_model(name: str, saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder, path = saved(name) / "folder", saved(name) / "one.safetensors"
    of_folder = load_model(folder)
    expected = answer(of_folder)
    model = load_model(path, config=folder)
    assert (answer(model) - expected).abs().max() <= 1e-6
    assert model.notes == ()
    assert model.identity.sha256 != of_folder.identity.sha256
    assert (model.identity.family, model.policy.kind, model.policy.scale, model.encoding) == (
        of_folder.identity.family, of_folder.policy.kind, of_folder.policy.scale, of_folder.encoding,
    )  # fmt: skip
    before = outline(locate(path))
    assert before.family.name == ROWS[name].name
    assert before.facts()["parameters"] == sum(value.numel() for value in load_file(path).values())
    with pytest.raises(ModelError, match=r"--config FOLDER \(config=\)"):
        load_model(path)
    state = {f"model.diffusion_model.{part}": value for part, value in load_file(path).items()}
    state = state if name not in WHOLE else {f"state_dict.{part}": v for part, v in load_file(path).items()}
    save_file({**state, "stray.tensor": torch.zeros(3)}, tmp_path / "wrapped.safetensors")
    if name not in WHOLE:
        (note,) = load_model(tmp_path / "wrapped.safetensors", config=folder).notes
        assert "1 tensors belong to no part of this model and are left out, as 'stray.tensor'" in note


def test_a_whole_file_wants_no_weights_beside_it(saved: Callable[[str], Path], tmp_path: Path) -> None:
    for name in WHOLE:
        folder = Path(shutil.copytree(saved(name) / "folder", tmp_path / name))
        for path in folder.rglob("*.safetensors"):
            path.unlink()
        model = load_model(saved(name) / "one.safetensors", config=folder)
        assert torch.equal(answer(model), answer(load_model(saved(name) / "folder")))


def test_half_precision_keeps_what_must_be_wide(saved: Callable[[str], Path]) -> None:
    name = "krea-2-raw"
    one = load_model(saved(name) / "one.safetensors", config=saved(name) / "folder", dtype="bfloat16")
    two = load_model(saved(name) / "folder", dtype="bfloat16")
    ours, theirs = weights(one).state_dict(), weights(two).state_dict()
    assert {value.dtype for value in ours.values()} == {torch.float32, torch.bfloat16}
    assert all(torch.equal(value, theirs[part]) and value.dtype == theirs[part].dtype for part, value in ours.items())


def holed(state: State) -> State:
    return {name: value for name, value in state.items() if name != "layers.1.feed_forward.w2.weight"}


def changed(**values: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, **{name.replace("__", "."): value for name, value in values.items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (holed, r"weights are missing \(1, the first is 'layers\.1\.feed_forward\.w2\.weight'\); give --config"),
        (changed(cap_pad_token=torch.zeros(1, 9)), r"cap_pad_token has the shape \(1, 9\), and its config.* wants"),
        (changed(cap_pad_token=torch.full((1, 32), torch.nan)), "'cap_pad_token' holds NaN"),
        (changed(cap_pad_token=torch.zeros(1, 32, dtype=torch.int8)), "cap_pad_token is stored as I8"),
        (changed(layers__0__attention__out__scale_weight=torch.ones(1)), r"quantised \('layers.*scale_weight'"),
        (lambda state: {f"x.lora_A.{name}": value for name, value in state.items()}, r"a LoRA, .*--lora"),
    ],
)
def test_a_damaged_file_ends_in_one_sentence(
    saved: Callable[[str], Path], tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    path = tmp_path / "one.safetensors"
    save_file(change(load_file(saved("z-image") / "one.safetensors")), path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path, config=saved("z-image") / "folder")
    assert "\n" not in str(caught.value)


def test_floats_of_eight_bits_are_widened(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = saved("z-image") / "folder"
    for part, own in (("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")):
        state = load_file(folder / part / f"{own}.safetensors")
        narrow = {name: value.to(torch.float8_e4m3fn) for name, value in state.items()}
        save_file(narrow, tmp_path / f"{part}.safetensors")
        for name, value in narrow.items():
            state[name] = value.float()
        (tmp_path / part).mkdir()
        shutil.copy(folder / part / "config.json", tmp_path / part)
        save_file(state, tmp_path / part / f"{own}.safetensors", metadata={"format": "pt"})
    parts: dict[str, Any] = {part: tmp_path / f"{part}.safetensors" for part in ("transformer", "text_encoder")}
    wide: dict[str, Any] = {part: tmp_path / part for part in parts}
    assert torch.equal(answer(load_model(folder, **parts)), answer(load_model(folder, **wide)))


def test_levels_that_a_checkpoint_prescribes_are_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("qwen-image-2.1") / "folder", tmp_path / "turbo"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "sample_sigmas": [1.0, 0.6]}))
    with pytest.raises(ModelError, match=r"turbo prescribes its levels .* Qwen-Image-2\.1 itself works"):
        load_model(folder)


def test_what_a_file_and_its_folder_lack_is_said(saved: Callable[[str], Path], tmp_path: Path) -> None:
    name = "z-image"
    folder = Path(shutil.copytree(saved(name) / "folder", tmp_path / "bare"))
    own = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae = own.rename(tmp_path / "vae.safetensors")
    path = saved(name) / "one.safetensors"
    with pytest.raises(ModelError, match=r"one\.safetensors holds no vae, and the folder bare has .*--vae \(vae=\)"):
        load_model(path, config=folder)
    model = load_model(path, config=folder, vae=vae)
    assert torch.equal(answer(model), answer(load_model(saved(name) / "folder")))
    with pytest.raises(ModelError, match=r"holds the Z-Image transformer, and --config .* folder of FLUX\.1"):
        load_model(path, config=saved("flux-1-dev") / "folder")
    with pytest.raises(SettingsError, match="leave out --tokenizer"):
        load_model(path, config=folder, vae=vae, tokenizer=folder)
    own.with_suffix(".bin").write_bytes(b"PK")
    with pytest.raises(UnsafeWeightsError):
        load_model(path, config=folder)


def test_a_v_prediction_file_says_so_itself(saved: Callable[[str], Path], tmp_path: Path) -> None:
    state = load_file(saved("sdxl") / "one.safetensors")
    save_file({**state, "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "v.safetensors")
    folder = saved("sdxl") / "folder"
    model = load_model(tmp_path / "v.safetensors", config=folder)
    assert model.identity.parametrisation == "v_prediction"
    assert model.schedule.level(1.0).alpha == 0.0
    assert load_model(saved("sdxl") / "one.safetensors", config=folder).identity.parametrisation == "epsilon"


PARTS = {
    "sdxl": ("unet", "vae", "text_encoder_2"),
    "sd3": ("text_encoder_3",),
    "z-image": ("transformer",),
    "qwen-image": ("vae", "text_encoder"),
    "dit": ("vae", "transformer"),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_given_in_place_of_the_checkpoints_own(
    name: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    if name == "dit":
        pipeline(name).save_pretrained(tmp_path / "folder")
    folder = tmp_path / "folder" if name == "dit" else saved(name) / "folder"
    given: dict[str, dict[str, Any]] = {"folders": {}, "files": {}, "memory": {}}
    for part in PARTS[name]:
        own = getattr(pipeline(name), part)
        other = given["memory"][part] = renewed(own, 99)
        given["folders"][part] = tmp_path / part
        other.save_pretrained(tmp_path / part)
        given["files"][part] = tmp_path / f"{part}.safetensors"
        state = {key: value.clone() for key, value in other.state_dict().items() if "encoder.embed_tokens" not in key}
        save_file(state, given["files"][part])
    digests = {load_model(folder).identity.sha256}
    for kind, parts in given.items():
        model = load_model(folder, **parts)
        loaded = model.identity
        assert dict(loaded.replaced).keys() == parts.keys()
        assert dict(loaded.given) == ({} if kind == "memory" else {part: str(path) for part, path in parts.items()})
        digests.add(loaded.sha256)
        found = {"vae": model.codec.autoencoder, "transformer": weights(model), "unet": weights(model)}  # type: ignore[attr-defined]
        for part, other in given["memory"].items():
            if part in found:
                ours, theirs = found[part].state_dict(), other.state_dict()
                assert all(torch.equal(value, theirs[key]) for key, value in ours.items()), part
    assert len(digests) == 4


def test_a_given_text_encoder_reads_the_texts(saved: Callable[[str], Path]) -> None:
    folder, prompts = saved("qwen-image") / "folder", []
    for seed in (2, 2, 99):  # the first two are one network
        own = pipeline("qwen-image").text_encoder
        other = renewed(own, seed)
        prompts.append(load_model(folder, text_encoder=other).text.encode(["a red fox"])[0].conditioning)
    first, same, unlike = (prompt.texts(EMBEDDING)[0] for prompt in prompts)
    assert torch.equal(first, same)
    assert (first - unlike).abs().max() > 0.1


def renewed(module: Any, seed: int) -> Any:
    """Return a network of the same shape with other weights."""
    of: Any = type(module)
    if hasattr(module.config, "to_dict"):
        return seeded(lambda: of(module.config), seed)
    return seeded(lambda: of.from_config(module.config), seed)


def test_a_part_that_does_not_fit_is_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder, sdxl = saved("z-image") / "folder", saved("sdxl") / "folder"
    table = json.loads((folder / "transformer" / "config.json").read_text())
    wide = Path(shutil.copytree(folder / "transformer", tmp_path / "wide"))
    (wide / "config.json").write_text(json.dumps({**table, "in_channels": 8}))
    save_file({"a.b": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "part.ckpt").write_bytes(b"PK")
    for of, part, source, message in (
        (folder, "transformer", sdxl / "unet", "'UNet2DConditionModel', not ZImageTransformer2DModel"),
        (folder, "transformer", pipeline("sdxl").unet, "in memory is of the class 'UNet2DConditionModel'"),
        (folder, "transformer", wide, "has 8 in channels and this model 4: it is made for other models"),
        (folder, "transformer", tmp_path / "other.safetensors", r"holds no ZImageTransformer2DModel; .*a \(1\)"),
        (folder, "transformer", tmp_path / "nowhere", r"--transformer \(transformer=\): there is no folder or file"),
        (folder, "text_encoder", sdxl / "text_encoder", "type 'clip_text_model', and this model's own of 'qwen3'"),
        (folder, "text_encoder_2", sdxl, r"has no text_encoder_2, but .*: leave out --text-encoder-2"),
        (folder, "unet", sdxl, r"has no unet, but transformer"),
        (sdxl, "unet", folder / "transformer", "'ZImageTransformer2DModel', not UNet2DConditionModel"),
    ):
        with pytest.raises(ModelError, match=message):
            given: dict[str, Any] = {part: source}
            load_model(of, **given)
    with pytest.raises(UnsafeWeightsError):
        load_model(folder, transformer=tmp_path / "part.ckpt")
    with pytest.raises(SettingsError, match="transformer means nothing for a loaded pipeline"):
        load_model(pipeline("z-image"), transformer=folder)
    with pytest.raises(TypeError, match="'controlnet'"):
        load_model(folder, controlnet=folder)  # type: ignore[call-arg]
