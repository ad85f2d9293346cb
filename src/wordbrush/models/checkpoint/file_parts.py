"""The parts of a model in one safetensors file: where they are, and loading them.

A part may lie under the names of its authors, which diffusers converts, or under those of diffusers or transformers,
and whatever wrapper a program puts before them (`model.diffusion_model.`, ...). It is found by tensors that it cannot
be without. Every tensor is accounted for: it is loaded, or named as left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.autoencoder import find_vae, vae_of_file
from wordbrush.models.checkpoint.networks import check_loaded, class_of, translated, unknown_note
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_stored, stripped
from wordbrush.models.checkpoint.weights import read_state
from wordbrush.models.header import TensorEntry
from wordbrush.models.refused import groups

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["MARKS", "InFile", "find_part", "left_note", "load_from_file", "refuse_scaled"]

Tensors = Mapping[str, TensorEntry]

MARKS: Mapping[str, tuple[str, ...]] = {
    "UNet2DConditionModel": ("input_blocks.0.0.weight", "time_embedding.linear_1.weight"),
    "SD3Transformer2DModel": (
        "joint_blocks.0.context_block.attn.qkv.weight",
        "transformer_blocks.0.ff_context.net.0.proj.weight",
    ),
    "FluxTransformer2DModel": ("double_blocks.0.img_mod.lin.weight", "single_transformer_blocks.0.proj_mlp.weight"),
    "ChromaTransformer2DModel": ("distilled_guidance_layer.in_proj.weight",),
    "Flux2Transformer2DModel": (
        "double_stream_modulation_img.lin.weight",
        "double_stream_modulation_img.linear.weight",
    ),
    "ZImageTransformer2DModel": ("cap_pad_token",),
    "QwenImageTransformer2DModel": ("transformer_blocks.0.img_mod.1.weight",),
    "QwenImage21Transformer2DModel": (
        "transformer_blocks.0.img_mlp.gate_up.weight",
        "transformer_blocks.0.img_mlp.gate_layer.weight",
    ),
    "Krea2Transformer2DModel": ("tproj.1.weight", "time_mod_proj.weight"),
    "AuraFlowTransformer2DModel": ("double_layers.0.modX.1.weight", "joint_transformer_blocks.0.norm1.linear.weight"),
    "Lumina2Transformer2DModel": ("cap_embedder.0.weight", "time_caption_embed.caption_embedder.0.weight"),
    "SanaTransformer2DModel": (
        "blocks.0.mlp.inverted_conv.conv.weight",
        "transformer_blocks.0.ff.conv_inverted.weight",
    ),
    "AutoencoderDC": ("decoder.project_in.conv.weight", "decoder.conv_in.weight"),
}
"""Tensors that a network cannot be without, under the names of its authors and of diffusers, by its class."""

_TEXT = ("shared.weight", "embeddings.token_embedding.weight", "embed_tokens.weight", "token_embedding.weight")
_CLIP = "text_model."
_INNER = re.compile(r"(?<!\w)(text_model\.|(model\.)?(language_model\.)?|encoder\.)$")
"""What still is of the text encoder's own names, before its table of words."""
_OPEN_CLIP = re.compile(r"transformer\.resblocks\.|token_embedding\.|positional_embedding$|ln_final\.|text_projection$")
_SCALED = re.compile(r"(^|\.)(scaled_fp8|scale_weight|weight_scale(_\d)?|comfy_quant|input_scale)$")
_TABLES = re.compile(
    r"(^|\.)(position_ids|logit_scale|betas|alphas_cumprod(_prev)?|sqrt_\w+|log_one_minus_\w+|posterior_\w+|"
    r"model_ema\.(decay|num_updates)|v_pred|ztsnr|edm_\w+)$"
)
"""Buffers that trainers save beside the weights, and that are made anew."""


@dataclass(frozen=True)
class InFile:
    """A part in a file.

    Attributes:
        path: the file.
        names: its tensors, as name without what all begin with -> name in the file.
        tensors: all of the file, by name in it.
    """

    path: Path
    names: Mapping[str, str]
    tensors: Tensors

    @property
    def own(self) -> dict[str, TensorEntry]:
        """The part's tensors, by name without what all begin with."""
        return {name: self.tensors[there] for name, there in self.names.items()}


def prefix_of(marks: Iterable[str], tensors: Iterable[str]) -> str | None:
    """Return what comes before the first of `marks` that is there, the shortest first; None where none is."""
    every = sorted(tensors, key=len)
    for mark in marks:
        for name in every:
            if name == mark or name.endswith(f".{mark}"):
                return name.removesuffix(mark)
    return None


def find_part(path: Path, tensors: Tensors, kind: str, library: str, besides: Iterable[str] = ()) -> InFile | None:
    """Find a part by tensors that it cannot be without; None where it is not there.

    Args:
        path: the file.
        tensors: of it, by name.
        kind: the part's class.
        library: the package that has it.
        besides: names that belong to other parts.
    """
    taken = set(besides)
    free = [name for name in tensors if name not in taken]
    if kind == "AutoencoderKL":
        prefix = find_vae(free)
    elif library == "transformers":
        prefix = prefix_of(_TEXT, free)
        prefix = None if prefix is None else _INNER.sub("", prefix)
    else:
        prefix = prefix_of(MARKS.get(kind, ()), free)
        if prefix is None and kind not in MARKS:
            prefix = ""
    if prefix is None:
        return None
    names = {name.removeprefix(prefix): name for name in free if name.startswith(prefix)}
    return InFile(path, names, tensors) if names else None


def left_note(tensors: Iterable[str], used: Iterable[str], where: str) -> tuple[str, ...]:
    """Return a note on the tensors of a file that belong to no part, where there are any."""
    taken = set(used)
    left = sorted(name for name in tensors if name not in taken and not _TABLES.search(name))
    if not left:
        return ()
    return (f"{where}: {len(left)} tensors belong to no part of this model and are left out, as {left[0][:200]!r}",)


def refuse_scaled(tensors: Iterable[str], where: str) -> None:
    """Raise ModelError where weights have scales of their own, which only the program that wrote them knows."""
    if scaled := next((name for name in tensors if _SCALED.search(name)), None):
        raise ModelError(f"{where}: the weights are quantised ({scaled[:200]!r} scales them): use the full ones")


def load_from_file(
    found: InFile, library: str, kind: str, config: Mapping[str, Any], dtype: torch.dtype, where: str, advice: str = ""
) -> tuple[Any, tuple[str, ...]]:
    """Load a part.

    Args:
        found: where it is.
        library: the package that has its class.
        kind: its class.
        config: its configuration, which the file does not hold.
        dtype: of the network.
        where: what to call it in messages.
        advice: what to do where it does not fit its configuration.

    Returns:
        The network, ready to run, and what a user should know about it.

    Raises:
        ModelError: it does not fit its configuration, or is damaged; the message names a tensor.
    """
    if kind == "AutoencoderKL":
        first = next(iter(found.names.items()))
        prefix = first[1].removesuffix(first[0])
        return vae_of_file(found.path, prefix, found.tensors, config, dtype, where, advice)
    refuse_scaled(found.names, where)
    check_stored(found.own, where)
    check_network(config, f"{where}: its configuration", found.own)
    state = read_state(found.path, found.names)
    with quiet():
        load = _text_encoder if library == "transformers" else _network
        module, unknown = load(class_of(library, kind), config, state, dtype, where, advice)
    return check_loaded(module, where), unknown_note(unknown, where)


def _network(
    of: Any, config: Mapping[str, Any], state: dict[str, Tensor], dtype: torch.dtype, where: str, advice: str
) -> tuple[Any, list[str]]:
    """Fill a network of diffusers; the second result names the tensors that it has no place for."""
    from accelerate import init_empty_weights

    table = stripped(config)
    with translated(f"{where} does not fit its configuration", advice), init_empty_weights():
        module = of.from_config(table)
    wanted = module.state_dict()
    unknown = [name for name in state if name not in wanted]
    if not wanted.keys() <= state.keys():
        state, unknown = _converted(of.__name__, table, state, where, advice)
        unknown += [name for name in state if name not in wanted]
    for name, value in wanted.items():
        if name not in state:
            lost = [name for name in wanted if name not in state]
            raise ModelError(f"{where}: weights are missing ({len(lost)}, the first is {lost[0]!r}){advice}")
        if state[name].shape != value.shape:
            ours, theirs = tuple(state[name].shape), tuple(value.shape)
            raise ModelError(f"{where}: {name} has the shape {ours}, and its configuration wants {theirs}{advice}")
    wide = set(of._keep_in_fp32_modules or ())
    for name in wanted:  # one after the other, so that no weight is there twice for long
        value = state[name]
        if value.is_floating_point():
            state[name] = value.float() if wide & set(name.split(".")) else value.to(dtype)
    module.load_state_dict({name: state[name] for name in wanted}, assign=True)
    return module, unknown


def _converted(
    kind: str, config: dict[str, Any], state: dict[str, Tensor], where: str, advice: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Bring a network from its authors' names to those of diffusers; the second result names what was not converted."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    entry = SINGLE_FILE_LOADABLE_CLASSES.get(kind)
    if entry is None:
        raise ModelError(
            f"{where} is not under the names of diffusers' {kind}, and there is no converter for others "
            f"({groups(state)}): give it as a folder in diffusers layout"
        )
    before = "model.diffusion_model." if kind == "UNet2DConditionModel" else ""
    given = {before + name: value for name, value in state.items()}
    with translated(f"{where} does not fit its configuration", advice):
        try:
            made = entry["checkpoint_mapping_fn"](checkpoint=given, config=config)
        except KeyError as error:
            raise ModelError(f"{where}: weights are missing (the first is {error}){advice}") from error
    if kind == "UNet2DConditionModel":  # whose converter takes nothing out
        return made, []
    return {name: value for name, value in made.items() if value is not None}, list(given)


def _text_encoder(
    of: Any, config: Mapping[str, Any], state: dict[str, Tensor], dtype: torch.dtype, where: str, advice: str
) -> tuple[Any, list[str]]:
    """Fill a text encoder of transformers; the second result names the tensors that it has no place for."""
    import torch

    told = of.config_class.from_dict(stripped(config))
    for name, value in state.items():  # the library takes no floats of eight bits for plain ones
        state[name] = value.to(dtype) if value.is_floating_point() and value.element_size() == 1 else value
    with translated(f"{where} does not fit its configuration", advice), torch.device("meta"):
        wanted = of(told).state_dict()
    unknown: list[str] = []
    if "positional_embedding" in state:
        state, unknown = _of_open_clip(told, state)
    inner = any(name.startswith(_CLIP) for name in wanted)
    if of.__name__.startswith("CLIP"):
        state = {_bare(name, inner): value for name, value in state.items()}
        if "text_projection.weight" in wanted and "text_projection.weight" not in state:
            state["text_projection.weight"] = torch.eye(*wanted["text_projection.weight"].shape)
    with translated(f"{where} does not fit its configuration", advice):
        module, report = of.from_pretrained(
            None, config=told, state_dict=state, dtype=dtype, output_loading_info=True, local_files_only=True
        )
    if lost := sorted(map(str, report.get("missing_keys", ()))):
        raise ModelError(f"{where}: weights are missing ({len(lost)}, the first is {lost[0]!r}){advice}")
    if report.get("mismatched_keys"):
        raise ModelError(f"{where}: weights have other shapes than its configuration says{advice}")
    return module, [*unknown, *map(str, report.get("unexpected_keys", ()))]


def _bare(name: str, inner: bool) -> str:
    plain = name.removeprefix(_CLIP)
    return f"{_CLIP}{plain}" if inner and not plain.startswith("text_projection") else plain


def _of_open_clip(config: Any, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    from types import SimpleNamespace

    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    known = {name: value for name, value in state.items() if _OPEN_CLIP.match(name)}
    made = convert_open_clip_checkpoint(SimpleNamespace(config=config), known, prefix="")
    return made, [name for name in state if name not in known]
