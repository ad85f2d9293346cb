"""Files: read no further than a bound, written so that a name never shows half a file.

Written bytes go to a temporary name in the same folder, are flushed and synced, and take the real name in one step of
the file system. Whoever is killed half way leaves at most a hidden file whose name starts with `TEMPORARY_PREFIX`;
nothing ever reads such a file, and it may be deleted whenever no wordbrush is running.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wordbrush.errors import InputError, OutputError

__all__ = ["TEMPORARY_PREFIX", "bounded_open", "bounded_read", "make_folder", "stream_number", "write_atomic"]

TEMPORARY_PREFIX = ".wordbrush-"
_STREAM = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,4})")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}


def bounded_read(
    source: str | Path | bytes | BinaryIO,
    max_bytes: int,
    *,
    error: type[InputError],
    kind: str,
    advice: str,
    name: str | None = None,
) -> bytes:
    """Return the whole content of a file, or refuse it: never more than `max_bytes` + 1 bytes are read.

    A file whose size is above the bound is refused unread; one that grows while it is read, or a stream that does not
    end, as soon as the bound is passed. A pipe that the process has open already is read (`/dev/stdin`, a shell's
    process substitution); other pipes and devices are not opened by name, as they could block or never end.

    Args:
        source: a file's name, its bytes, or a binary stream such as standard input.
        max_bytes: most bytes.
        error: what is raised.
        kind: what the file should hold, for the message: "picture", "mask".
        advice: what to do with a file that is too large, for the message.
        name: what messages call a file, where its whole path is nobody's business; by default its path.

    Raises:
        InputError: of the class `error`: no such file, not a file, not readable, or too large.
    """
    if isinstance(source, bytes):
        data = source
    else:
        with bounded_open(source, max_bytes, error=error, kind=kind, advice=advice, name=name) as file:
            data = _read_up_to(file, max_bytes + 1)
    if len(data) > max_bytes:
        raise error(_too_large(_called(source, name), len(data), max_bytes, advice))
    return data


@contextlib.contextmanager
def bounded_open(
    source: str | Path | BinaryIO,
    max_bytes: int,
    *,
    error: type[InputError],
    kind: str,
    advice: str,
    name: str | None = None,
) -> Iterator[BinaryIO]:
    """Open a file for reading, or refuse it, as `bounded_read` does; how much is read is up to the caller.

    Args:
        source: a file's name, or a binary stream, which is passed on.
        max_bytes: most bytes of a file that is named.
        error: what is raised, also for what the system refuses while the file is read.
        kind: what the file should hold, for the message.
        advice: what to do with a file that is too large, for the message.
        name: what messages call the file.

    Raises:
        InputError: as for `bounded_read`.
    """
    called = _called(source, name)
    try:
        if isinstance(source, str | Path):
            with _opened(source, called, max_bytes, error, kind, advice) as file:
                yield file
        else:
            yield source
    except FileNotFoundError as problem:
        raise error(f"there is no file {called}; {kind}s are read from local files only") from problem
    except (OSError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"cannot read {(called or kind)[:200]!r} ({reason})") from problem


def _opened(
    source: str | Path, called: str, max_bytes: int, error: type[InputError], kind: str, advice: str
) -> BinaryIO:
    status, number = Path(source).stat(), stream_number(source)
    if number is not None and (stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)):
        return os.fdopen(os.dup(number), "rb")
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{called} is a folder, not a {kind} file")
    if not stat.S_ISREG(status.st_mode):
        way = "; pipe it into standard input and name that: - for a picture, else /dev/stdin"
        raise error(f"{called} is a special file, not a {kind} file{way if stat.S_ISFIFO(status.st_mode) else ''}")
    if status.st_size > max_bytes:
        raise error(_too_large(called, status.st_size, max_bytes, advice))
    return Path(source).open("rb")


def _called(source: object, name: str | None) -> str:
    return name or (str(source) if isinstance(source, str | Path) else "")


def _too_large(called: str, count: int, max_bytes: int, advice: str) -> str:
    size = f"the file has {count / 1e6:.1f} MB; the limit is {max_bytes / 1e6:.1f} MB: {advice}"
    return f"{called}: {size}" if called else size


def stream_number(source: str | Path) -> int | None:
    """Return the number of the open stream that a name such as `/dev/fd/63` or `/dev/stdin` stands for, or None."""
    name = str(source)
    if name == "/dev/stdin":
        return 0
    match = _STREAM.fullmatch(name)
    return int(match[1]) if match else None


def _read_up_to(file: BinaryIO, count: int) -> bytes:
    """Read to the end, or `count` bytes: a file in one piece, a stream a megabyte at a time."""
    step = 1 << 20
    with contextlib.suppress(OSError, AttributeError):  # what is no file has no number
        step = max(step, os.fstat(file.fileno()).st_size + 1)
    pieces, left = [], count
    while left > 0 and (piece := file.read(min(step, left))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def write_atomic(path: str | Path, data: bytes, *, force: bool = False) -> None:
    """Write `data` at `path`: afterwards the name holds all of it, or what it held before.

    Without `force` an existing name is never touched, also when it appears while the data is being written. With
    `force` a regular file is replaced and its permission bits are kept; a symbolic link is replaced itself, the file
    it points to is not written.

    Args:
        path: where the file shall be; its folder must exist.
        data: the whole content.
        force: replace what is there.

    Raises:
        OutputError: the name is taken and `force` is false, the folder is missing or cannot be written, the disk is
            full, or the name is not possible on this system. No temporary file stays behind.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        mode = _check_target(target, force=force)
        temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
        _write_synced(temporary, data, mode)
        if force:
            temporary.replace(target)
        else:
            _claim(temporary, target)
        _sync_folder(target.parent)
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(_sentence(target, error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError, ValueError):
                temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder, and those it lies in, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the folder cannot be made ({getattr(error, 'strerror', None) or error})") from error


def _check_target(target: Path, *, force: bool) -> int | None:
    """Return the permission bits to keep, or None for a new file; raise early on what cannot work."""
    try:
        status = target.lstat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise OutputError(f"{target}: the folder {target.parent} does not exist; make it first") from None
        return None
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{target}: this is a folder; give the name of a file in it")
    if not force:
        raise _taken(target)
    if stat.S_ISLNK(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{target}: this is a device or a pipe, not a file; choose another name")
    return stat.S_IMODE(status.st_mode)


def _write_synced(temporary: Path, data: bytes, mode: int | None) -> None:
    """Create `temporary` (never an existing one), write everything and wait until it is on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _claim(temporary: Path, target: Path) -> None:
    """Give the finished file its name unless that name is taken, with no moment in between.

    A hard link is made or refused in one step. File systems without hard links (FAT, some network shares) get an empty
    placeholder first, which is refused as firmly; only there a kill between the two steps leaves an empty file.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            raise _taken(target) from None
        try:
            temporary.replace(target)
        except OSError:
            target.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; systems that cannot open folders do this on their own."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync a folder; the file is complete all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(target: Path) -> OutputError:
    return OutputError(f"{target}: the file exists already; choose another name or ask for overwriting (--force)")


def _sentence(target: Path, error: OSError | ValueError) -> str:
    """Say in plain words why `target` could not be written, and what to do."""
    if not isinstance(error, OSError):
        return f"{str(target)!r}: this is not a possible file name ({error}); choose another name"
    folder = target.parent
    known = {
        errno.EACCES: f"no permission to write in {folder}; choose another folder",
        errno.EPERM: f"no permission to write in {folder}; choose another folder",
        errno.EROFS: f"{folder} is read-only; choose another folder",
        errno.ENOSPC: f"the disk that holds {folder} is full; free some space or choose another folder",
        getattr(errno, "EDQUOT", -1): f"your quota for {folder} is used up; free some space or choose another folder",
        errno.EFBIG: "the file would be larger than this system allows; choose another folder or a smaller picture",
        errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
        errno.ENOTDIR: f"{folder} is not a folder; choose another one",
        errno.ENOENT: f"no file can be made in {folder}; choose another folder",
    }
    return f"{target}: {known.get(error.errno or 0, f'the file cannot be written ({error.strerror or error})')}"
