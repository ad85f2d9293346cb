"""What a LoRA file does, checked against closed forms: every algorithm that is applied, under every name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import tiny
from tests.support.loras import (
    CONV,
    FC,
    GOOD,
    NORM,
    POINT,
    Change,
    Q,
    State,
    V,
    meant,
    output,
    pair,
    random,
    save,
    trainer,
)
from tests.support.original_names import original_state
from wordbrush.errors import ModelError
from wordbrush.models import Model, load_model

pytestmark = pytest.mark.usefixtures("closed_network")


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


def trained(text: tuple[str, ...]) -> tuple[State, dict[str, Change]]:
    """The file of a trainer: many layers of both networks, whose ranks and alphas are all but one for all."""
    state: State = {}
    changes: dict[str, Change] = {}
    unet = ("unet", "lora_unet_", tiny.unet(), ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"))
    for part, start, network, ends in (unet, ("te", "lora_te_text_model_", tiny.text_encoder(), text)):
        layers = [(name, layer) for name, layer in network.named_modules() if name.endswith(ends)]
        for index, (name, layer) in enumerate(layers):
            rank, alpha, stem = 2 + index % 3, 1.0 + index % 4, trainer(name.removeprefix("text_model."), start)
            down = random(rank, layer.weight.shape[1], seed=index, size=0.3)
            up = random(layer.weight.shape[0], rank, seed=index + 1, size=0.3)
            state |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            state |= {f"{stem}.alpha": torch.tensor(alpha)}
            delta = alpha / rank * up @ down
            key = f"te.{name}.weight" if part == "te" else f"{name}.weight"
            changes[key] = lambda w, delta=delta: w + delta  # type: ignore[misc]
    return state, changes


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
    "of a trainer": trained(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")),
    "of a trainer, queries and one layer more": trained(("q_proj", "fc1")),
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
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 4, "use_dora": True}))
    with pytest.raises(ModelError, match=r"says that it is a DoRA, and layer .* has no magnitudes"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "adapter_model.safetensors"])
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": "x"}))
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors.*lora_alpha.*not a number"):
        load_model(checkpoints / "sd1", loras=[tmp_path / "adapter_model.safetensors"])


def test_files_of_other_precisions_are_read(checkpoints: Path, tmp_path: Path) -> None:
    whole = {name: value.to(torch.float8_e4m3fn).float() for name, value in GOOD.items()}
    true = output(load_model(checkpoints / "sd1", loras=[save(tmp_path / "whole.safetensors", whole)]))
    for dtype in (torch.float8_e4m3fn, torch.float16, torch.bfloat16, torch.float64):
        path = save(tmp_path / "other.safetensors", {name: value.to(dtype) for name, value in whole.items()})
        assert torch.equal(output(load_model(checkpoints / "sd1", loras=[path])), true)


def test_one_file_twice_at_half_strength_is_once_at_full(checkpoints: Path, tmp_path: Path) -> None:
    for kind in ("LoRA", "DoRA by output"):
        state, changes = MEANINGS[kind]
        path = save(tmp_path / "style.safetensors", state)
        twice = load_model(checkpoints / "sd1", loras=[(path, 0.5), (path, 0.5)])
        assert torch.allclose(output(twice), meant(changes), atol=2e-5)
        assert [lora.scale for lora in twice.identity.loras] == [0.5, 0.5]


