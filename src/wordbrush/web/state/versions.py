"""Versions: what was painted, each with everything needed to show, restore, compare and hand it over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image

from wordbrush.notation import edit_command, shell
from wordbrush.record.provenance import encode_image
from wordbrush.web.state.keys import new_key
from wordbrush.web.state.pictures import Strokes, png

if TYPE_CHECKING:
    from wordbrush.region.mask import Mask
    from wordbrush.report import Report
    from wordbrush.result import EditResult
    from wordbrush.web.state.pictures import Opened
    from wordbrush.web.state.requests import Order

__all__ = ["Version", "zip_of"]

THUMB = 192


@dataclass(frozen=True, eq=False)
class Version:
    """One painted picture.

    Attributes:
        png: the file, with its record; what a download and the command both give.
        thumb: a small PNG.
        name: file name for a download.
        number: counts a visitor's versions from 1.
        seed: its own.
        order: what was asked for, with all its seeds.
        source: the picture's file, and `source_name` its name; shared between versions of one picture.
        picture: id of the opened picture.
        strokes: by hand, and `given` the mask that was used in place of one found.
        mask: PNG of the region, white = edited.
        report: what it cost.
        command: the command that makes the very same bytes.
        id: unguessable.
    """

    png: bytes = field(repr=False)
    thumb: bytes = field(repr=False)
    name: str
    number: int
    seed: int
    order: Order
    source: bytes = field(repr=False)
    source_name: str
    picture: str
    strokes: Strokes
    given: Mask | None
    mask: bytes = field(repr=False)
    report: Report
    command: str
    id: str = field(default_factory=new_key)

    @classmethod
    def of(
        cls,
        result: EditResult,
        opened: Opened,
        order: Order,
        strokes: Strokes,
        number: int,
        seed: int,
        model: Mapping[str, Any],
    ) -> Version:
        """Keep a result; `model` is what its command says of the model, see `Models.flags`."""
        name = f"{PurePosixPath(opened.name).stem}-{number}.png"
        given = opened.given_for(order.settings)
        small = result.image.convert("RGB")
        small.thumbnail((THUMB, THUMB), Image.Resampling.BOX)
        words = edit_command(
            picture=opened.name,
            query=order.query,
            reference=order.reference,
            negative=order.negative,
            seed=seed,
            preset=order.preset,
            settings=order.settings_for(seed),
            **model,
            output=name,
            mask=None if given is None else "mask.png",
            include=None if strokes.include is None else "include.png",
            exclude=None if strokes.exclude is None else "exclude.png",
        )
        return cls(
            png=encode_image(result.image, ".png", result.provenance),
            thumb=png(small),
            name=name,
            number=number,
            seed=seed,
            order=order,
            source=opened.data,
            source_name=opened.name,
            picture=opened.id,
            strokes=strokes,
            given=given,
            mask=png(result.mask.to_image()),
            report=result.report,
            command=shell(words),
        )

    @property
    def size(self) -> int:
        """Bytes it takes, besides the picture it was made from."""
        return len(self.png) + len(self.thumb) + len(self.mask)

    def masks(self) -> dict[str, bytes]:
        """Return the files that the command names besides the picture: name to PNG bytes."""
        files = {"mask.png": self.given, "include.png": self.strokes.include, "exclude.png": self.strokes.exclude}
        return {name: png(mask.to_image()) for name, mask in files.items() if mask is not None}


def zip_of(versions: Iterable[Version]) -> bytes:
    """Pack versions, each with the masks its command names, and one list of the commands.

    No time of day is written: the same versions give the same bytes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        lines = []
        for version in versions:
            files = {version.name: version.png}
            files |= {f"{PurePosixPath(version.name).stem}/{name}": data for name, data in version.masks().items()}
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name), data)
            lines.append(version.command)
        archive.writestr(zipfile.ZipInfo("commands.txt"), "\n".join(lines) + "\n")
    return buffer.getvalue()
