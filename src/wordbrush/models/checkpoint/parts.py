"""Reading the parts of a checkpoint, from a folder in diffusers layout or from a loaded pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.diffusion.faults import is_out_of_memory
from wordbrush.errors import ModelError, ResourceError, WordbrushError
from wordbrush.models.checkpoint.digests import digest_files, digest_modules
from wordbrush.models.checkpoint.layout import INDEX, choose_weights, list_files, needed_files, parts_of, read_json
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.weights import check_finite, read_header
from wordbrush.models.family import Family, Parts, PartSpec, classes_of

if TYPE_CHECKING:
    import torch

__all__ = ["check_loaded", "from_pipeline", "load_folder", "load_tokenizer", "move", "translated"]

_SCHEDULER = "scheduler"


def move(parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
    """Bring the networks to a device, and the LoRAs attached to them to a dtype.

    The rest has its dtype from loading. That may be a wider one: norms, projections and tables of rotary angles that
    a library keeps in float32 must stay so.
    """
    with translated(f"the model cannot be brought to {device}"):
        for module in parts.networks.values():
            module.to(device)
            for name, weight in module.named_parameters():
                if ".lora_" in name:
                    weight.data = weight.data.to(dtype)


def load_folder(folder: Path, family: Family, where: str, dtype: torch.dtype) -> Parts:
    """Load a checkpoint in diffusers layout; everything is checked before a weight is read.

    Args:
        folder: with model_index.json.
        family: whose checkpoint it is.
        where: what to call it in messages.
        dtype: of the networks.

    Raises:
        UnsafeWeightsError: a component is only there as a pickle, or is one under another name.
        ModelError: a file is missing or damaged, or the checkpoint is of another kind.
    """
    names = list_files(folder)
    half = str(dtype) == "torch.float16"
    own = parts_of(folder, family, where)
    needed_files(names, own, where, prefer_half=half)
    networks = {name: spec for name, spec in own.items() if spec.weights}
    family.check({name: read_json(folder / name / "config.json", where) for name in networks}, where)
    weights = {
        name: choose_weights(names, name, spec.weights, where, prefer_half=half) for name, spec in networks.items()
    }
    files = {name: folder / name for chosen in weights.values() for name in _whole(folder, chosen.files, where)}
    for path in files.values():
        read_header(path)
    card = read_json(folder / "wordbrush.json", where) if "wordbrush.json" in names else {}
    for name in ("guidance", "usual_noise"):
        if not isinstance(card.get(name, 1.0), int | float):
            raise ModelError(f"{where}: wordbrush.json: {name} is {card[name]!r}, not a number")
    words = _words(folder, card, names)
    with quiet():
        modules = {
            name: _load(folder, name, spec, weights[name].variant, dtype, where) for name, spec in networks.items()
        }
        others = {
            name: load_tokenizer(folder / name, spec, where)
            for name, spec in own.items()
            if spec.classes and not spec.weights
        }
    scheduler: Mapping[str, Any] = {}
    if _SCHEDULER in family.parts:
        scheduler = read_json(folder / _SCHEDULER / "scheduler_config.json", where)
    return Parts(modules, others, scheduler, digest_files(files), card, words, read_json(folder / INDEX, where))


def from_pipeline(pipeline: Any, family: Family, where: str) -> tuple[Parts, torch.device]:
    """Take the parts of a loaded pipeline, in place: nothing is copied, moved or changed, nor is its scheduler.

    Raises:
        ModelError: a part is absent, a weight is not finite, or the pipeline is of another kind.
    """
    import torch

    for name, spec in family.parts.items():
        if getattr(pipeline, name, None) is None and not spec.optional:
            raise ModelError(f"{where} has no {name}: load the pipeline with all its parts")
    found = {name: getattr(pipeline, name, None) for name in family.parts if name != _SCHEDULER}
    loaded = {name: part for name, part in found.items() if part is not None}
    networks = {name: module for name, module in loaded.items() if family.parts[name].weights}
    family.check({name: _config(module) for name, module in networks.items()}, where)
    for name, module in networks.items():
        check_finite(module, f"{where}: {name}")
    parts = Parts(
        networks,
        {name: part for name, part in loaded.items() if name not in networks},
        dict(pipeline.scheduler.config) if _SCHEDULER in family.parts else {},
        digest_modules(networks),
        index=dict(pipeline.config),
        pipeline=pipeline,
    )
    return parts, torch.device(pipeline._execution_device)


def _config(module: Any) -> dict[str, Any]:
    config = module.config
    return dict(config.to_dict() if hasattr(config, "to_dict") else config)


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


def _load(folder: Path, name: str, spec: PartSpec, variant: str | None, dtype: torch.dtype, where: str) -> Any:
    import transformers

    # The class is looked up in the library that the family names, whatever library the index names.
    kind = getattr(import_module(spec.library), classes_of(read_json(folder / INDEX, where))[name])
    options = {"dtype" if issubclass(kind, transformers.PreTrainedModel) else "torch_dtype": dtype}
    with translated(f"{where}: {name} cannot be loaded"):
        module, report = kind.from_pretrained(
            folder,
            subfolder=name,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    for problem in ("missing_keys", "mismatched_keys"):
        if keys := sorted(map(str, report.get(problem, ()))):
            kind_of = problem.removesuffix("_keys")
            raise ModelError(f"{where}: {name} has {len(keys)} {kind_of} weights, the first is {keys[0]!r}")
    return check_loaded(module, f"{where}: {name}")


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


def load_tokenizer(folder: Path, spec: PartSpec, where: str, **changes: Any) -> Any:
    """Load a tokenizer from its folder; `changes` replace settings, as `pad_token`.

    Raises:
        ModelError: a file is missing or cannot be read.
    """
    if lost := spec.lacks(frozenset(path.name for path in folder.glob("*"))):
        raise ModelError(f"{where}: {folder.name}/{lost} is missing")
    kind = getattr(import_module(spec.library), spec.classes[0])
    with translated(f"{where}: the {folder.name} cannot be loaded"):
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)


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
