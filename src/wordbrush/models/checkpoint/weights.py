"""The weights policy: safetensors, checked before use; a pickle is refused before a byte of it is opened.

A pickle runs the code it contains when it is read, and every way of reading one "safely" has been bypassed before. So
there is no switch for it. A safetensors file is a JSON header and raw numbers; its header is still checked here,
because parsers differ in what they do with a malformed one.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from wordbrush.errors import ModelError, UnsafeWeightsError
from wordbrush.models.header import Header, TensorEntry

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_finite", "is_pickle_name", "plain_tensors", "read_header", "read_state", "refuse_pickle_name"]

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 20_000

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz", ".npy", ".joblib", ".t7"})

_BITS_BY_SIZE = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "I16 U16 F16 BF16",
    32: "I32 U32 F32",
    64: "I64 U64 F64 C64",
}
_BITS = {name: bits for bits, names in _BITS_BY_SIZE.items() for name in names.split()}
_SAVE_AS = "ask its author for a .safetensors file, or convert it where you trust it"


class _DuplicateKeyError(ValueError):
    """A JSON object has a key twice; what it means then differs between parsers."""


def is_pickle_name(name: str) -> bool:
    """Say whether a file name is one that pickles carry."""
    return Path(name).suffix.lower() in PICKLE_SUFFIXES


def refuse_pickle_name(name: str) -> None:
    """Raise for a file name that pickles carry; the file itself is not touched.

    Raises:
        UnsafeWeightsError: always, for such a name.
    """
    if is_pickle_name(name):
        raise UnsafeWeightsError(
            f"{Path(name).name} is stored as a pickle ({Path(name).suffix}), which can run code when opened; "
            f"only safetensors are read: {_SAVE_AS}"
        )


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; no tensor is read.

    Args:
        path: any file; what it is called does not make it safe.

    Raises:
        UnsafeWeightsError: it is a pickle or a zip archive, under any name.
        ModelError: it is missing, not safetensors, or malformed; the message names file and tensor.
    """
    refuse_pickle_name(path.name)
    try:
        with path.open("rb") as file:
            raw = _header_bytes(file, path)
            size = path.stat().st_size - 8 - len(raw)
    except OSError as error:
        raise ModelError(f"weights file {path.name} cannot be read: {error.strerror or error}") from error
    # Counted before it is parsed, which takes seconds for a header made to be slow.
    if (count := raw.count(b'"data_offsets"')) > MAX_TENSORS:
        raise ModelError(f"{path.name}: {count} tensors, more than the {MAX_TENSORS} that are accepted")
    table = _parse(raw, path)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelError(f"{path.name}: the header's __metadata__ is not a table of texts: the file is damaged")
    if len(table) > MAX_TENSORS:
        raise ModelError(f"{path.name}: {len(table)} tensors, more than the {MAX_TENSORS} that are accepted")
    tensors = {name: _entry(name, value, path) for name, value in table.items()}
    _check_ranges(tensors, size, path)
    return Header(tensors, metadata)


def _header_bytes(file: BinaryIO, path: Path) -> bytes:
    start = file.read(9)
    length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
    if start[8:] == b"{" and length <= MAX_HEADER_BYTES:
        raw = b"{" + file.read(length - 1)
        if len(raw) < length:
            raise ModelError(f"{path.name} is cut short, inside its header: download it again")
        return raw
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x01\x02\x03\x04\x05"):
        kind = "a zip archive, as torch.save writes them" if start[:2] == b"PK" else "a pickle"
        raise UnsafeWeightsError(
            f"{path.name} is {kind}, whatever its name says; that can run code when opened, and only safetensors "
            f"are read: {_SAVE_AS}"
        )
    if start[:4] == b"GGUF":
        raise ModelError(
            f"{path.name} is a GGUF file, which holds one quantised network and not the rest of a model: load it into "
            "a pipeline of diffusers (from_single_file) and give the pipeline to Editor.from_pretrained"
        )
    if start[8:] == b"{":
        raise ModelError(f"{path.name}: a header of {length} bytes, more than the {MAX_HEADER_BYTES} accepted")
    raise ModelError(f"{path.name} is not a safetensors file: its first bytes are not those of a header")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _DuplicateKeyError(twice)
    return table


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        table = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        raise ModelError(f"{path.name}: the header has {str(error)!r} twice: the file is damaged or forged") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name}: the header is not valid JSON: the file is damaged") from error
    if not isinstance(table, dict):
        raise ModelError(f"{path.name}: the header is not a table: the file is damaged")
    return table


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)


def _entry(name: str, value: Any, path: Path) -> TensorEntry:
    place = f"{path.name}: tensor {name[:200]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelError(f"{place} is not described by dtype, shape and data_offsets: the file is damaged")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ModelError(f"{place} has the unknown dtype {dtype!r}")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise ModelError(f"{place} has a shape or offsets that are not whole numbers from 0: the file is damaged")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise ModelError(f"{place}: {end - begin} bytes do not hold a {dtype} of shape {shape}: the file is damaged")
    return TensorEntry(dtype, tuple(shape), begin, end)


def _check_ranges(tensors: dict[str, TensorEntry], size: int, path: Path) -> None:
    place, last = 0, ""
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.end > size:
            raise ModelError(
                f"{path.name}: tensor {name[:200]!r} ends at byte {entry.end} of {size}: the file is cut short or "
                "damaged, download it again"
            )
        if entry.begin < place:
            raise ModelError(f"{path.name}: tensors {last[:200]!r} and {name[:200]!r} overlap: the file is forged")
        place, last = max(place, entry.end), name


def read_state(path: Path, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return tensors of a safetensors file whose header has been checked, as new name -> tensor.

    Args:
        path: the file.
        names: new name -> name in the file; no other tensor is read.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(there) for name, there in names.items()}


def check_finite(module: nn.Module, component: str) -> None:
    """Check that no weight is NaN or infinite; of quantised ones the numbers are looked at that they are made of.

    Raises:
        ModelError: one is; the message names the component and the tensor, and says so where it is a LoRA's.
    """
    for name, value in module.state_dict().items():
        if not all(map(_is_finite, plain_tensors(value))):
            damaged = "a LoRA that was loaded into it" if ".lora_" in name else "the checkpoint"
            raise ModelError(f"{component}: weight {name!r} holds NaN or infinity: {damaged} is damaged")


def plain_tensors(value: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that a weight is made of: itself, or those that a quantised one wraps, by name."""
    if not hasattr(value, "__tensor_flatten__"):
        yield value.detach()
        return
    for name in sorted(value.__tensor_flatten__()[0]):
        yield from plain_tensors(getattr(value, name))


def _is_finite(value: Tensor) -> bool:
    if value.is_meta or not value.is_floating_point():
        return True
    wide = value.float() if value.element_size() == 1 else value  # torch has no such test of eight bits
    return bool(wide.isfinite().all())
