"""Every tensor of a LoRA file is applied as what it means, told of, or refused; checked against closed forms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support import tiny
from tests.support.original_names import original_state
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.errors import ModelError
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.text import EMBEDDING

pytestmark = pytest.mark.usefixtures("closed_network")

State = dict[str, Tensor]
Change = Callable[[Tensor], Tensor]

Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
"""A linear layer, 64 x 64."""
V = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
"""One that reads the text, 64 x 32."""
CONV = "down_blocks.0.resnets.1.conv2"
"""A convolution, 32 x 32 x 3 x 3."""
POINT = "mid_block.attentions.0.proj_in"
"""A 1 x 1 convolution, 64 x 64."""
FC = "encoder.layers.1.mlp.fc1"
"""A linear layer of the text encoder, 64 x 32."""
NORM = "mid_block.resnets.0.norm1"


def trainer(path: str, start: str = "lora_unet_") -> str:
    return start + path.replace(".", "_")


def random(*shape: int, seed: int = 0, size: float = 0.5) -> Tensor:
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(100 * seed + sum(shape)))


def output(model: Model) -> Tensor:
    x = torch.randn(1, tiny.CHANNELS, 16, 16, generator=torch.Generator().manual_seed(4))
    words: Tensor = model.text.encode(["a blue dog"])[0].conditioning[EMBEDDING]
    return model.denoiser(x, model.schedule.level(0.4), Conditioning({EMBEDDING: words})).eps


def save(path: Path, state: State, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path, metadata)
    return path


def meant(changes: dict[str, Change], scale: float = 1.0) -> Tensor:
    """Return the output of the model whose parameters p are p + scale * (change(p) - p)."""
    unet, encoder = tiny.unet(), tiny.text_encoder()
    own = {**{f"te.{n}": p for n, p in encoder.named_parameters()}, **dict(unet.named_parameters())}
    with torch.no_grad():
        for name, change in changes.items():
            own[name].copy_(own[name] + scale * (change(own[name]) - own[name]))
    return output(load_model(tiny.pipeline(unet=unet, text_encoder=encoder)))


def pair(rank: int, layer: str = Q, seed: int = 0) -> tuple[Tensor, Tensor]:
    shape = {Q: (64, 64), V: (64, 32), FC: (64, 32), POINT: (64, 64)}[layer]
    return random(rank, shape[1], seed=seed), random(shape[0], rank, seed=seed + 1)


def lora() -> tuple[State, dict[str, Change]]:
    """Two layers of unlike rank and alpha, and one of the text encoder without alpha."""
    (qa, qb), (va, vb), (fa, fb) = pair(3), pair(5, V), pair(2, FC)
    state = {f"{trainer(Q)}.lora_down.weight": qa, f"{trainer(Q)}.lora_up.weight": qb}
    state |= {f"{trainer(V)}.lora_down.weight": va, f"{trainer(V)}.lora_up.weight": vb}
    stem = trainer(f"text_model.{FC}", "lora_te_")
    state |= {f"{stem}.lora_down.weight": fa, f"{stem}.lora_up.weight": fb}
    state |= {f"{trainer(Q)}.alpha": torch.tensor(1.5), f"{trainer(V)}.alpha": torch.tensor(7)}
    return state, {
        f"{Q}.weight": lambda w: w + 0.5 * qb @ qa,
        f"{V}.weight": lambda w: w + 7 / 5 * vb @ va,
        f"te.{FC}.weight": lambda w: w + fb @ fa,
    }


def locon() -> tuple[State, dict[str, Change]]:
    """A 3 x 3 convolution and a 1 x 1 one, that one by factors of two dimensions."""
    down, up = random(4, 32, 3, 3), random(32, 4, 1, 1)
    pa, pb = pair(2, POINT)
    state = {f"{trainer(CONV)}.lora_down.weight": down, f"{trainer(CONV)}.lora_up.weight": up}
    state |= {f"{trainer(CONV)}.alpha": torch.tensor(2.0)}
    state |= {f"unet.{POINT}.lora_A.weight": pa, f"unet.{POINT}.lora_B.weight": pb}
    return state, {
        f"{CONV}.weight": lambda w: w + 0.5 * torch.einsum("or,rihw->oihw", up[..., 0, 0], down),
        f"{POINT}.weight": lambda w: w + (pb @ pa)[..., None, None],
    }


def core() -> tuple[State, dict[str, Change]]:
    """A LoCon whose kernel is a core between two 1 x 1 factors (Tucker)."""
    down, mid, up = random(3, 32, 1, 1), random(3, 3, 3, 3), random(32, 3, 1, 1)
    stem = trainer(CONV)
    state = {f"{stem}.lora_down.weight": down, f"{stem}.lora_mid.weight": mid, f"{stem}.lora_up.weight": up}
    product = torch.einsum("op,pqhw,qi->oihw", up[..., 0, 0], mid, down[..., 0, 0])
    return state | {f"{stem}.alpha": torch.tensor(6.0)}, {f"{CONV}.weight": lambda w: w + 2 * product}


def dora(
    lengths: Tensor, axes: tuple[int, ...], name: str = "dora_scale", layer: str = V
) -> tuple[State, dict[str, Change]]:
    """A DoRA: lengths times the direction of the moved weight, measured over the axes."""
    if layer == CONV:
        down, up = random(4, 32, 3, 3), random(32, 4, 1, 1)
        product = torch.einsum("or,rihw->oihw", up[..., 0, 0], down)
    else:
        down, up = pair(4, layer)
        product = up @ down
    state = {f"{trainer(layer)}.lora_down.weight": down, f"{trainer(layer)}.lora_up.weight": up}
    state |= {f"{trainer(layer)}.alpha": torch.tensor(2.0), f"{trainer(layer)}.{name}": lengths}

    def change(weight: Tensor) -> Tensor:
        moved = weight + 0.5 * product
        shape = [1 if axis in axes else size for axis, size in enumerate(weight.shape)]
        return lengths.reshape(shape) * moved / moved.pow(2).sum(axes, keepdim=True).sqrt()

    return state, {f"{layer}.weight": change}


def differences() -> tuple[State, dict[str, Change]]:
    """Changes given as they are: of weight and bias, of a norm, and a bias beside factors."""
    weight, bias, norm = random(32, 32, 3, 3, size=0.1), random(32), random(64)
    a, b = pair(2, FC)
    state = {f"{trainer(CONV)}.diff": weight, f"{trainer(CONV)}.diff_b": bias, f"{trainer(NORM)}.w_norm": norm}
    state |= {f"text_encoder.{FC}.lora_A.weight": a, f"text_encoder.{FC}.lora_B.weight": b}
    state |= {f"text_encoder.{FC}.lora_B.bias": random(64, seed=3)}
    return state, {
        f"{CONV}.weight": lambda w: w + weight,
        f"{CONV}.bias": lambda w: w + bias,
        f"{NORM}.weight": lambda w: w + norm,
        f"te.{FC}.weight": lambda w: w + b @ a,
        f"te.{FC}.bias": lambda w: w + random(64, seed=3),
    }


MEANINGS = {
    "LoRA": lora(),
    "LoCon": locon(),
    "LoCon with a core": core(),
    "DoRA by input": dora(random(1, 32).abs() + 0.5, (0,)),
    "DoRA by output": dora(random(64, 1).abs() + 0.5, (1,)),
    "DoRA by input of a square": dora(random(1, 64).abs() + 0.5, (0,), layer=Q),
    "DoRA by output of a square": dora(random(64, 1).abs() + 0.5, (1,), layer=Q),
    "DoRA by input of a convolution": dora(random(1, 32, 1, 1).abs() + 0.5, (0, 2, 3), layer=CONV),
    "DoRA by output of a convolution": dora(random(32, 1, 1, 1).abs() + 0.5, (1, 2, 3), layer=CONV),
    "DoRA of peft": dora(random(64).abs() + 0.5, (1,), "lora_magnitude_vector", Q),
    "DoRA of peft, a convolution": dora(
        random(1, 32, 1, 1).abs() + 0.5, (1, 2, 3), "lora_magnitude_vector.weight", CONV
    ),
    "differences": differences(),
}


@pytest.mark.parametrize("kind", MEANINGS)
def test_a_file_does_what_its_closed_form_says_at_full_and_at_part_strength(
    kind: str, checkpoints: Path, model: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, changes = MEANINGS[kind]
    path = save(tmp_path / "style.safetensors", state)
    loaded = load_model(checkpoints / "sd1", loras=[path])
    true = meant(changes)
    assert (true - output(model)).abs().max() > 5e-3
    assert torch.allclose(output(loaded), true, atol=2e-5)
    assert loaded.notes == ()
    part = load_model(checkpoints / "sd1", loras=[(path, 0.4)])
    assert torch.allclose(output(part), meant(changes, 0.4), atol=2e-5)
    off = load_model(checkpoints / "sd1", loras=[(path, 0.0)])
    assert torch.allclose(output(off), output(model), atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_several_files_change_the_models_own_weights_and_their_changes_add_up(
    checkpoints: Path, tmp_path: Path
) -> None:
    by_input, by_output = MEANINGS["DoRA by input of a square"], MEANINGS["DoRA by output of a square"]
    plain, layer = MEANINGS["LoRA"], f"{Q}.weight"
    paths = [
        save(tmp_path / f"{index}.safetensors", state)
        for index, (state, _) in enumerate((by_input, by_output, plain))
    ]
    loaded = load_model(checkpoints / "sd1", loras=[(paths[0], 0.5), (paths[1], 2.0), (paths[2], 0.25)])
    others = {name: change for name, change in plain[1].items() if name != layer}
    quarter: dict[str, Change] = {
        name: lambda w, change=change: w + 0.25 * (change(w) - w)  # type: ignore[misc]
        for name, change in others.items()
    }

    def together(w: Tensor) -> Tensor:
        first, second, third = (changes[layer](w) - w for _, changes in (by_input, by_output, plain))
        moved: Tensor = w + 0.5 * first + 2.0 * second + 0.25 * third
        return moved

    assert torch.allclose(output(loaded), meant({**quarter, layer: together}), atol=2e-5)


def renamed(kind: str) -> State:
    """Return one LoRA, for queries, outputs and the text encoder's values, as one program or another names it."""
    layers = {("unet", Q): pair(2), ("unet", Q.replace("to_q", "to_out.0")): pair(2, seed=5)}
    layers |= {("text_encoder", "encoder.layers.0.self_attn.v_proj"): (random(2, 32), random(32, 2))}
    state: State = {}
    for (part, path), (down, up) in layers.items():
        te = part == "text_encoder"
        inner = f"text_model.{path}" if te else path
        old = path.replace("attn1.", "attn1.processor.").replace("to_out.0", "to_out").replace("v_proj", "to_v")
        kohya, wide = (".lora_down.weight", ".lora_up.weight"), ".lora_linear_layer"
        stem, names = {
            "diffusers": (f"{part}.{path}", (".lora_A.weight", ".lora_B.weight")),
            "diffusers with text_model": (f"{part}.{inner}", (".lora_A.weight", ".lora_B.weight")),
            "diffusers of 2023": (f"{part}.{path}", (".lora.down.weight", ".lora.up.weight")),
            "diffusers of 2023, text": (f"{part}.{inner}", (f"{wide}.down.weight", f"{wide}.up.weight")),
            "diffusers, first": (f"{part}.{old}", ("_lora.down.weight", "_lora.up.weight")),
            "trainer": (trainer(inner, "lora_te_" if te else "lora_unet_"), kohya),
            "trainer, te1": (trainer(inner, "lora_te1_" if te else "lora_unet_"), kohya),
            "lycoris": (trainer(path, "lycoris_"), kohya),
            "peft": (f"base_model.model.{inner}", (".lora_A.weight", ".lora_B.weight")),
            "peft with adapter": (f"base_model.model.{path}", (".lora_A.default.weight", ".lora_B.default.weight")),
        }[kind]
        state |= {f"{stem}{names[0]}": down, f"{stem}{names[1]}": up}
    return state


NAMINGS = (
    "diffusers with text_model", "diffusers of 2023", "diffusers of 2023, text", "diffusers, first", "trainer",
    "trainer, te1", "lycoris", "peft", "peft with adapter",
)  # fmt: skip


@pytest.mark.parametrize("naming", NAMINGS)
def test_one_lora_under_all_names_that_programs_give_it(naming: str, checkpoints: Path, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.safetensors", renamed(name)) for name in ("diffusers", naming)]
    one, other = (load_model(checkpoints / "sd1", loras=[path]) for path in files)
    assert torch.equal(output(one), output(other))
    assert one.notes == ()
    assert all("adapter_config.json is not beside it" in note for note in other.notes)
    assert len(other.notes) == naming.startswith("peft")


def test_every_layer_of_a_unet_under_its_original_name(checkpoints: Path, tmp_path: Path) -> None:
    """As checkpoints in one file have them; trainers write underscores, others the dots of `diffusion_model.`."""
    unet = tiny.unet()
    original = original_state(unet, tiny.vae(), tiny.text_encoder(), "sd1")
    names = [name for name in original if name.startswith("model.diffusion_model.") and name.endswith(".weight")]
    assert len(names) > 80
    theirs = dict(zip([name for name in unet.state_dict() if name.endswith(".weight")], names, strict=True))
    shapes = {name: unet.get_parameter(name).shape for name in theirs}
    changes = {name: random(*shape, seed=index, size=0.02) for index, (name, shape) in enumerate(shapes.items())}
    loaded = {}
    for style, stem in (
        ("dots", lambda name: name.removeprefix("model.").removesuffix(".weight")),
        ("underscores", lambda name: trainer(name.removeprefix("model.diffusion_model.").removesuffix(".weight"))),
        ("today's", None),
    ):
        state = {
            f"{stem(theirs[name]) if stem else trainer(name.removesuffix('.weight'))}.diff": change
            for name, change in changes.items()
        }
        loaded[style] = load_model(checkpoints / "sd1", loras=[save(tmp_path / f"{style}.safetensors", state)])
        assert loaded[style].notes == ()
    assert torch.equal(output(loaded["dots"]), output(loaded["today's"]))
    assert torch.equal(output(loaded["underscores"]), output(loaded["today's"]))


def test_strength_in_metadata_or_beside_the_file(checkpoints: Path, tmp_path: Path) -> None:
    """diffusers writes peft's settings into the header, peft writes them beside its weights."""
    down, up = pair(4)
    peft = {f"base_model.model.{Q}.lora_A.weight": down, f"base_model.model.{Q}.lora_B.weight": up}
    diffusers = {f"unet.{Q}.lora_A.weight": down, f"unet.{Q}.lora_B.weight": up}

    def gives(path: Path, factor: float) -> None:
        loaded = load_model(checkpoints / "sd1", loras=[path])
        assert loaded.notes == ()
        assert torch.allclose(output(loaded), meant({f"{Q}.weight": lambda w: w + factor * up @ down}), atol=2e-5)

    config: dict[str, Any] = {"unet.r": 4, "unet.lora_alpha": 2}
    gives(save(tmp_path / "a.safetensors", diffusers, {"lora_adapter_metadata": json.dumps(config)}), 0.5)
    config |= {"unet.alpha_pattern": {Q: 12}, "text_encoder.lora_alpha": 100}
    gives(save(tmp_path / "b.safetensors", diffusers, {"lora_adapter_metadata": json.dumps(config)}), 3.0)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 3, "use_rslora": True}))
    gives(save(tmp_path / "adapter_model.safetensors", peft), 3 / math.sqrt(4))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": "x"}))
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors.*lora_alpha.*not a number"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "adapter_model.safetensors"])


def test_what_is_left_out_is_counted_and_named(checkpoints: Path, tmp_path: Path) -> None:
    state, changes = lora()
    foreign = trainer("up_blocks.4.attentions.0.proj_in")
    state |= {f"{foreign}.lora_down.weight": random(2, 64), f"{foreign}.lora_up.weight": random(64, 2)}
    state |= {"bundle_emb.moss.string_to_param.*": random(2, 32), f"{trainer('conv_gone')}.alpha": torch.tensor(2.0)}
    loaded = load_model(checkpoints / "sd1", loras=[save(tmp_path / "moss.safetensors", state)])
    assert loaded.notes == (
        f"LoRA moss.safetensors: 1 of its 4 layers is not in this model and was left out (first: {foreign})",
        "LoRA moss.safetensors: 2 of its 12 tensors are of no kind known here and were left out (first: "
        "bundle_emb.moss.string_to_param.*)",
    )
    assert torch.allclose(output(loaded), meant(changes), atol=2e-5)


def test_a_file_that_changes_nothing_says_so(checkpoints: Path, tmp_path: Path) -> None:
    state = {name: value * 0 if "up" in name else value for name, value in lora()[0].items()}
    loaded = load_model(checkpoints / "sd1", loras=[save(tmp_path / "new.safetensors", state)])
    assert loaded.notes == ("LoRA new.safetensors changes nothing: all of its layers are zero",)


A, B = f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight"
GOOD: State = {A: random(2, 64), B: random(64, 2)}
STEM = trainer(Q)
NAN, INF = torch.full((), math.nan), torch.full((), math.inf)

REFUSED: dict[str, tuple[State, str]] = {
    "too wide": (GOOD | {A: random(2, 65)}, rf"layer unet\.{Q} is 64 x 65, and 64 x 64 in it"),
    "too high": (GOOD | {B: random(48, 2)}, "is 48 x 64, and 64 x 64"),
    "another kernel": (
        {f"unet.{CONV}.lora_A.weight": random(2, 32, 5, 5), f"unet.{CONV}.lora_B.weight": random(32, 2, 1, 1)},
        "is 32 x 32 x 5 x 5, and 32 x 32 x 3 x 3",
    ),
    "unlike ranks": (GOOD | {B: random(64, 3)}, "ranks of 2 x 64 and 64 x 3 differ"),
    "rank 0": ({A: random(0, 64), B: random(64, 0)}, "no rank"),
    "no up": ({A: GOOD[A]}, f"unet.{Q} has 'down' without 'up'"),
    "no down": ({B: GOOD[B]}, "has 'up' without 'down'"),
    "NaN": (GOOD | {A: GOOD[A] * NAN}, f"tensor 'unet.{Q}.lora_A.weight' holds NaN"),
    "infinite": (GOOD | {B: GOOD[B] * INF}, "lora_B.weight' holds NaN or infinity"),
    "NaN where it is left out": (
        GOOD | {"unet.gone.lora_A.weight": random(1, 2) * NAN, "unet.gone.lora_B.weight": random(2, 1)},
        "'unet.gone.lora_A.weight' holds NaN",
    ),
    "alpha 0": (GOOD | {f"unet.{Q}.alpha": torch.tensor(0.0)}, "alpha of .* is 0"),
    "alpha NaN": (GOOD | {f"unet.{Q}.alpha": NAN}, r"\.alpha' holds NaN"),
    "alpha twice": (GOOD | {f"unet.{Q}.alpha": torch.ones(3)}, "not one number"),
    "whole numbers": (GOOD | {A: torch.ones(2, 64, dtype=torch.int32)}, "is of I32"),
    "truths": (GOOD | {B: torch.ones(64, 2, dtype=torch.bool)}, "is of BOOL"),
    "two names": (
        GOOD | {f"{STEM}.lora_down.weight": random(2, 64), f"{STEM}.lora_up.weight": random(64, 2)},
        "one layer under two names|two tensors for one thing",
    ),
    "DoRA of another length": (GOOD | {f"unet.{Q}.dora_scale": random(1, 63)}, "is 1 x 63, and 64 x 64"),
    "magnitudes alone": (
        GOOD | {f"unet.{V}.lora_magnitude_vector": random(64)}, "DoRA magnitudes and no single LoRA"
    ),
    "difference of another shape": (GOOD | {f"unet.{V}.diff": random(64, 31)}, "is 64 x 31, and 64 x 32"),
    "bias that is not there": (GOOD | {f"unet.{Q}.diff_b": random(64)}, "has no bias in this model"),
    "core that joins nothing": (
        {
            f"unet.{CONV}.lora_A.weight": random(2, 32, 1, 1),
            f"unet.{CONV}.lora_B.weight": random(32, 2, 1, 1),
            f"unet.{CONV}.lora_mid.weight": random(2, 3, 3, 3),
        },
        "'mid' of 2 x 3 x 3 x 3 does not join",
    ),
    "factors for a norm": (
        {f"unet.{NORM}.lora_A.weight": random(1, 64), f"unet.{NORM}.lora_B.weight": random(64, 1)}, "GroupNorm"
    ),
    "LoHa": ({f"{STEM}.hada_w1_a": random(64, 2), f"{STEM}.hada_w1_b": random(2, 64)}, "is a LoHa"),
    "LoKr beside LoRA": (GOOD | {f"{STEM}.lokr_w2_a": random(8, 2)}, "is a LoKr"),
    "GLoRA": ({f"{STEM}.a1.weight": random(2, 64), f"{STEM}.b2.weight": random(64, 2)}, "is a GLoRA"),
    "IA3": ({f"{STEM}.weight": random(64, 1), f"{STEM}.on_input": torch.tensor(False)}, "is a IA3"),
    "OFT": ({f"{STEM}.oft_blocks": random(4, 16, 16)}, "is a OFT"),
    "BOFT": ({f"base_model.model.{Q}.boft_R": random(1, 4, 16, 16)}, "is a BOFT"),
    "SDXL by its second encoder": (
        GOOD | {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": random(2, 1280)}, "Stable Diffusion XL"
    ),
    "Flux": ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": random(2, 8)}, "another family, Flux"),
    "Flux of trainers": ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": random(2, 8)}, "Flux"),
    "Stable Diffusion 3": ({"lora_te3_encoder_block_0.lora_down.weight": random(2, 8)}, "Stable Diffusion 3"),
    "a language model": (
        {"base_model.model.model.layers.0.q_proj.lora_A.weight": random(2, 8)}, "no layers for this model"
    ),
    "only a strength": ({f"{STEM}.alpha": torch.tensor(2.0)}, "strengths"),
    "a learnt embedding": ({"emb_params": random(2, 32)}, "a learnt embedding, to be given with --embedding"),
    "a UNet": ({"down_blocks.0.resnets.0.conv1.weight": random(4, 4, 3, 3)}, "is a UNet"),
    "an autoencoder": ({"first_stage_model.decoder.conv_in.weight": random(4, 4, 3, 3)}, "an autoencoder"),
    "a checkpoint": ({"model.diffusion_model.out.2.weight": random(4, 4, 3, 3)}, "a full checkpoint"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_applied_is_refused_by_what_it_is_in_one_line(
    kind: str, checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, pattern = REFUSED[kind]
    good, bad = save(tmp_path / "good.safetensors", GOOD), save(tmp_path / "fault.safetensors", state)
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(checkpoints / "sd1", loras=[good, bad])
    assert str(caught.value).startswith("LoRA fault.safetensors")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_which_most_is_foreign_is_refused_with_the_family_it_says(checkpoints: Path, tmp_path: Path) -> None:
    state = dict(GOOD)
    for block in range(3):
        stem = trainer(f"input_blocks.{block}.1.transformer_blocks.9.attn2.to_k")
        state |= {f"{stem}.lora_down.weight": random(2, 2048), f"{stem}.lora_up.weight": random(64, 2)}
    for metadata in (None, {"ss_base_model_version": "sdxl_base_v1-0"}):
        path = save(tmp_path / "xl.safetensors", state, metadata)
        with pytest.raises(ModelError, match=r"3 of its 4 layers are not in it .*another model, Stable Diffusion XL"):
            load_model(checkpoints / "sd1", loras=[path])


def test_a_change_beyond_half_precision_is_the_loras_fault(checkpoints: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "loud.safetensors", {f"{trainer(CONV)}.diff": random(32, 32, 3, 3, size=3e4)})
    with pytest.raises(ModelError, match=r"LoRA loud\.safetensors: at scale 9 layer .* leaves the range of float16"):
        load_model(checkpoints / "sd1", dtype="float16", loras=[(path, 9.0)])


def test_a_pipeline_with_a_damaged_lora_is_not_called_a_damaged_checkpoint() -> None:
    pipeline = tiny.pipeline()
    with quiet():
        pipeline.load_lora_weights({A: GOOD[A] * NAN, B: GOOD[B]}, adapter_name="ink")
    with pytest.raises(ModelError, match=r"lora_A\.ink\.weight' holds NaN or infinity: a LoRA"):
        load_model(pipeline)


def test_a_damaged_model_is_not_blamed_on_a_sound_lora(tmp_path: Path) -> None:
    unet = tiny.unet()
    with torch.no_grad():
        unet.conv_in.bias[0] = math.nan
    folder = tiny.write_folder(tmp_path / "broken", unet=unet)
    with pytest.raises(ModelError, match=r"conv_in\.bias") as caught:
        load_model(folder, loras=[save(tmp_path / "good.safetensors", GOOD)])
    assert "LoRA" not in str(caught.value)
