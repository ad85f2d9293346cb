"""Where rows, pictures and masks lie: local files, and URLs through fsspec where its driver for them is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from wordbrush.errors import InputError
from wordbrush.files import bounded_read
from wordbrush.picture.limits import reading_limits

__all__ = [
    "beside",
    "bytes_of",
    "fixed_folder",
    "is_folder",
    "is_glob",
    "is_url",
    "listed",
    "opened",
    "stem_of",
    "suffix_of",
]

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Say whether this is a URL; a drive letter with a colon is none."""
    return _URL.match(text) is not None


def is_glob(text: str) -> bool:
    """Say whether this is a pattern; the name of a file that exists is none, whatever it holds."""
    return re.search(r"[*?\[]", text) is not None and (is_url(text) or not Path(text).exists())


def suffix_of(place: str) -> str:
    """Return the ending of a path or URL in lower case, such as `.csv`."""
    return PurePosixPath(place.partition("?")[0] if is_url(place) else Path(place).name).suffix.lower()


def stem_of(place: str) -> str:
    """Return the file name of a path or URL without its ending."""
    plain = place.partition("?")[0] if is_url(place) else place
    return PurePosixPath(plain.replace("\\", "/")).stem


def beside(folder: str, place: str) -> str:
    """Return a path or URL as seen from a folder, "" for the current one: URLs stay, a local path is absolute."""
    if is_url(place):
        return place
    if is_url(folder):
        return place if place.startswith("/") else f"{folder.rstrip('/')}/{place}"
    return str((Path(folder) / Path(place).expanduser()).absolute())


@contextmanager
def opened(place: str, kind: str) -> Iterator[BinaryIO]:
    """Open a file or URL for reading.

    Args:
        place: path or URL.
        kind: what it should hold, for the message.

    Raises:
        InputError: it is not there, cannot be read, or there is no driver for such URLs.
    """
    try:
        if is_url(place):
            system, path = _system(place)
            with system.open(path, "rb") as file:
                yield file
        else:
            with Path(place).open("rb") as file:
                yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no {kind} {place}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the {kind} {place[:200]!r} ({reason})") from error


def bytes_of(place: str, error: type[InputError], kind: str) -> bytes:
    """Return the bytes of a URL, within the limits of pictures that hold now.

    Raises:
        InputError: of the class `error`: it cannot be read, or is too large.
    """
    limits = reading_limits()
    try:
        with opened(place, kind) as file:
            return bounded_read(file, limits.size, error=error, kind=kind, advice=limits.advice(1), name=place)
    except InputError as problem:
        raise problem if isinstance(problem, error) else error(str(problem)) from problem


def fixed_folder(place: str) -> str:
    """Return the folder that a folder or pattern lists from, with a slash at its end; "" for the current one."""
    if not is_glob(place):
        return place.rstrip("/") + "/"
    fixed = re.split(r"[*?\[]", place, maxsplit=1)[0]
    return fixed[: fixed.rfind("/") + 1]


def listed(place: str) -> list[str]:
    """Return the files of a folder, or those that a pattern names, in order; hidden ones are left out.

    Each begins with `fixed_folder(place)` as it is written there.

    Raises:
        InputError: there is no such folder, or no driver for such URLs.
    """
    if is_url(place):
        (system, path), folder = _system(place), fixed_folder(place)
        found = system.glob(path) if is_glob(place) else _files(system, path)
        root = _system(folder)[1]
        places = [folder + str(one).removeprefix(root).lstrip("/") for one in found]
    elif is_glob(place):
        places = [one for one in glob(place, recursive=True) if Path(one).is_file()]  # noqa: PTH207 - keeps what is typed
    else:
        places = [fixed_folder(place) + one.name for one in Path(place).iterdir() if one.is_file()]
    return sorted(one for one in places if not PurePosixPath(one.replace("\\", "/")).name.startswith("."))


def _files(system: Any, path: str) -> list[str]:
    """Return the files of a folder on a file system of fsspec."""
    return [one["name"] for one in system.ls(path, detail=True) if one["type"] == "file"]


def is_folder(place: str) -> bool:
    """Say whether a path or URL is a folder."""
    if not is_url(place):
        return Path(place).is_dir()
    system, path = _system(place)
    return bool(system.isdir(path))


def _system(place: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path on it."""
    import fsspec

    scheme = place.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise InputError(f"{scheme}:// needs a driver that is not installed ({error})") from error
    except ValueError as error:
        raise InputError(f"{scheme}:// is no place that files can be read from ({error})") from error
    return system, path
