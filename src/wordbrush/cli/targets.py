"""Where results go: numbered names, and a check before any work that nothing is overwritten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wordbrush.errors import OutputError, SettingsError

__all__ = [
    "CONTRAST_SUFFIXES",
    "PICTURE_SUFFIXES",
    "STDIO",
    "check_alpha",
    "check_free",
    "check_suffix",
    "marks",
    "numbered",
]

STDIO = "-"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif")
CONTRAST_SUFFIXES = (".png", ".npy")


def marks(queries: int, seeds: Sequence[int]) -> list[str]:
    """List the marks in the file names of the results, all seeds of the first query first.

    Files are numbered only by what there are several of: `-q1-s5`, `-q1`, `-s5`, or not at all; queries count from 1.
    """
    return [
        (f"-q{index + 1}" if queries > 1 else "") + (f"-s{seed}" if len(seeds) > 1 else "")
        for index in range(queries)
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


def check_alpha(path: str | None, *, alpha: bool) -> None:
    """Refuse before the work, not after it, to put transparency into a format without it.

    Raises:
        OutputError: `alpha`, and the name ends in .jpg or .jpeg.
    """
    if alpha and path is not None and path.lower().endswith((".jpg", ".jpeg")):
        raise OutputError(f"-o {path}: JPEG cannot hold the transparency of this picture; use .png or .webp")


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
