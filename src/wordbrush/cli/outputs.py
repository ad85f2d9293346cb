"""Where results go: numbered names, a check before any work that nothing is overwritten, and writing."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "CONTRAST_SUFFIXES",
    "PICTURE_SUFFIXES",
    "STDIO",
    "Job",
    "check_free",
    "check_suffix",
    "numbered",
    "plan_jobs",
    "save_contrast",
    "save_plain",
]

STDIO = "-"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif")
CONTRAST_SUFFIXES = (".png", ".npy")


@dataclass(frozen=True)
class Job:
    """One result of a call: which query and seed it belongs to, and the mark in its file names ("" for a lone one)."""

    query: str
    query_index: int
    seed: int
    mark: str


def plan_jobs(queries: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """List the results of a call, all seeds of the first query first.

    File names are marked only by what there are several of: `-q1-s5`, `-q1` or `-s5`; queries count from 1.
    """
    return [
        Job(
            query, index, seed, (f"-q{index + 1}" if len(queries) > 1 else "") + (f"-s{seed}" if len(seeds) > 1 else "")
        )
        for index, query in enumerate(queries)
        for seed in seeds
    ]


def numbered(path: str, mark: str) -> str:
    """Put a mark between stem and suffix: `out.png` and `-s5` give `out-s5.png`."""
    if path == STDIO:
        return path
    plain = Path(path)
    return str(plain.with_name(f"{plain.stem}{mark}{plain.suffix}"))


def check_suffix(path: str | None, allowed: Sequence[str], flag: str) -> None:
    """Refuse a file name whose ending names no format that can be written.

    Raises:
        SettingsError: the ending is unknown; the message lists the known ones.
    """
    if path is not None and path != STDIO and Path(path).suffix.lower() not in allowed:
        raise SettingsError(f"{flag} {path}: the name must end in one of {', '.join(allowed)}")


def check_free(paths: Iterable[str], *, force: bool) -> None:
    """Refuse to start work whose results could not be written.

    Raises:
        SettingsError: two results would go to the same file, or several to standard output.
        OutputError: a file exists and `force` is off, or its folder does not exist.
    """
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            what = "standard output takes one picture" if path == STDIO else f"{path} would be written twice"
            raise SettingsError(f"{what}; give each result its own file name")
        seen.add(path)
        if path == STDIO:
            continue
        target = Path(path)
        if target.is_dir():
            raise OutputError(f"{path} is a folder; give a file name")
        if (target.exists() or target.is_symlink()) and not force:
            raise OutputError(f"{path} exists; choose another name or allow overwriting with --force")
        if not target.parent.is_dir():
            raise OutputError(f"{path}: the folder {target.parent} does not exist; create it first")


def save_plain(image: Image.Image, path: str, *, force: bool) -> None:
    """Write a picture that carries no record (a panel), whole or not at all.

    Raises:
        OutputError: the file exists and `force` is off, or cannot be written.
    """
    from wordbrush.record.provenance import save_image

    save_image(image, path, None, force=force)


def save_contrast(contrast: NDArray[Any], path: str, *, force: bool) -> None:
    """Write the soft map at the picture's size: `.npy` as float32, a picture as grey, white = 1.

    Args:
        contrast: (height, width) in [0, 1].
        path: where to.
        force: overwrite.

    Raises:
        OutputError: the file exists and `force` is off, or cannot be written.
    """
    import numpy as np
    from PIL import Image

    from wordbrush.files import write_atomic

    if Path(path).suffix.lower() == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(contrast, dtype=np.float32), allow_pickle=False)
        write_atomic(path, buffer.getvalue(), force=force)
        return
    save_plain(Image.fromarray(np.rint(np.clip(contrast, 0, 1) * 255).astype(np.uint8)), path, force=force)
