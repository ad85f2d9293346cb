"""What a loaded model is, whatever its family: a schedule, a denoiser, a codec, a text encoder, and who it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from wordbrush.diffusion.faults import Notes
from wordbrush.errors import SettingsError

if TYPE_CHECKING:
    import torch

    from wordbrush.diffusion.denoiser import Conditioning, Denoiser
    from wordbrush.diffusion.guidance import Join
    from wordbrush.diffusion.schedule import Schedule
    from wordbrush.models.codec import Codec
    from wordbrush.models.encoders import Encoders

__all__ = [
    "GUIDANCE",
    "GUIDED",
    "Canvas",
    "EmbeddingIdentity",
    "Encoding",
    "Guidance",
    "GuidanceKind",
    "LoraIdentity",
    "Model",
    "ModelIdentity",
    "Prompt",
    "TextEncoder",
    "UnknownWord",
]

Canvas = tuple[int, int]
"""Width and height of what is worked on, in latent cells."""

GuidanceKind = Literal["cfg", "embedded", "none"]
GUIDED: Mapping[GuidanceKind, str] = {
    "cfg": "two estimates a step",
    "embedded": "a number told to the network",
    "none": "in the network",
}
"""How each kind guides, in words; see `Guidance`."""

GUIDANCE = "guidance"
"""The name of the scale in the conditioning of a model that is told it, (batch,)."""

HalfName = Literal["float16", "bfloat16"]
Encoding = Literal["invert", "noise"]


@dataclass(frozen=True)
class Guidance:
    """What guidance means to a model.

    Attributes:
        kind: `cfg`, classifier-free guidance: two evaluations a step where the scale is not 1. `embedded`: the network
            is told the scale (as `GUIDANCE` of its conditioning), one evaluation. `none`: guidance was distilled into
            the network and cannot be set.
        scale: the default; 1 = off.
        join: makes one estimate of the two of `cfg`, where a model is not guided by their plain combination.
        least: what an `embedded` network is told where guidance is off, as in the contrast: 1, or the least scale that
            it was trained to be told.
    """

    kind: GuidanceKind
    scale: float
    join: Join | None = None
    least: float = 1.0

    def scale_of(self, asked: float | None, switch: str = "guidance") -> float:
        """Return the scale to walk with: the one asked for by a switch, else the default.

        Raises:
            SettingsError: a scale other than 1 is asked of a model that has no guidance.
        """
        if asked is None:
            return self.scale
        if self.kind == "none" and asked != 1.0:
            what = f"{switch} {asked:g} means nothing for this model"
            raise SettingsError(f"{what}, whose guidance is in its network: leave it out, or set it to 1")
        return asked

    def weight_of(self, scale: float) -> float:
        """Return the weight that two estimates are combined with: 1, no combination, where the network is told it."""
        return scale if self.kind == "cfg" else 1.0

    def told(self, text: Conditioning, scale: float | None = None) -> Conditioning:
        """Return a text as the network takes it, with the scale where it is told one; None = guidance is off."""
        if self.kind != "embedded":
            return text
        return text.told(**{GUIDANCE: self.least if scale is None else scale})

    def check_negative(self, text: str) -> None:
        """Raise SettingsError where a negative text is given and no estimate would be made under it."""
        if text and self.kind != "cfg":
            how = "takes its guidance as a number" if self.kind == "embedded" else "has no guidance"
            raise SettingsError(f"a negative text means nothing for this model, which {how}: leave it out")


@dataclass(frozen=True)
class LoraIdentity:
    """A LoRA applied to a model.

    Attributes:
        source: the path as it was given.
        sha256: of the file.
        scale: strength; 0 has no effect.
    """

    source: str
    sha256: str
    scale: float


@dataclass(frozen=True)
class EmbeddingIdentity:
    """A learnt embedding that a model was taught.

    Attributes:
        source: the path as it was given.
        sha256: of the file.
        token: the word that stands for it in texts.
    """

    source: str
    sha256: str
    token: str


@dataclass(frozen=True)
class ModelIdentity:
    """Who a model is: enough to find it again, and to tell whether it is the same.

    Attributes:
        name: short name for people.
        family: as the family names itself, such as `stable-diffusion-1`.
        source: what `load_model` was given, as text.
        revision: the hub commit, or "" for what is not from the hub.
        sha256: digest over the weights (see `wordbrush.models.checkpoint.digests`).
        parametrisation: `epsilon`, `v_prediction`, `sample` or `flow`.
        device: as torch writes it.
        dtype: of the network, as in `float32`.
        loras: the LoRAs applied, in order.
        embeddings: the learnt embeddings, in order.
        given: what was given beside the source to load it, as (argument of `load_model`, text) pairs.
        replaced: the parts among that, with the SHA-256 of each; networks in memory, too.
        backend: what computes the networks where it is not torch as it is: `compile` or `openvino`.
    """

    name: str
    family: str
    source: str
    revision: str
    sha256: str
    parametrisation: str
    device: str
    dtype: str
    loras: tuple[LoraIdentity, ...] = ()
    embeddings: tuple[EmbeddingIdentity, ...] = ()
    given: tuple[tuple[str, str], ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    backend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; `embeddings`, `given`, `replaced`, `backend` where there are any."""
        listed = {name: [asdict(item) for item in getattr(self, name)] for name in ("loras", "embeddings")}
        fields = {**asdict(self), **listed, "given": dict(self.given), "replaced": dict(self.replaced)}
        optional = {"embeddings", "given", "replaced", "backend"}
        return {name: value for name, value in fields.items() if value or name not in optional}


@dataclass(frozen=True)
class UnknownWord:
    """A word of a prompt that the model was never taught.

    Attributes:
        word: as written.
        near: up to three known words spelt like it, nearest first.
    """

    word: str
    near: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text as the network takes it.

    Attributes:
        text: as given.
        conditioning: one row.
        dropped: words beyond the encoder's limit, in order; they have no effect, or not their full one.
        unknown: words the model was never taught; empty for models that do not say which words they know.
        notes: what the encoder had to do otherwise, as in another precision.
    """

    text: str
    conditioning: Conditioning
    dropped: tuple[str, ...] = ()
    unknown: tuple[UnknownWord, ...] = ()
    notes: tuple[str, ...] = ()


class TextEncoder(Protocol):
    """Turns texts into prompts."""

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Encode each text by itself, so that none depends on its mates.

        Args:
            texts: any texts, the empty one too.
            clip_skip: how many of the encoder's last layers to leave out; 0 = none (diffusers' `clip_skip`).
            canvas: what the texts are for, where the model is told its size; by default the native one.

        Raises:
            InputError: a text is too long to be a prompt.
            SettingsError: `clip_skip` leaves no layer.
        """
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A model, ready to run.

    Attributes:
        identity: who it is.
        schedule: its exact levels; for families whose levels depend on the canvas, those of the native one.
        denoiser: its network, x0 and eps out; float32 in and out.
        codec: pixels to latents and back.
        text: prompts to conditioning.
        resolution: native side in pixels.
        policy: what guidance means to it, with the default scale.
        device: where it runs.
        dtype: what the network computes in.
        words: the words it knows, where it says so; else empty.
        card: what its folder says of itself (`wordbrush.json`), else empty.
        scheduler: the configuration its schedule was made of, as diffusers writes it; for handing it to others.
        schedules: makes the schedule for a canvas and a number of steps; None where `schedule` serves all.
        patch: latent cells that the network takes together along a side; a canvas holds whole patches.
        encoding: how the picture comes into the noise unless an edit says: `invert`, or `noise` for models distilled
            to few steps, on whose long steps an inversion does not come back.
        negative: encodes texts that are guided away from, where they are read unlike others.
        sibling: for such a model, the one it was distilled from, or "".
        notes: what a user should know about how it was loaded: what was left out, guessed or in conflict.
        encoders: its text encoders where they may leave the device when memory is short; None where that gains nothing.
        fallbacks: what its denoising network had to do otherwise since they were last taken.
    """

    identity: ModelIdentity
    schedule: Schedule
    denoiser: Denoiser
    codec: Codec
    text: TextEncoder
    resolution: int
    policy: Guidance
    device: torch.device
    dtype: torch.dtype
    words: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    schedules: Callable[[Canvas, int], Schedule] | None = None
    patch: int = 1
    encoding: Encoding = "invert"
    sibling: str = ""
    negative: TextEncoder | None = None
    notes: tuple[str, ...] = ()
    encoders: Encoders | None = None
    fallbacks: Notes = field(default_factory=Notes)

    @property
    def grid(self) -> int:
        """Pixels that both sides of a canvas are multiples of."""
        return self.codec.factor * self.patch

    @property
    def guidance(self) -> float:
        """Default scale of guidance; 1 = off."""
        return self.policy.scale

    def inverts(self, encoding: Literal["auto", "invert", "noise"]) -> bool:
        """Say whether a picture comes into the noise by inversion, under that setting."""
        return (self.encoding if encoding == "auto" else encoding) == "invert"

    def schedule_for(self, canvas: Canvas, steps: int) -> Schedule:
        """Return the exact schedule for a canvas (width, height) in latent cells and a number of steps."""
        return self.schedule if self.schedules is None else self.schedules(canvas, steps)
