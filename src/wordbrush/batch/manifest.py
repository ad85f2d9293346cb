"""Manifests: the rows of a batch, from a folder, a pattern, a table, or a list in Python; streamed, never held whole.

A row that cannot be read is yielded with its error and its line; only what concerns all rows is raised.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from wordbrush.batch.sources import fixed_folder, is_folder, is_glob, is_url, listed, opened, suffix_of
from wordbrush.errors import InputError

__all__ = ["PICTURES", "Manifest", "ManifestRow"]

PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif")
"""Endings of the files of a folder that are taken for pictures."""

_TABLES: Final = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_LONGEST: Final = 1 << 22
"""Most bytes of a line."""

_PAGE: Final = 1000


@dataclass(frozen=True)
class ManifestRow:
    """A row as it stands in the manifest.

    Attributes:
        number: of its line, from 1; in Parquet and in Python of the row.
        values: by column; empty cells and nulls are left out.
        error: why it cannot be read, or None.
        where: how messages call it.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    where: str = "line"

    @property
    def place(self) -> str:
        """How messages call it: `line 7`."""
        return f"{self.where} {self.number}"


class Manifest:
    """The rows of a batch; `rows` may be called again and again.

    Args:
        source: a folder of pictures; a pattern such as `pictures/*.png`; a `.jsonl`, `.csv`, `.tsv` or `.parquet` file;
            one picture; a URL of any of these; or rows in Python, a sequence of mappings.
        out: folder of the results, which are no pictures to be edited.

    Attributes:
        name: of the source, for people.
        folder: what relative paths in rows are relative to; "" is the current one.
    """

    def __init__(self, source: Any, out: str | Path | None = None) -> None:
        self.source: Any = str(source) if isinstance(source, str | Path) else source
        if isinstance(source, bytes | Mapping | Iterator) or not isinstance(self.source, Iterable):
            kind = type(source).__name__
            raise InputError(f"a batch takes a folder, a pattern, a table or a list of rows, not {kind}")
        self.name = self.source if isinstance(self.source, str) else "rows"
        self.folder, self._out = "", None if out is None or is_url(str(out)) else Path(out).absolute()
        self._read = self._reader()

    def rows(self) -> Iterator[ManifestRow]:
        """Yield the rows in their order.

        Raises:
            InputError: the source cannot be read at all.
        """
        return self._read()

    def _reader(self) -> Callable[[], Iterator[ManifestRow]]:
        source = self.source
        if not isinstance(source, str):
            return self._given
        suffix = suffix_of(source)
        cut = source.rfind("/") if is_url(source) else max(source.rfind("/"), source.rfind(os.sep))
        self.folder = source[: cut + 1]
        if is_glob(source) or (suffix not in (*_TABLES, *PICTURES) and is_folder(source)):
            self.folder = fixed_folder(source)
            return self._pictures
        if suffix in PICTURES:
            return lambda: iter([ManifestRow(1, {"picture": source[cut + 1 :]}, where="picture")])
        if suffix not in _TABLES:
            if not suffix and not is_url(source) and not Path(source).exists():
                raise InputError(f"there is no folder, pattern or table {source}")
            kinds = f"{', '.join(_TABLES[:-1])} or {_TABLES[-1]}"
            raise InputError(f"{source}: a batch takes a folder of pictures, a pattern, or a table ({kinds})")
        return {".parquet": self._parquet, ".csv": self._csv, ".tsv": self._csv}.get(suffix, self._jsonl)

    def _given(self) -> Iterator[ManifestRow]:
        for number, values in enumerate(self.source, start=1):
            if isinstance(values, Mapping):
                yield _row(number, values.items(), "row")
            else:
                yield ManifestRow(number, {}, f"a row is a mapping, not {type(values).__name__}", "row")

    def _pictures(self) -> Iterator[ManifestRow]:
        if self._out is not None and not is_url(self.folder) and Path(self.folder).absolute() == self._out:
            raise InputError(f"{self.folder}: the results need a folder of their own: choose another for -o")
        try:
            places = [one for one in listed(self.source) if suffix_of(one) in PICTURES and not self._is_result(one)]
        except OSError as error:
            raise InputError(f"{self.source}: the folder cannot be read ({error.strerror or error})") from error
        if not places:
            raise InputError(f"{self.source}: there are no pictures here ({', '.join(PICTURES)})")
        for number, place in enumerate(places, start=1):
            yield ManifestRow(number, {"picture": place.removeprefix(self.folder)}, where="picture")

    def _is_result(self, place: str) -> bool:
        return self._out is not None and not is_url(place) and Path(place).absolute().is_relative_to(self._out)

    def _jsonl(self) -> Iterator[ManifestRow]:
        with opened(self.source, "manifest") as file, _decoded(file) as lines:
            for number, line in _numbered(lines):
                if line is None:
                    yield ManifestRow(number, {}, f"the line has more than {_LONGEST >> 20} MiB")
                elif line.strip():
                    yield _parsed(number, line)

    def _csv(self) -> Iterator[ManifestRow]:
        with opened(self.source, "manifest") as file, _decoded(file) as lines:
            first, skipped = lines.readline(_LONGEST), 0
            while first and not first.strip():
                first, skipped = lines.readline(_LONGEST), skipped + 1
            comma = "\t" if suffix_of(self.source) == ".tsv" else max(",;\t", key=first.count)
            header = next(csv.reader([first], delimiter=comma), [])
            names = [name.strip() or f"column {index}" for index, name in enumerate(header, start=1)]
            twice = [name for index, name in enumerate(names) if name in names[:index]]
            if twice or not any(name.strip() for name in header):
                what = f"the column {twice[0]!r} stands twice" if twice else "there is no line with names of columns"
                raise InputError(f"{self.source}: {what} at the top")
            reader = csv.reader(iter(lambda: lines.readline(_LONGEST), ""), delimiter=comma, strict=False)
            while True:
                number = skipped + reader.line_num + 2
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield ManifestRow(number, {}, f"the line is no CSV ({error})")
                    continue
                if len(cells) > len(names):
                    yield ManifestRow(number, {}, f"the line has {len(cells)} cells for {len(names)} columns")
                elif any(cell.strip() for cell in cells):
                    yield _row(number, zip(names, cells, strict=False))

    def _parquet(self) -> Iterator[ManifestRow]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise InputError(f"{self.source}: Parquet needs pyarrow: pip install 'wordbrush[batch]'") from error
        number = 0
        try:
            with opened(self.source, "manifest") as file, ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=_PAGE):
                    for values in batch.to_pylist():
                        number += 1
                        yield _row(number, values.items(), "row")
        except ArrowException as error:
            raise InputError(f"{self.source}: this is no Parquet that can be read ({error})") from error


def _row(number: int, items: Iterable[tuple[Any, Any]], where: str = "line") -> ManifestRow:
    """Make a row of its cells, once they are texts that can be encoded; leave empty ones out."""
    values = {str(name): value for name, value in items if value is not None and value != ""}
    for name, value in values.items():
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return ManifestRow(number, {}, f"the cell {name} is not UTF-8", where)
    return ManifestRow(number, values, where=where)


def _parsed(number: int, line: str) -> ManifestRow:
    try:
        pairs = json.loads(line, object_pairs_hook=_unique)
    except RecursionError:
        return ManifestRow(number, {}, "the line is nested too deeply")
    except ValueError as error:
        return ManifestRow(number, {}, f"the line is not JSON ({error})")
    if not isinstance(pairs, dict):
        return ManifestRow(number, {}, "the line is not a JSON object")
    return _row(number, pairs.items())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands twice")
    return values


def _numbered(lines: io.TextIOWrapper) -> Iterator[tuple[int, str | None]]:
    """Yield lines with their numbers; None for one that is too long, of which the rest is passed over."""
    number = 0
    while line := lines.readline(_LONGEST):
        number += 1
        if len(line) < _LONGEST or line.endswith("\n"):
            yield number, line
            continue
        while rest := lines.readline(_LONGEST):
            if rest.endswith("\n"):
                break
        yield number, None


@contextmanager
def _decoded(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """Read a file as text: UTF-8 with or without a mark, or UTF-16 with one; other bytes become lone surrogates."""
    start = file.read(2)
    file.seek(0)
    wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "replace") if wide else ("utf-8-sig", "surrogateescape")
    lines = io.TextIOWrapper(file, encoding, errors, newline="")
    try:
        yield lines
    finally:
        lines.detach()
