"""A folder as numbered files of bounded size and back, for machines that return small files only."""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

LIMIT = 15 * 2**20
"""Bytes of a shard."""


def split(folder: Path, out: Path, limit: int = LIMIT) -> list[Path]:
    """Pack `folder` and write it to `out` as ``NAME.000``, ``NAME.001`` and so on, `limit` bytes each; return them."""
    out.mkdir(parents=True, exist_ok=True)
    packed = out / f"{folder.name}.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, arcname=folder.name)
    made: list[Path] = []
    with packed.open("rb") as file:
        while piece := file.read(limit):
            made.append(out / f"{folder.name}.{len(made):03d}")
            made[-1].write_bytes(piece)
    packed.unlink()
    return made


def join(first: Path, out: Path) -> Path:
    """Unpack the shards that begin with `first`, ``NAME.000``, into `out`; return the folder."""
    out.mkdir(parents=True, exist_ok=True)
    packed = out / f"{first.stem}.tar"
    with packed.open("wb") as file:
        number = 0
        while (piece := first.with_suffix(f".{number:03d}")).is_file():
            file.write(piece.read_bytes())
            number += 1
    with tarfile.open(packed) as tar:
        tar.extractall(out, filter="data")
    packed.unlink()
    return out / first.stem


def main() -> None:
    """Split or join a folder."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.shards", description=__doc__)
    line.add_argument("action", choices=["split", "join"])
    line.add_argument("source", type=Path, help="the folder to split, or the shard that ends in .000")
    line.add_argument("out", type=Path)
    line.add_argument("--first", type=int, default=0, help="keep the shards from this one on")
    line.add_argument("--count", type=int, default=1000, help="keep no more than these")
    args = line.parse_args()
    if args.action == "join":
        join(args.source, args.out)
        return
    for number, shard in enumerate(split(args.source, args.out)):
        if not args.first <= number < args.first + args.count:
            shard.unlink()


if __name__ == "__main__":
    main()
