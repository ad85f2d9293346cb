"""Checkpoints in one safetensors file whose family wants a folder for what the file lacks.

Such a file holds a network, and perhaps an autoencoder and text encoders; it holds no configuration and no tokenizer.
A folder in diffusers layout of the same family (`--config`) gives those, and the weights of the parts that the file
has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models.checkpoint.file_parts import MARKS, InFile, find_part, left_note, prefix_of, refuse_scaled
from wordbrush.models.checkpoint.given import flag_of
from wordbrush.models.checkpoint.layout import INDEX, choose_weights, family_in, list_files, parts_of
from wordbrush.models.checkpoint.parts import load_folder
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.family import Family, Parts, PartSpec, SingleFile
from wordbrush.models.header import Header
from wordbrush.models.refused import kind_of_names
from wordbrush.models.registry import family_of_file

if TYPE_CHECKING:
    import torch

__all__ = ["SD3_TEXTS", "NetworkFile", "family_of_single"]

SD3_TEXTS: Mapping[str, str] = {
    "clip_l": "text_encoders.clip_l.transformer.",
    "clip_g": "text_encoders.clip_g.transformer.",
    "t5xxl": "text_encoders.t5xxl.transformer.",
}
"""Under what text encoders lie in files of Stable Diffusion 3, and in those of other programs."""


class NetworkFile:
    """How a family is read from a file that holds its network, and perhaps other parts.

    Args:
        part: the network's name as a part.
        kind: its class.
        title: what it is called in messages.
        holds: one of these tensors must be there, too, after what its tensors begin with; () = none.
        lacks: none of these may be.
        texts: what the names of text encoders begin with, by part.
    """

    def __init__(
        self,
        part: str,
        kind: str,
        title: str,
        *,
        holds: tuple[str, ...] = (),
        lacks: tuple[str, ...] = (),
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.part, self.kind, self.holds, self.lacks, self.texts = part, kind, holds, lacks, texts
        self.network = title

    def recognises(self, header: Header) -> bool:
        """Say whether a file holds the family's network."""
        tensors = header.tensors
        prefix = prefix_of(MARKS[self.kind], tensors)
        if prefix is None or kind_of_names(tensors):
            return False
        has = any(prefix + name in tensors for name in self.holds) or not self.holds
        return has and not any(prefix + name in tensors for name in self.lacks)

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
            config: a folder in diffusers layout of the family.
            tokenizer: refused: the folder has the tokenizers.
            given: parts in place of those of file and folder, by name.

        Raises:
            SettingsError: a tokenizer is given.
            ModelError: parts are missing, or do not fit; the message says which and what to give.
        """
        where, header = path.name, read_header(path)
        tensors = header.tensors
        if tokenizer is not None:
            raise SettingsError(f"{where} takes its tokenizers from --config (config=): leave out --tokenizer")
        if config is None:
            raise ModelError(
                f"{where} holds the {self.network}: give --config FOLDER (config=), a folder in diffusers layout "
                "of the same family, for configurations, tokenizers and the parts that the file has not"
            )
        refuse_scaled(tensors, where)
        family = family_in(config, f"config folder {config.name}")
        self._check_same(family, header, where)
        specs = parts_of(config, family, f"config folder {config.name}")
        found = self.found(path, tensors, specs)
        lacking = {name: spec for name, spec in specs.items() if spec.weights and name not in {*found, *given}}
        _check_folder(config, lacking, where)
        parts = load_folder(config, family, f"config folder {config.name}", dtype, {**found, **given}, file=where)
        used = [name for part in found.values() for name in part.names.values()]
        parts.scheduler, told = self.scheduled(parts.scheduler, path, header)
        parts.notes = (*parts.notes, *left_note(tensors, used, where), *told)
        return parts

    def scheduled(
        self, scheduler: Mapping[str, Any], path: Path, header: Header
    ) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Let what a file says of itself replace what the folder's scheduler says; notes tell where they differ."""
        del path, header
        return scheduler, ()

    def found(self, path: Path, tensors: Mapping[str, Any], specs: Mapping[str, PartSpec]) -> dict[str, InFile]:
        """Return the parts that a file holds, by name.

        Args:
            path: the file.
            tensors: of it, by name.
            specs: the parts of the family.
        """
        found: dict[str, InFile] = {}
        for name, prefix in self.texts.items():
            names = {there.removeprefix(prefix): there for there in tensors if there.startswith(prefix)}
            if names and name in specs:
                found[name] = InFile(path, names, tensors)
        others = [name for name, spec in specs.items() if "AutoencoderKL" in spec.classes and name not in found]
        for name in (*others, self.part):
            kind = self.kind if name == self.part else "AutoencoderKL"
            taken = [there for part in found.values() for there in part.names.values()]
            if part := find_part(path, tensors, kind, "diffusers", taken):
                found[name] = part
        return found

    def _check_same(self, family: Family, header: Header, where: str) -> None:
        if family.file is None or not family.file.recognises(header):
            raise ModelError(
                f"{where} holds the {self.network}, and --config (config=) is a folder of {family.card.title}: give "
                "one of the same family"
            )


def family_of_single(header: Header, where: str, config: Path | None) -> tuple[Family, SingleFile]:
    """Return the family of a checkpoint in one file, and how it reads such files.

    Args:
        header: of the file.
        where: what to call it in messages.
        config: a folder in diffusers layout; where several families could take the file, it is of the folder's.

    Raises:
        ModelError: no family takes it; the message says what it is.
    """
    if config is not None and (config / INDEX).is_file():
        family = family_in(config, f"config folder {config.name}")
        if family.file is not None and family.file.recognises(header):
            return family, family.file
    return family_of_file(header, where)


def _check_folder(config: Path, lacking: Mapping[str, PartSpec], where: str) -> None:
    """Raise ModelError where a part lies neither in the file nor in the folder of configurations."""
    names = list_files(config)
    for name, spec in lacking.items():
        try:
            choose_weights(names, name, spec.weights, config.name)
        except UnsafeWeightsError:
            raise
        except ModelError as error:
            raise ModelError(
                f"{where} holds no {name}, and the folder {config.name} has no weights of it: give them with "
                f"{flag_of(name)}, a folder or a .safetensors file, or another --config (config=)"
            ) from error
