"""A checkpoint in one safetensors file, under the tensor names of the original Stable Diffusion or near ones.

Such a file has no configurations and no tokenizer. The configurations of Stable Diffusion 1.x and 2.x are known here;
the tokenizer's vocabulary is too large to ship and is taken from this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.autoencoder import vae_of_file
from wordbrush.models.checkpoint.digests import digest_digests, file_digest
from wordbrush.models.checkpoint.given import check_given, load_given
from wordbrush.models.checkpoint.layout import MAX_TOKENIZER, read_json
from wordbrush.models.checkpoint.networks import check_loaded, surplus_note, translated
from wordbrush.models.checkpoint.parts import load_tokenizer
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.values import check_network, check_scheduler, check_stored
from wordbrush.models.checkpoint.weights import read_header, read_state
from wordbrush.models.families.stable_diffusion_claims import claims_of_file, resolution_of, zero_snr_of
from wordbrush.models.families.stable_diffusion_configs import (
    NETWORKS,
    PARTS,
    TOKENIZER,
    Version,
    built_in,
    check_networks,
    write,
)
from wordbrush.models.families.stable_diffusion_layout import UNET, Layout, find_unet, layout_of
from wordbrush.models.family import Parts
from wordbrush.models.header import Header, TensorEntry
from wordbrush.models.refused import kind_of_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["StableDiffusionFile"]

_VOCABULARY = 49_408
_SCHEDULER = "scheduler/scheduler_config.json"
_ADVICE = (
    "; for a checkpoint of another shape give --config FOLDER (config=FOLDER), a folder in diffusers layout with its "
    "configurations and tokenizer"
)


class StableDiffusionFile:
    """How such a file becomes the parts of a model."""

    network = f"Stable Diffusion UNet ({UNET}input_blocks.0.0.weight)"

    def recognises(self, header: Header) -> bool:
        """Say whether a file holds a UNet of this family, and is nothing else that holds one too."""
        return bool(find_unet(header.tensors)) and not kind_of_tensors(header.tensors)

    def load(
        self,
        path: Path,
        dtype: torch.dtype,
        *,
        config: Path | None = None,
        tokenizer: Path | None = None,
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> Parts:
        """Load a checkpoint; nothing is downloaded.

        Args:
            path: the safetensors file.
            dtype: of the networks.
            config: a folder in diffusers layout to take configurations and tokenizer from (its weights are not read),
                for checkpoints of another shape than Stable Diffusion 1.x and 2.x.
            tokenizer: a folder with vocab.json and merges.txt.
            given: parts in place of the file's own, by name: folders, files or loaded networks.

        Raises:
            UnsafeWeightsError: it is a pickle, whatever it is called.
            ModelError: parts are missing, or do not fit; the message says which and what to give.
        """
        where = path.name
        check_given(given, PARTS, where)
        header = read_header(path)
        layout = layout_of(header.tensors, where, without_vae="vae" in given)
        version = _version(header, layout)
        configs = built_in(version) if config is None else _read_configs(config)
        notes = [*layout.notes, *_told(configs, header, where)]
        unet, own_vae = configs["unet/config.json"], configs["vae/config.json"]
        unet["in_channels"] = _channels(header, layout)
        _check(configs, header, layout, where)
        check_networks(unet, own_vae, where)
        with quiet():
            reader = _tokenizer(version, config, tokenizer, where)
        modules, surplus = _load(path, layout, configs, dtype, where)
        if "vae" not in given:
            found = vae_of_file(path, str(layout.vae), header.tensors, own_vae, dtype, where, _ADVICE)
            modules["vae"], told = found
            notes += told
        digests, replaced = {"checkpoint": file_digest(path)}, []
        for name, source in given.items():
            spec, usual = PARTS[name], configs[f"{name}/config.json"]
            other = load_given(source, name, spec, spec.classes[0], usual, dtype)
            modules[name], digests = other.module, {**digests, **other.digests}
            notes += other.notes
            replaced.append((name, other.sha256))
        return Parts(
            {name: modules[name] for name in NETWORKS},
            {"tokenizer": reader},
            configs[_SCHEDULER],
            digest_digests(digests),
            notes=(*notes, *surplus),
            claims=claims_of_file(path, header),
            unsaid="v_prediction" if version == "sd2" else "epsilon",
            replaced=tuple(replaced),
        )


def _version(header: Header, layout: Layout) -> Version:
    """Tell the generation from the text encoder: OpenCLIP under its own names, or as wide under those of CLIP."""
    first = next(there for name, there in layout.text.items() if name.endswith("token_embedding.weight"))
    return "sd2" if layout.style == "open_clip" or header.tensors[first].shape[-1] == _SD2_WIDTH else "sd1"


_SD2_WIDTH = 1024


def _channels(header: Header, layout: Layout) -> int:
    first = layout.unet.get(f"{UNET}input_blocks.0.0.weight") or layout.unet["conv_in.weight"]
    return header.tensors[first].shape[1]


def _told(configs: dict[str, dict[str, Any]], header: Header, where: str) -> tuple[str, ...]:
    """Let the file's own words on schedule and size replace those of the configurations; a conflict is a note."""
    scheduler, notes = configs[_SCHEDULER], []
    if (source := zero_snr_of(header)) and not scheduler.get("rescale_betas_zero_snr"):
        if scheduler.get("rescale_betas_zero_snr") is False and "trained_betas" not in scheduler:
            notes = [f"the noise schedule ends at zero terminal SNR, as {source} in {where} says; --config says no"]
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if side := resolution_of(header):
        factor = 2 ** (len(configs["vae/config.json"].get("block_out_channels", ())) - 1)
        configs["unet/config.json"]["sample_size"] = max(1, side // max(factor, 1))
    return tuple(notes)


def _check(configs: Mapping[str, Mapping[str, Any]], header: Header, layout: Layout, where: str) -> None:
    """Check configurations and stored numbers of UNet and text encoder; those of the autoencoder are its loader's."""
    for name, names in (("unet", layout.unet), ("text_encoder", layout.text)):
        tensors: dict[str, TensorEntry] = {there: header.tensors[there] for there in names.values()}
        check_network(configs[f"{name}/config.json"], f"{where}: the configuration of the {name}", tensors)
        check_stored(tensors, f"{where}: {name}")
    check_scheduler(configs[_SCHEDULER], f"{where}: the configuration of its scheduler")
    for name in layout.unet:
        if ".label_emb." in name or "cond_proj" in name:
            raise ModelError(f"{where}: the UNet wants more than a text ({layout.unet[name]}): it is of another kind")


def _read_configs(config: Path) -> dict[str, dict[str, Any]]:
    names = [*(f"{name}/config.json" for name in NETWORKS), _SCHEDULER]
    return {name: read_json(config / name, f"config folder {config.name}") for name in names}


def _load(
    path: Path, layout: Layout, configs: dict[str, dict[str, Any]], dtype: torch.dtype, where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Load UNet and text encoder; the second result tells of weights that they have no place for."""
    with quiet(), TemporaryDirectory(prefix="wordbrush-") as scratch:
        from diffusers import UNet2DConditionModel
        from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
        from transformers import CLIPTextModel

        write(Path(scratch), configs)
        options = {"config": scratch, "local_files_only": True, "torch_dtype": dtype}
        with translated(f"{where} does not fit the configurations of its family", _ADVICE):
            unet = UNet2DConditionModel.from_single_file(read_state(path, layout.unet), subfolder="unet", **options)
            text = create_diffusers_clip_model_from_ldm(
                CLIPTextModel, read_state(path, layout.text), subfolder="text_encoder", **options
            )
    modules = {"unet": unet, "text_encoder": text}
    checked = {name: check_loaded(module, f"{where}: {name}") for name, module in modules.items()}
    return checked, surplus_note(len(layout.unet) - len(unet.state_dict()), f"{where}: unet")


def _tokenizer(family: Version, config: Path | None, tokenizer: Path | None, where: str) -> Any:
    if tokenizer is not None:
        inner = tokenizer / "tokenizer"
        folder = inner if inner.is_dir() else tokenizer
        return load_tokenizer(folder, TOKENIZER, "tokenizer folder", **_padding(family, config))
    if config is not None:
        return load_tokenizer(config / "tokenizer", TOKENIZER, f"config folder {config.name}")
    cached = _cached_tokenizer()
    if cached is None:
        raise ModelError(
            f"{where} carries no tokenizer, and the local hub cache has none: give --tokenizer FOLDER "
            "(tokenizer=FOLDER) with CLIP's vocab.json and merges.txt, or --config FOLDER (config=FOLDER), any Stable "
            "Diffusion folder in diffusers layout (its weights are not needed); with a network, `wordbrush models "
            "fetch --vocabulary openai/clip-vit-large-patch14` puts it into the cache"
        )
    return load_tokenizer(cached, TOKENIZER, "cached tokenizer", **_padding(family, None))


def _padding(family: Version, config: Path | None) -> dict[str, Any]:
    """Return settings that a bare vocabulary lacks: both families share it, but pad with different tokens."""
    if config is not None:
        return {}
    return {"model_max_length": 77, "pad_token": "!" if family == "sd2" else "<|endoftext|>"}


def _cached_tokenizer() -> Path | None:
    """Return a folder of the local hub cache with CLIP's vocabulary, whichever repository brought it there."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    for pattern in ("models--*/snapshots/*/tokenizer/vocab.json", "models--*/snapshots/*/vocab.json"):
        for path in sorted(cache.glob(pattern)):
            if not (path.is_file() and (path.parent / "merges.txt").is_file()):
                continue
            try:
                table = read_json(path, "cached tokenizer", MAX_TOKENIZER)
            except ModelError:  # whatever lies there, it is not what is looked for
                continue
            ends = (table.get("<|startoftext|>"), table.get("<|endoftext|>"))
            if len(table) == _VOCABULARY and ends == (_VOCABULARY - 2, _VOCABULARY - 1):
                return path.parent
    return None
