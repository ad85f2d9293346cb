"""What a family of models is: a card, its parts by name, how it is recognised, and how its parts become a Model.

One file in `wordbrush.models.families`, or in a package of anybody's that names it in the entry-point group
`wordbrush.families`, holds one object that does what `Family` says. Nothing else knows a family's parts by name. The
card is a literal in that file: it is read beside the code that it describes, it is checked by the type checker, and a
third party ships no data file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from wordbrush.models.header import Header
from wordbrush.models.model import (
    EmbeddingIdentity,
    Encoding,
    GuidanceKind,
    HalfName,
    LoraIdentity,
    Model,
    ModelIdentity,
)

if TYPE_CHECKING:
    import torch

    from wordbrush.diffusion.denoiser import Parametrisation

_SECOND = re.compile(r"(unconditional|uncond|negative)_(transformer|unet)|(transformer|unet)_(\d|unconditional|uncond)")
"""What an index calls a network beside the one that a model here has."""

__all__ = [
    "SCHEDULER",
    "TRANSFORMER_LAYERS",
    "TRANSLATED",
    "Card",
    "Family",
    "Origin",
    "PartSpec",
    "Parts",
    "SingleFile",
    "classes_of",
    "mismatch",
    "network",
    "parts_in",
    "tokenizer",
]


@dataclass(frozen=True)
class Card:
    """Facts of a family that are known before anything is loaded.

    Attributes:
        title: its name for people, in the plural: "... are supported".
        native: side in pixels its models were trained at, where a checkpoint does not say.
        guidance: what guidance means to it.
        scale: default scale, where a checkpoint does not say; 1 = off.
        parametrisations: what its networks may answer.
        licence: of the published weights.
        evidence: how well its edits are known: "measured", "from the paper" or "translated", and by what.
        half: the dtype on CUDA unless another is asked for.
        encoding: how a picture comes into the noise unless an edit says, where a checkpoint does not say.
        sibling: the undistilled model, for a family with models distilled to few steps, whose pictures are noised; ""
            where it has none such.
    """

    title: str
    native: int
    guidance: GuidanceKind
    scale: float
    parametrisations: tuple[Parametrisation, ...]
    licence: str
    evidence: str
    half: HalfName = "float16"
    encoding: Encoding = "invert"
    sibling: str = ""


@dataclass(frozen=True)
class PartSpec:
    """What one part of a checkpoint must be: a folder of its name, and an entry of model_index.json.

    Attributes:
        library: the package that has its classes; only what an installed family names is ever imported.
        classes: the class names that are accepted; empty = any, it is then never loaded but read as a configuration.
        weights: what its weight files are called, without suffix; "" = it has none.
        needs: sets of files; one set must be whole.
        keeps: pattern of the file names that belong to it, beside its weights.
        optional: a checkpoint may do without it, and then names no class for it.
    """

    library: str
    classes: tuple[str, ...]
    weights: str
    needs: tuple[tuple[str, ...], ...]
    keeps: str = r"[\w.-]+\.json"
    optional: bool = False

    def lacks(self, names: frozenset[str]) -> str:
        """Return the first file that is missing among the names in the part's folder, or "" if all are there."""
        missing = [[name for name in files if name not in names] for files in self.needs]
        return "" if not all(missing) else missing[-1][0]


SCHEDULER = PartSpec("diffusers", (), "", (("scheduler_config.json",),), r"scheduler_config\.json")
"""The configuration of a scheduler, of any class: the exact schedule is made from it."""


TRANSLATED = "translated: network, schedule and codec equal the pipeline's; edits not measured"
"""Evidence of families that are held to their own pipelines, and whose settings come from Stable Diffusion."""

TRANSFORMER_LAYERS = ("transformer.", "lora_transformer_", "lora_unet_", "diffusion_model.")
"""How the names of a transformer's layers begin in LoRA files: of diffusers, and of several trainers."""


def network(*classes: str, library: str = "diffusers") -> PartSpec:
    """Describe a network as a part; its weight files have the names that its library gives them."""
    stem = "model" if library == "transformers" else "diffusion_pytorch_model"
    return PartSpec(library, classes, stem, (("config.json",),), r"config\.json")


def tokenizer(*classes: str, alone: tuple[str, ...] = ("vocab.json", "merges.txt")) -> PartSpec:
    """Describe a tokenizer of transformers as a part.

    Args:
        classes: the class names that are accepted; the first is loaded.
        alone: the files that do where `tokenizer.json` is missing.
    """
    needs = (("tokenizer.json",), alone)
    return PartSpec("transformers", classes, "", needs, r"[\w.-]+\.(json|txt|jinja)|(spiece|tokenizer)\.model")


@dataclass
class Parts:
    """The loaded parts of a checkpoint.

    Attributes:
        networks: the parts with weights, by name.
        others: tokenizers and the like, by name.
        scheduler: the scheduler's configuration; empty where the family has none.
        sha256: digest of the weights.
        card: contents of `wordbrush.json`.
        words: the words the model was taught, where it says so.
        index: contents of model_index.json, or the settings of the loaded pipeline.
        pipeline: the loaded pipeline that they were taken from, else None.
        notes: what a user should know about how they were loaded; they become the model's.
        claims: what comes with the checkpoint, beside its scheduler's configuration, says of its parametrisation, as
            (parametrisation, who says it) pairs, the strongest first.
        unsaid: the parametrisation to take where nothing says it and it cannot be found out.
        replaced: the parts that a user gave in place of the checkpoint's own, with the SHA-256 of each.
    """

    networks: Mapping[str, Any]
    others: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    sha256: str
    card: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    index: Mapping[str, Any] = field(default_factory=dict)
    pipeline: Any = None
    notes: tuple[str, ...] = ()
    claims: tuple[tuple[str, str], ...] = ()
    unsaid: str = "epsilon"
    replaced: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.networks[name] if name in self.networks else self.others[name]


@dataclass(frozen=True)
class Origin:
    """Where a model comes from and where it runs.

    Attributes:
        name: short name for people.
        source: what was given, as text.
        revision: the hub commit, or "".
        device: where its parts are already.
        loras: those applied.
        parametrisation: in place of what the checkpoint says, or None.
        embeddings: those taught.
        given: what the user gave beside the source, as (argument, text) pairs; for records.
    """

    name: str
    source: str
    revision: str
    device: torch.device
    loras: tuple[LoraIdentity, ...] = ()
    parametrisation: str | None = None
    embeddings: tuple[EmbeddingIdentity, ...] = ()
    given: tuple[tuple[str, str], ...] = ()

    def identity(self, family: str, parts: Parts, parametrisation: str, dtype: torch.dtype) -> ModelIdentity:
        """Return who the model is, once its family has read its parts."""
        return ModelIdentity(
            name=self.name,
            family=family,
            source=self.source,
            revision=self.revision,
            sha256=parts.sha256,
            parametrisation=parametrisation,
            device=str(self.device),
            dtype=str(dtype).removeprefix("torch."),
            loras=self.loras,
            embeddings=self.embeddings,
            given=self.given,
            replaced=parts.replaced,
        )


class SingleFile(Protocol):
    """How a family is read from one safetensors file under the tensor names of its authors."""

    network: str
    """What such a file must hold, for messages."""

    def recognises(self, header: Header) -> bool:
        """Say whether a file is of this family, from its header."""
        ...

    def load(
        self,
        path: Path,
        dtype: torch.dtype,
        *,
        config: Path | None = None,
        tokenizer: Path | None = None,
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> Parts:
        """Load the parts; nothing is downloaded.

        Args:
            path: the file.
            dtype: of the networks.
            config: a folder in diffusers layout with configurations and tokenizers, where the user gave one.
            tokenizer: a folder with the tokenizer's files, where the user gave one.
            given: parts that the user gave, by name: folders, files or loaded networks.

        Raises:
            UnsafeWeightsError: it is a pickle, whatever it is called.
            ModelError: parts are missing; the message says which and what to give.
        """
        ...


@runtime_checkable
class Family(Protocol):
    """A family of models. Subclass it, or have its members.

    Attributes:
        name: short name, as in records.
        card: what is told of it.
        parts: what its checkpoints are made of, by name.
        file: how it is read from one file, or None.
        lora: the parts that LoRAs may change and how the names of their layers begin in files; None = it takes none.
        lora_names: what LoRA files may call layers instead, and the layers that this one is in the model, whose outputs
            follow one another in it; `#` stands for a number. As in `wordbrush.models.families.layer_names`.
        embeddings: the tokenizer and the text encoder, a CLIP, that take learnt embeddings; None = it takes none.
    """

    name: str
    card: Card
    parts: Mapping[str, PartSpec]
    file: SingleFile | None = None
    lora: Mapping[str, tuple[str, ...]] | None = None
    lora_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    embeddings: tuple[str, str] | None = None

    def recognises(self, index: Mapping[str, Any]) -> bool:
        """Say whether a checkpoint looks like one of this family, even one that lacks a part.

        Args:
            index: contents of model_index.json; for a loaded pipeline the same, told from its components.
        """
        ...

    def check(self, configs: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Check the configurations of the networks, by part, before a weight is read.

        Raises:
            ModelError: the checkpoint is of a kind that the family cannot use.
        """
        return

    def build(self, parts: Parts, origin: Origin) -> Model:
        """Put a model together from parts that are on their device already.

        What a model is before it is loaded is told by this, too, from networks on the device `meta`: configurations
        may be read, and no weight.

        Raises:
            ModelError: the parts do not belong together, or the parametrisation is not supported.
        """
        ...


def classes_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the class names of the parts that an index names, by part; parts said to be absent are left out."""
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    return {name: value[1] for name, value in pairs.items() if len(value) == 2 and isinstance(value[1], str)}


def mismatch(parts: Mapping[str, PartSpec], index: Mapping[str, Any]) -> str:
    """Return in words the first part of an index that is missing, one too many or not of a class wanted, or ""."""
    classes = classes_of(index)
    for name in classes:
        if name not in parts and _SECOND.fullmatch(name):
            return f"component {name!r} is a second network, for some steps or for guidance, and a model here has one"
    for name, spec in parts_in(parts, index).items():
        if spec.classes and classes.get(name) not in spec.classes:
            kind = f"{classes[name]} of {index[name][0]}" if name in classes else "missing"
            return f"component {name!r} is {kind}, not {' or '.join(sorted(spec.classes))}"
    return ""


def parts_in(parts: Mapping[str, PartSpec], index: Mapping[str, Any]) -> dict[str, PartSpec]:
    """Return the parts of a checkpoint: those of its family, without the optional ones that its index says it lacks."""
    classes = classes_of(index)
    return {name: spec for name, spec in parts.items() if not spec.optional or name in classes}
