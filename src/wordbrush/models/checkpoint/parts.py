"""The parts of a Stable Diffusion checkpoint, and reading them from a folder in diffusers layout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.diffusion.faults import is_out_of_memory
from wordbrush.errors import ModelError, ResourceError, WordbrushError
from wordbrush.models.checkpoint.digests import digest_files
from wordbrush.models.checkpoint.layout import (
    INDEX,
    WEIGHTED,
    check_index,
    check_networks,
    choose_weights,
    needed_files,
)
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.sources import list_files
from wordbrush.models.checkpoint.weights import check_finite, read_header

if TYPE_CHECKING:
    import torch

__all__ = ["Components", "check_loaded", "load_folder", "load_tokenizer", "move", "read_json", "translated"]


@dataclass
class Components:
    """What the loaders hand over.

    Attributes:
        unet: UNet2DConditionModel.
        vae: AutoencoderKL.
        text_encoder: CLIPTextModel.
        tokenizer: CLIPTokenizer.
        scheduler: the scheduler's configuration.
        sha256: digest of the weights.
        card: contents of `wordbrush.json`.
        words: the words the model was taught, where it says so.
        convert: what a pipeline does to a text before the tokenizer sees it.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]
    sha256: str
    card: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    convert: Callable[[str], str] | None = None

    def modules(self) -> dict[str, Any]:
        """Return the networks by name."""
        return {name: getattr(self, name) for name in WEIGHTED}


def move(parts: Components, device: torch.device, dtype: torch.dtype) -> None:
    """Bring the networks to a device; whatever was added to them since they were loaded gets their dtype."""
    from torch import nn

    with translated(f"the model cannot be brought to {device}"):
        for module in parts.modules().values():
            nn.Module.to(module, device=device, dtype=dtype)  # diffusers' own would log a caution about the dtype


def read_json(path: Path, where: str) -> dict[str, Any]:
    """Read a JSON table.

    Raises:
        ModelError: it is missing or not one; the message names the file within `where`.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{where}: {name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{where}: {name} is not readable JSON: {error}") from error
    if not isinstance(table, dict):
        raise ModelError(f"{where}: {name} is not a table")
    return table


def load_folder(folder: Path, where: str, dtype: torch.dtype) -> Components:
    """Load a checkpoint in diffusers layout; everything is checked before a weight is read.

    Args:
        folder: with model_index.json.
        where: what to call it in messages.
        dtype: of the networks.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle, or is one under another name.
        ModelError: a file is missing or damaged, or the checkpoint is of another kind.
    """
    names = list_files(folder)
    if INDEX not in names:
        loose = [name for name in names if name.endswith(".safetensors") and "/" not in name]
        hint = f"; did you mean the file {loose[0]}?" if loose else ""
        raise ModelError(f"{where}: {INDEX} is missing, so it is not a folder in diffusers layout{hint}")
    check_index(read_json(folder / INDEX, where), where)
    half = str(dtype) == "torch.float16"
    needed_files(names, where, prefer_half=half)
    configs = {name: read_json(folder / name / "config.json", where) for name in ("unet", "vae")}
    check_networks(configs["unet"], configs["vae"], where)
    weights = {name: choose_weights(names, name, where, prefer_half=half) for name in WEIGHTED}
    files = {name: folder / name for chosen in weights.values() for name in _whole(folder, chosen.files, where)}
    for path in files.values():
        read_header(path)
    with quiet():
        modules = {name: _load(folder, name, weights[name].variant, dtype, where) for name in WEIGHTED}
        tokenizer = load_tokenizer(folder / "tokenizer", where)
    card = read_json(folder / "wordbrush.json", where) if "wordbrush.json" in names else {}
    if not isinstance(card.get("guidance", 1.0), int | float):
        raise ModelError(f"{where}: wordbrush.json: guidance is {card['guidance']!r}, not a number")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", where)
    words = _words(folder, card, names)
    return Components(
        **modules, tokenizer=tokenizer, scheduler=scheduler, sha256=digest_files(files), card=card, words=words
    )


def _whole(folder: Path, files: tuple[str, ...], where: str) -> list[str]:
    """Return the safetensors files of a component; the shards that its index names must all be there."""
    if not files[0].endswith(".json"):
        return list(files)
    component = files[0].split("/", 1)[0]
    table = read_json(folder / files[0], where).get("weight_map")
    named = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    for name in named:
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise ModelError(f"{where}: {files[0]} names {name!r}, which is not a safetensors file beside it")
        if f"{component}/{name}" not in files:
            raise ModelError(f"{where}: {component}/{name} is missing")
    if not named:
        raise ModelError(f"{where}: {files[0]} names no weights")
    return [f"{component}/{name}" for name in named]


def _load(folder: Path, component: str, variant: str | None, dtype: torch.dtype, where: str) -> Any:
    import diffusers
    import transformers

    index = read_json(folder / INDEX, where)
    library = transformers if component == "text_encoder" else diffusers
    kind = getattr(library, index[component][1])
    options = {"dtype" if component == "text_encoder" else "torch_dtype": dtype}
    with translated(f"{where}: {component} cannot be loaded"):
        module, report = kind.from_pretrained(
            folder,
            subfolder=component,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    for problem in ("missing_keys", "mismatched_keys"):
        if found := sorted(map(str, report.get(problem, ()))):
            kind_of = problem.removesuffix("_keys")
            raise ModelError(f"{where}: {component} has {len(found)} {kind_of} weights, the first is {found[0]!r}")
    return check_loaded(module, f"{where}: {component}")


def check_loaded(module: Any, where: str) -> Any:
    """Return the module, ready to run, after a check that every weight arrived and is finite.

    Raises:
        ModelError: one did not, or is not; the message names it.
    """
    absent = [name for name, value in module.state_dict().items() if value.is_meta]
    if absent:
        raise ModelError(f"{where} has {len(absent)} missing weights, the first is {absent[0]!r}")
    check_finite(module, where)
    return module.eval().requires_grad_(False)


def load_tokenizer(folder: Path, where: str, **changes: Any) -> Any:
    """Load a CLIP tokenizer from its folder; `changes` replace settings, as `pad_token`.

    Raises:
        ModelError: a file is missing or cannot be read.
    """
    from transformers import CLIPTokenizer

    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise ModelError(f"{where}: {folder.name}/{name} is missing")
    with translated(f"{where}: the tokenizer cannot be loaded"):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)


@contextmanager
def translated(what: str, advice: str = "") -> Iterator[None]:
    """Turn whatever a library raises for what it cannot read into one of this package's errors.

    Raises:
        ResourceError: memory ran out.
        ModelError: anything else; the message is `what`, the first line of the library's own, and `advice`.
    """
    try:
        yield
    except WordbrushError:
        raise
    except Exception as error:  # the libraries promise no types
        if is_out_of_memory(error):
            raise ResourceError(f"{what}: out of memory; load with dtype='float16', or on another device") from error
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "meta tensor" in first:  # what torch says of a weight that nothing was loaded into
            first = "weights are missing"
        raise ModelError(f"{what}: {first}{advice}") from error


def _words(folder: Path, card: Mapping[str, Any], names: list[str]) -> tuple[str, ...]:
    """Return the words list: `words` of the card, else words.json (a list, or a table with `words`), else words.txt."""
    listed: Any = card.get("words")
    try:
        if listed is None and "words.json" in names:
            listed = json.loads((folder / "words.json").read_text(encoding="utf-8"))
            listed = listed.get("words") if isinstance(listed, dict) else listed
        if listed is None and "words.txt" in names:
            listed = (folder / "words.txt").read_text(encoding="utf-8").split()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder.name}: the words list is not readable: {error}") from error
    return tuple(sorted({str(word).lower() for word in listed})) if isinstance(listed, list) else ()
