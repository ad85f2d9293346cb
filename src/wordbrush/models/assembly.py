"""Putting a model together from what a family made of its parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from wordbrush.diffusion.denoiser import NetworkDenoiser, Parametrisation
from wordbrush.diffusion.schedule import FlowSchedule, Schedule, shift_of
from wordbrush.errors import ModelError
from wordbrush.models.codec import AutoencoderCodec
from wordbrush.models.family import TRANSFORMER_LAYERS, TRANSLATED, Card, Family, Origin, Parts, classes_of
from wordbrush.models.language import LanguageText, Reading
from wordbrush.models.model import Canvas, Guidance, GuidanceKind, Model
from wordbrush.models.network import ModuleNetwork

__all__ = [
    "TransformerFamily",
    "assembled",
    "check_packed",
    "chosen_kind",
    "few_steps",
    "flow_card",
    "flow_schedules",
    "policy_of",
    "read_by",
]


_USUAL_STEPS = 28
_FEW_STEPS = re.compile(
    r"(?<![A-Za-z])([Tt]urbo|[Ll]ightning|[Hh]yper|[Ff]lash|lcm)(?![A-Za-z])|Turbo|TURBO|Lightning|LCM|Hyper[-_ ]?SD"
)
"""Words in the names of models distilled to few steps, whose files do not tell."""


def flow_card(title: str, scale: float, licence: str, **others: Any) -> Card:
    """Return the card of a rectified flow; what is usual among them is not said: see the defaults here."""
    usual: dict[str, Any] = {"native": 1024, "guidance": "cfg", "parametrisations": ("flow",), "half": "bfloat16"}
    return Card(title=title, scale=scale, licence=licence, **{**usual, "evidence": TRANSLATED, **others})


class TransformerFamily(Family):
    """A family whose network is a transformer of a class of its own.

    Attributes:
        begins: how the class of the transformer begins.
        packs: what the autoencoder's configuration calls the channels of the latent, where the network takes 2 x 2
            cells for a token; "" where it does not.
    """

    begins: str = ""
    packs: str = ""
    lora: Mapping[str, tuple[str, ...]] | None = MappingProxyType({"transformer": TRANSFORMER_LAYERS})

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether the transformer is the family's."""
        return classes_of(index).get("transformer", "").startswith(self.begins)

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raise ModelError where the transformer is for another task than text to image."""
        if self.packs:
            check_packed(configs, where, self.packs)


def assembled(
    family: Family,
    parts: Parts,
    origin: Origin,
    network: ModuleNetwork,
    kind: Parametrisation = "flow",
    *,
    side: int | None = None,
    distilled: bool = False,
    **facts: Any,
) -> Model:
    """Return the model of a network: what is alike in all families is done here.

    Args:
        family: whose it is.
        parts: of the checkpoint; the folder's `wordbrush.json` may give another `resolution` and `guidance`.
        origin: where they come from.
        network: the forward pass.
        kind: what its output means.
        side: native side in pixels; by default the card's.
        distilled: to few steps: without guidance, the background noised, the card's sibling named.
        facts: further fields of `Model`, or those that are to be otherwise: text, patch, policy, codec, ...;
            `schedule`, or `schedules` alone, where it depends on the canvas.
    """
    card, dtype = family.card, network.module.dtype
    codec = facts.pop("codec", None) or AutoencoderCodec(parts["vae"], device=origin.device)
    resolution = int(parts.card.get("resolution", side or card.native))
    if "schedule" not in facts:
        cells = resolution // codec.factor
        facts["schedule"] = facts["schedules"]((cells, cells), _USUAL_STEPS)
    usual: dict[str, Any] = {"encoding": "noise", "sibling": card.sibling} if distilled else {}
    usual["policy"] = policy_of(card, parts, distilled=distilled)
    return Model(
        identity=origin.identity(family.name, parts, kind, dtype),
        denoiser=NetworkDenoiser(network, kind),
        codec=codec,
        resolution=resolution,
        device=origin.device,
        dtype=dtype,
        words=parts.words,
        card=parts.card,
        scheduler=parts.scheduler,
        fallbacks=network.notes,
        **{**usual, **facts},
    )


def read_by(parts: Parts, origin: Origin, reading: Reading) -> LanguageText:
    """Return the checkpoint's one language model as its text encoder."""
    return LanguageText(parts["tokenizer"], parts["text_encoder"], origin.device, reading, parts.words)


def chosen_kind(card: Card, origin: Origin, parts: Parts) -> Parametrisation:
    """Return the parametrisation asked for, else the one that the scheduler's configuration names, else the usual one.

    Raises:
        ModelError: the family's networks do not answer so.
    """
    usual = card.parametrisations[0]
    wanted = origin.parametrisation or parts.scheduler.get("prediction_type") or usual
    for kind in card.parametrisations:
        if kind == wanted:
            return kind
    raise ModelError(f"prediction type {wanted!r} is not supported here: {', '.join(card.parametrisations)} are")


def few_steps(parts: Parts, origin: Origin) -> tuple[bool, tuple[str, ...]]:
    """Say whether a model is distilled to few steps where its files do not tell, and what to note of it.

    The folder's `wordbrush.json` is taken at its word (`distilled`); else the model's name decides, and that is noted.
    """
    if "distilled" in parts.card:
        return bool(parts.card["distilled"]), ()
    named = _FEW_STEPS.search(origin.name)
    if named is None:
        return False, ()
    return True, (
        f"taken for a model distilled to few steps, by {named[0]!r} in its name: it is run without guidance, and the "
        'background is noised, not inverted; {"distilled": false} in a wordbrush.json of its folder says otherwise',
    )


def policy_of(
    card: Card, parts: Parts, *, distilled: bool = False, kind: GuidanceKind | None = None, **more: Any
) -> Guidance:
    """Return the policy of guidance: the card's, at the scale that the folder's `wordbrush.json` says, if it does.

    Args:
        card: of the family.
        parts: of the checkpoint.
        distilled: guidance is in the network, and cannot be set.
        kind: in place of the card's, for families of both sorts.
        more: further fields of `Guidance`.
    """
    if distilled:
        return Guidance("none", 1.0)
    return Guidance(kind or card.guidance, float(parts.card.get("guidance", card.scale)), **more)


def flow_schedules(
    scheduler: Mapping[str, Any], patch: int = 2, shift: Callable[[int, int], float] | None = None
) -> Callable[[Canvas, int], Schedule]:
    """Return `Model.schedules` of a flow model whose pipeline gives the levels itself.

    Args:
        scheduler: its configuration.
        patch: latent cells a token, along a side.
        shift: (image tokens, steps) -> shift, where the configuration's rule (`shift_of`) is not the pipeline's.
    """

    def made(canvas: Canvas, steps: int) -> Schedule:
        tokens = canvas[0] * canvas[1] // patch**2
        chosen = shift_of(scheduler, tokens) if shift is None else shift(tokens, steps)
        return FlowSchedule(shift=chosen, rule="once", terminal=scheduler.get("shift_terminal"))

    return made


def check_packed(configs: Mapping[str, Mapping[str, Any]], where: str, channels: str = "latent_channels") -> None:
    """Raise ModelError where a transformer does not take the latents alone, 2 x 2 cells a token.

    Args:
        configs: of the networks, by part.
        where: what to call the checkpoint in messages.
        channels: what the autoencoder's configuration calls the latent's channels.
    """
    taken, latent = configs["transformer"].get("in_channels"), configs["vae"].get(channels)
    if taken is not None and latent is not None and taken != 4 * latent:
        raise ModelError(
            f"{where}: the transformer takes {taken} channels a token and the latent has 4 x {latent}; it is for "
            "inpainting, controls or instructions. DiffEdit finds its own mask: use the text-to-image checkpoint"
        )
