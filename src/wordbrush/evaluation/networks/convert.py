"""Convert published weights that exist only as pickles to safetensors, from files that the user has.

```
python -m wordbrush.evaluation.networks.convert lpips --net alex --backbone alexnet-owt-7be5be79.pth --lin alex.pth -o W
python -m wordbrush.evaluation.networks.convert inception pt_inception-2015-12-05-6726825d.pth -o W
python -m wordbrush.evaluation.networks.convert folder dino-vitb8 -o dino-vitb8-safe
python -m wordbrush.evaluation.networks.convert classes inception_stats_256.pt -o W
```

This is the one place in the package where a pickle is opened: only by this command, and only with torch's
`weights_only=True`, which builds tensors and plain containers and refuses everything else. Convert files you trust.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wordbrush.errors import InputError, ModelError, UnsafeWeightsError, WordbrushError
from wordbrush.evaluation.networks.backbones import BACKBONES, BackboneName
from wordbrush.evaluation.networks.inception import FILE
from wordbrush.evaluation.networks.lpips import LpipsModule
from wordbrush.evaluation.sets import ClassMeans
from wordbrush.files import write_atomic
from wordbrush.models.checkpoint.weights import is_pickle_name

__all__ = ["convert_classes", "convert_folder", "convert_inception", "convert_lpips", "main"]


def convert_lpips(net: BackboneName, backbone: Path, lin: Path, folder: Path, *, force: bool = False) -> Path:
    """Join torchvision's backbone and lpips' learned weights in `lpips_{net}.safetensors`.

    Args:
        net: alex, vgg or squeeze.
        backbone: torchvision's .pth; its classifier is left out.
        lin: .pth of the lpips package, version 0.1, with `lin0.model.1.weight` and so on.
        folder: where the file is written.
        force: replace a file that is there.

    Returns:
        The file.

    Raises:
        ModelError: the files are not these weights.
        OutputError: the file exists or cannot be written.
    """
    both = _tensors(backbone) | _tensors(lin)
    expected = LpipsModule(net).state_dict()
    chosen = {}
    for name, value in expected.items():
        weight = both.get(name)
        if weight is None or weight.shape != value.shape:
            shape = "missing" if weight is None else f"of shape {tuple(weight.shape)}"
            raise ModelError(
                f"{backbone.name} and {lin.name} are not LPIPS with {BACKBONES[net].name}: {name} is {shape}, "
                f"not {tuple(value.shape)}"
            )
        chosen[name] = weight
    return _save(chosen, folder / f"lpips_{net}.safetensors", force=force)


def convert_inception(weights: Path, folder: Path, *, force: bool = False) -> Path:
    """Write FID's InceptionV3 weights as `inception_fid.safetensors`; returns the file.

    Raises:
        ModelError: the file does not hold an InceptionV3.
        OutputError: the file exists or cannot be written.
    """
    tensors = _tensors(weights)
    if "Conv2d_1a_3x3.conv.weight" not in tensors or "Mixed_7c.branch_pool.conv.weight" not in tensors:
        raise ModelError(f"{weights.name} holds no InceptionV3: Conv2d_1a_3x3 or Mixed_7c is missing")
    return _save(tensors, folder / FILE, force=force)


def convert_folder(source: Path, folder: Path, *, force: bool = False) -> Path:
    """Copy a transformers folder with `pytorch_model.bin` rewritten as `model.safetensors`; returns the new folder.

    Raises:
        InputError: there is no `pytorch_model.bin`.
        OutputError: a file exists or cannot be written.
    """
    pickle = source / "pytorch_model.bin"
    if not pickle.is_file():
        raise InputError(f"{source}: there is no pytorch_model.bin to convert")
    tensors = _tensors(pickle)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and not is_pickle_name(path.name) and path.suffix != ".safetensors":
            write_atomic(folder / path.name, path.read_bytes(), force=force)
    _save(tensors, folder / "model.safetensors", force=force)
    return folder


def convert_classes(statistics: Path, folder: Path, *, force: bool = False) -> Path:
    """Write FlexIT's class statistics (`mean`, `classwise: {class: {mean}}`) as `class_means.safetensors`.

    Returns:
        The file; `ClassMeans.load` reads it. Labels are the class numbers as texts.

    Raises:
        ModelError: the file has another layout.
        OutputError: the file exists or cannot be written.
    """
    table = _load(statistics)
    try:
        means = {str(label): np.asarray(entry["mean"], np.float64) for label, entry in table["classwise"].items()}
        overall = np.asarray(table["mean"], np.float64)
        class_means = ClassMeans(tuple(means), np.stack(list(means.values())), overall)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{statistics.name}: no table of `mean` and `classwise` means ({error})") from error
    path = folder / "class_means.safetensors"
    class_means.save(path, force=force)
    return path


def _load(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what it likes
        reason = " ".join(str(error).split())[:200]
        raise UnsafeWeightsError(
            f"{path.name} holds more than tensors, or is damaged, and is refused: {reason}"
        ) from error


def _tensors(path: Path) -> dict[str, Tensor]:
    table = _load(path)
    if isinstance(table, Mapping) and isinstance(table.get("state_dict"), Mapping):
        table = table["state_dict"]
    if not isinstance(table, Mapping) or not table or not all(isinstance(value, Tensor) for value in table.values()):
        raise ModelError(f"{path.name} is not a table of tensors by name")
    return {re.sub(r"^module\.", "", str(name)): value for name, value in table.items()}


def _save(tensors: Mapping[str, Tensor], path: Path, *, force: bool) -> Path:
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    whole = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save(whole), force=force)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wordbrush.evaluation.networks.convert", description=_ABOUT)
    kinds = parser.add_subparsers(dest="kind", required=True)
    lpips = kinds.add_parser("lpips", help="LPIPS from torchvision's and lpips' .pth files")
    lpips.add_argument("--net", choices=list(BACKBONES), required=True)
    lpips.add_argument("--backbone", type=Path, required=True, help="torchvision's .pth")
    lpips.add_argument("--lin", type=Path, required=True, help="lpips' .pth (version 0.1)")
    for name, text in (
        ("inception", "FID's InceptionV3 .pth"),
        ("folder", "a transformers folder with pytorch_model.bin"),
        ("classes", "FlexIT's inception_stats_256.pt"),
    ):
        kinds.add_parser(name, help=text).add_argument("source", type=Path, help=text)
    for kind in kinds.choices.values():
        kind.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
        kind.add_argument("--force", action="store_true", help="replace files that are there")
    return parser


_ABOUT = (
    "Turn weights that exist only as pickles into safetensors. Only tensors are read from them; convert what you trust."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code, 0 or that of the error."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.kind == "lpips":
            written = convert_lpips(chosen.net, chosen.backbone, chosen.lin, chosen.out, force=chosen.force)
        else:
            convert = {"inception": convert_inception, "folder": convert_folder, "classes": convert_classes}[
                chosen.kind
            ]
            written = convert(chosen.source, chosen.out, force=chosen.force)
    except WordbrushError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{written}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
