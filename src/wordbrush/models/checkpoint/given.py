"""Parts that a user gives in place of a checkpoint's own: a folder, a safetensors file, or a loaded network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.digests import digest_digests, digest_modules, file_digest
from wordbrush.models.checkpoint.file_parts import InFile, find_part, left_note, load_from_file
from wordbrush.models.checkpoint.layout import choose_weights, list_files, read_json, whole_files
from wordbrush.models.checkpoint.networks import class_of, load_network
from wordbrush.models.checkpoint.quantised import method_of, quantised_note
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_stored
from wordbrush.models.checkpoint.weights import check_finite, read_header
from wordbrush.models.family import PartSpec
from wordbrush.models.refused import groups

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Given", "PartSource", "check_floating", "check_given", "config_of", "flag_of", "load_given"]

PartSource = Path | InFile | Any  # Any: a network, whose class is not imported for its type
"""A folder, a file, where a part lies in the checkpoint's own file, or a loaded network."""

_INTERFACE = (
    "latent_channels", "z_dim", "in_channels", "out_channels", "patch_size", "joint_attention_dim",
    "cross_attention_dim", "pooled_projection_dim", "caption_channels", "cap_feat_dim", "text_hidden_dim",
    "num_text_layers", "num_classes", "hidden_size", "d_model", "projection_dim",
)  # fmt: skip
"""What configurations say of the numbers that parts hand to one another."""
_SCALE = 0.18215
"""What AutoencoderKL scales by where its configuration does not say."""


@dataclass(frozen=True)
class Given:
    """A part that was given.

    Attributes:
        module: ready to run.
        config: its configuration.
        digests: SHA-256 of what it was made of, by name, for the model's digest.
        notes: what a user should know about it.
    """

    module: Any
    config: Mapping[str, Any]
    digests: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """One digest over all it was made of."""
        return digest_digests(self.digests)


def check_given(given: Iterable[str], specs: Mapping[str, PartSpec], where: str) -> None:
    """Raise ModelError where a part is given that a checkpoint has not."""
    has = [name for name, spec in specs.items() if spec.weights]
    for name in given:
        if name not in has:
            raise ModelError(f"{where} has no {name}, but {', '.join(has)}: leave out {flag_of(name)}")


def flag_of(part: str) -> str:
    """Return how a part is given, in words: the switch and the argument."""
    return f"--{part.replace('_', '-')} ({part}=)"


def load_given(
    source: PartSource,
    name: str,
    spec: PartSpec,
    kind: str,
    usual: Mapping[str, Any],
    dtype: torch.dtype,
    where: str = "",
) -> Given:
    """Load a part.

    Args:
        source: a folder with its config.json, or a checkpoint's with such a folder of the part's name; a safetensors
            file; or a network, which is used in place.
        name: of the part.
        spec: what it must be.
        kind: the class of the checkpoint's own.
        usual: the configuration of the checkpoint's own; a file carries none and gets this one.
        dtype: of the network; one that is loaded keeps its own.
        where: what to call it in messages, for a part of the checkpoint's own file.

    Raises:
        UnsafeWeightsError: it is only there as a pickle.
        ModelError: there is no such thing, it is damaged, or it is made for other models.
    """
    if isinstance(source, InFile):
        module, notes = load_from_file(source, spec.library, kind, usual, dtype, f"{where}: {name}", _ADVICE)
        return Given(module, usual, {"checkpoint": file_digest(source.path)}, notes)
    if not isinstance(source, Path):
        network: Any = source
        return _loaded(network, name, spec, usual)
    if source.is_dir():
        return _from_folder(source, name, spec, kind, usual, dtype)
    where = f"{name} {source.name}"
    tensors = read_header(source).tensors
    found = find_part(source, tensors, kind, spec.library)
    if found is None:
        what = "autoencoder (decoder.conv_in and encoder.conv_in)" if kind == "AutoencoderKL" else kind
        raise ModelError(f"{where} holds no {what}; {groups(tensors)}")
    module, notes = load_from_file(found, spec.library, kind, usual, dtype, where)
    left = () if name == "vae" else left_note(tensors, found.names.values(), where)
    return Given(module, usual, {name: file_digest(source)}, (*notes, *left))


_ADVICE = "; give --config FOLDER (config=), a folder in diffusers layout of a model of the same shape"


def _from_folder(
    path: Path, name: str, spec: PartSpec, kind: str, usual: Mapping[str, Any], dtype: torch.dtype
) -> Given:
    folder = path / name if (path / name / "config.json").is_file() else path.resolve()
    where = f"{name} {path.name}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"{where}: config.json is missing, so it is no {name} in diffusers layout")
    config = read_json(folder / "config.json", where)
    if spec.library == "transformers":
        _check_type(config, usual, where)
    else:
        kind = str(config.get("_class_name"))
        if kind not in spec.classes:
            raise ModelError(f"{where} is of the class {kind!r}, not {' or '.join(spec.classes)}")
    names = [f"{folder.name}/{file}" for file in list_files(folder)]
    weights = choose_weights(names, folder.name, spec.weights, where, prefer_half=str(dtype) == "torch.float16")
    files = {f"{name}/{Path(file).name}": folder.parent / file for file in whole_files(folder.parent, weights, where)}
    tensors = {key: entry for file in files.values() for key, entry in read_header(file).tensors.items()}
    check_network(config, f"{where}: config.json", tensors, quantised=True)
    check_stored(tensors, where, config)
    check_fits(config, usual, kind, where)
    with quiet():
        module, notes = load_network(spec.library, kind, folder.parent, folder.name, weights.variant, dtype, where)
    digests = {file: file_digest(place) for file, place in files.items()}
    told = (*_other_scale(config, usual, where, name), *quantised_note(config, where))
    return Given(module, config, digests, (*notes, *told))


def _loaded(module: nn.Module, name: str, spec: PartSpec, usual: Mapping[str, Any]) -> Given:
    where = f"{name} in memory"
    if not isinstance(module, tuple(class_of(spec.library, kind) for kind in spec.classes)):
        raise ModelError(f"{where} is of the class {type(module).__name__!r}, not {' or '.join(spec.classes)}")
    config = config_of(module)
    check_network(config, f"{where}: its configuration", quantised=True)
    check_fits(config, usual, type(module).__name__, where)
    if not method_of(config):
        check_floating(module, where)
    check_finite(module, where)
    return Given(module, config, {name: digest_modules({name: module})}, _other_scale(config, usual, where, name))


def config_of(module: Any) -> dict[str, Any]:
    """Return the configuration of a loaded network as a table."""
    config = module.config
    return dict(config.to_dict() if hasattr(config, "to_dict") else config)


def check_floating(module: Any, where: str) -> None:
    """Raise ModelError where a weight of a loaded network is no floating point."""
    for name, value in module.named_parameters():
        if not value.is_floating_point():
            dtype = str(value.dtype).removeprefix("torch.")
            raise ModelError(f"{where}: {name} is stored as {dtype}: the weights are quantised; load the full ones")


def check_fits(config: Mapping[str, Any], usual: Mapping[str, Any], kind: str, where: str) -> None:
    """Check that a part hands and takes as many numbers as the checkpoint's own.

    Raises:
        ModelError: it does not; the message says which and how many.
    """
    ours, theirs = _flat(config), _flat(usual)
    for key in _INTERFACE:
        if key == "projection_dim" and not kind.endswith("WithProjection"):
            continue
        one, other = ours.get(key), theirs.get(key)
        if one is not None and other is not None and one != other:
            raise ModelError(
                f"{where} has {one} {key.replace('_', ' ')} and this model {other}: it is made for other models"
            )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    return {**config, **(inner if isinstance(inner, Mapping) else {})}


def _check_type(config: Mapping[str, Any], usual: Mapping[str, Any], where: str) -> None:
    ours, theirs = config.get("model_type"), usual.get("model_type")
    if ours != theirs:
        raise ModelError(f"{where} is of the type {ours!r}, and this model's own of {theirs!r}")


def _other_scale(config: Mapping[str, Any], usual: Mapping[str, Any], where: str, name: str) -> tuple[str, ...]:
    if name != "vae":
        return ()
    ours, theirs = (float(table.get("scaling_factor") or _SCALE) for table in (config, usual))
    if abs(ours - theirs) < 1e-6:
        return ()
    return (f"{where} scales latents by {ours:g} and the checkpoint's own by {theirs:g}: it is made for other models",)
