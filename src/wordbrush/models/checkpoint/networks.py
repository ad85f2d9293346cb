"""Loading one network of a checkpoint, and an account of the weights: none missing, none dropped without a word."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.diffusion.faults import is_out_of_memory
from wordbrush.errors import ModelError, ResourceError, WordbrushError
from wordbrush.models.checkpoint.layout import read_json
from wordbrush.models.checkpoint.values import check_kinds, stripped
from wordbrush.models.checkpoint.weights import check_finite

if TYPE_CHECKING:
    import torch

__all__ = ["check_loaded", "class_of", "empty_network", "load_network", "surplus_note", "translated", "unknown_note"]

_ANOTHERS = "damaged or another model's: fetch them again, or put the right ones there"
_FEW = 3
_KNOWN_LEFTOVERS = re.compile(
    r"position_ids$|num_batches_tracked$|logit_scale$|text_projection|visual_projection|^vision_model\."
)
_INPUTS = re.compile(r"(^|\.)(cond_proj|class_embedding|add_embedding|encoder_hid_proj|label_emb)\.")


def load_network(
    library: str, kind: str, folder: Path, name: str, variant: str | None, dtype: torch.dtype, where: str
) -> tuple[Any, tuple[str, ...]]:
    """Load a network from its folder in diffusers layout.

    Args:
        library: the package that has its class, as the family names it, whatever the checkpoint says.
        kind: the name of the class.
        folder: the checkpoint.
        name: of the network's folder within it.
        variant: of the weight files, as `fp16`, or None.
        dtype: of the network.
        where: what to call the checkpoint in messages.

    Returns:
        The network, ready to run, and what a user should know about it.

    Raises:
        ModelError: it cannot be read, or a weight is missing, of another shape, or not finite.
    """
    of, config = _described(library, kind, folder, name, where)
    # The configuration is handed over, so that no key of the file chooses code.
    options: dict[str, Any] = {"torch_dtype": dtype} if isinstance(config, dict) else {"dtype": dtype, "config": config}
    with translated(f"{where}: {name} cannot be loaded", f"; the files are {_ANOTHERS}"):
        module, report = of.from_pretrained(
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
            what = "missing" if problem == "missing_keys" else "of another shape than its configuration says"
            few = f"a weight is {what}, {keys[0]!r}"
            told = few if len(keys) == 1 else f"{len(keys)} weights are {what}, the first is {keys[0]!r}"
            raise ModelError(f"{where}: {name}: {told}; the files are {_ANOTHERS}")
    place = f"{where}: {name}"
    return check_loaded(module, place), unknown_note(map(str, report.get("unexpected_keys", ())), place)


def empty_network(library: str, kind: str, folder: Path, name: str, where: str) -> Any:
    """Return a network of its configuration alone, on torch's device `meta`; no weight is read or made.

    Args:
        library: the package that has its class, as the family names it.
        kind: the name of the class.
        folder: the checkpoint.
        name: of the network's folder within it.
        where: what to call the checkpoint in messages.

    Raises:
        ModelError: the class does not take the configuration.
    """
    import torch

    of, config = _described(library, kind, folder, name, where)
    with translated(f"{where}: {name}/config.json cannot be used"), torch.device("meta"):
        return of.from_config(config) if isinstance(config, dict) else of(config)


def class_of(library: str, kind: str) -> Any:
    """Return a class of a library, both as a family names them, whatever a checkpoint says."""
    return getattr(import_module(library), kind)


def _described(library: str, kind: str, folder: Path, name: str, where: str) -> tuple[Any, Any]:
    """Return the class of a network and its configuration: a table, or an object of transformers."""
    of = class_of(library, kind)
    table = stripped(read_json(folder / name / "config.json", where))
    check_kinds(table, getattr(of, "config_class", None) or of, f"{where}: {name}/config.json")
    transformers = sys.modules.get("transformers")  # it is there where the class is one of its kind
    if transformers is None or not issubclass(of, transformers.PreTrainedModel):
        return of, table
    with translated(f"{where}: {name}/config.json cannot be used"):
        return of, of.config_class.from_dict(table)


def check_loaded(module: Any, where: str) -> Any:
    """Return the module, ready to run, after a check that every weight arrived and is finite.

    Raises:
        ModelError: one did not, or is not; the message names it.
    """
    absent = [name for name, value in module.state_dict().items() if value.is_meta]
    if absent:
        raise ModelError(f"{where}: weights are missing ({len(absent)}, the first is {absent[0]!r})")
    check_finite(module, where)
    return module.eval().requires_grad_(False)


def unknown_note(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return a note on weights that the network has no place for, if they are more than leftovers.

    A few names are leftovers of other versions and change nothing; many say that the file is of another kind, and a
    single one that reads a further input says that the network wants it.
    """
    unknown = sorted(name for name in names if not _KNOWN_LEFTOVERS.search(name))
    inputs = [name for name in unknown if _INPUTS.search(name)]
    if len(unknown) <= _FEW and not inputs:
        return ()
    first = (inputs or unknown)[0]
    return (f"{where}: {len(unknown)} weights have no place in this network and are left out, as {first[:200]!r}",)


def surplus_note(surplus: int, where: str) -> tuple[str, ...]:
    """Return the same note where only the number of weights is known that the network has no place for."""
    return (f"{where}: {surplus} weights have no place in this network and are left out",) if surplus > _FEW else ()


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
        first = first.split(". If you want to", 1)[0]  # advice of diffusers on arguments that nobody has here
        if isinstance(error, KeyError):
            first = f"it has no {first}"
        if "meta tensor" in first:  # what torch says of a weight that nothing was loaded into
            first = "weights are missing"
        raise ModelError(f"{what}: {first}{advice}") from error
