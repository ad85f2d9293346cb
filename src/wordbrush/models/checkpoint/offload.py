"""Running networks that do not fit on a device together, or not even one at a time: weights wait in main memory.

The hooks are those of accelerate and diffusers, without a pipeline. A module that is held back so has its weights in
main memory, or nowhere (`meta`), until it is called: nobody may ask it where it is, and nobody here does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from wordbrush.errors import ResourceError, SettingsError
from wordbrush.models.checkpoint.networks import translated
from wordbrush.models.checkpoint.parts import move
from wordbrush.models.encoders import Encoders
from wordbrush.models.family import Family, Parts

if TYPE_CHECKING:
    import torch

__all__ = ["Offload", "encoders_of", "hold_back", "place", "resolve_offload"]

Offload = Literal["model", "group", "sequential"]
"""What is on the device at a time: one network, one block of a network, or one layer."""


def resolve_offload(offload: str | None, device: torch.device) -> tuple[Offload | None, tuple[str, ...]]:
    """Return how networks wait in main memory, and what is to be told: on the CPU they are there anyway.

    Raises:
        SettingsError: there is no such way.
    """
    if offload is None:
        return None, ()
    for way in get_args(Offload):
        if offload == way:
            return (way, ()) if device.type != "cpu" else (None, (f"offload {way} changes nothing on the CPU",))
    raise SettingsError(f"offload {offload!r} is unknown: use {', '.join(get_args(Offload))}, or leave it out")


def place(parts: Parts, device: torch.device, dtype: torch.dtype, way: Offload | None) -> tuple[str, ...]:
    """Bring networks to a device, or hold them back; where they do not fit together, they come one at a time.

    Args:
        parts: of the model; LoRAs are in place already.
        device: where they run.
        dtype: of the LoRAs.
        way: how much comes at a time; None = all stays there.

    Returns:
        What a user should know.
    """
    import torch

    told: tuple[str, ...] = ()
    if way is None:
        try:
            move(parts, device, dtype)
        except ResourceError:
            way = "model"
            told = (f"the networks do not fit on {device} together: they come one at a time (offload model)",)
        else:
            return ()
    move(parts, torch.device("cpu"), dtype)
    hold_back(parts, device, way)
    return told


def hold_back(parts: Parts, device: torch.device, way: Offload) -> None:
    """Let networks that are in main memory come to a device only while they run.

    The autoencoder comes whole in every way: it is small, and must be able to change its dtype when it overflows. So
    does a network of which diffusers says that it does not come in groups.

    Args:
        parts: of the model; LoRAs are in place already.
        device: where they run.
        way: how much comes at a time.
    """
    from accelerate import cpu_offload
    from accelerate.hooks import add_hook_to_module

    hook = _one_at_a_time(device)
    with translated(f"the model cannot be offloaded from {device}"):
        for module in parts.networks.values():
            is_codec = hasattr(module, "decode")
            if is_codec or way == "model" or (way == "group" and not _comes_in_groups(module)):
                add_hook_to_module(module, hook)
            elif way == "group":
                _by_group(module, device)
            else:
                cpu_offload(module, device)


def _one_at_a_time(device: torch.device) -> Any:
    """Return a hook for several modules that brings the one that is called, and takes the one before it away.

    accelerate's own knows one module before each, and calls here come in any order: a picture may be encoded again
    after a text.
    """
    from accelerate.hooks import ModelHook

    class OneAtATime(ModelHook):  # type: ignore[misc] # accelerate has no types
        present: Any = None

        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if self.present is not module:
                if self.present is not None:
                    self.present.to("cpu")
                module.to(device)
                self.present = module
            return args, kwargs

    return OneAtATime()


def _comes_in_groups(module: Any) -> bool:
    return bool(getattr(module, "_supports_group_offloading", True))


def _by_group(module: Any, device: torch.device) -> None:
    """Let the blocks of a network of diffusers come one at a time; a text encoder has its blocks further down."""
    import torch
    from diffusers import ModelMixin
    from diffusers.hooks import apply_group_offloading

    groups: dict[str, Any] = {"offload_type": "leaf_level"}
    if isinstance(module, ModelMixin):
        groups = {"offload_type": "block_level", "num_blocks_per_group": 1}
    apply_group_offloading(module, onload_device=device, offload_device=torch.device("cpu"), **groups)


def encoders_of(parts: Parts, family: Family, device: torch.device) -> Encoders:
    """Return the text encoders of a model: its networks of transformers; without quantised ones, which stay."""
    named = (name for name, spec in family.parts.items() if spec.library == "transformers" and spec.weights)
    found = (parts.networks[name] for name in named if name in parts.networks)
    return Encoders([module for module in found if not getattr(module, "is_quantized", False)], device)
