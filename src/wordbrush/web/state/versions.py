"""Versions: what was painted, each with everything needed to show, restore, compare and hand it over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from PIL import Image

from wordbrush.record.provenance import encode_image
from wordbrush.record.replay import MASKS
from wordbrush.web.state.keys import new_key
from wordbrush.web.state.png import png_of
from wordbrush.web.state.request import command_of

if TYPE_CHECKING:
    from wordbrush.region.mask import Mask
    from wordbrush.report import Report
    from wordbrush.request import EditRequest
    from wordbrush.result import EditResult
    from wordbrush.web.state.pictures import Opened, Strokes
    from wordbrush.web.state.request import PageRequest

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
        request: what was asked for, with all its seeds.
        source: the picture's file, and `source_name` its name; shared between versions of one picture.
        picture: id of the opened picture.
        strokes: by hand, and `own_mask` the mask that was used in place of one found.
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
    request: PageRequest
    source: bytes = field(repr=False)
    source_name: str
    picture: str
    strokes: Strokes
    own_mask: Mask | None
    mask: bytes = field(repr=False)
    report: Report
    command: str
    id: str = field(default_factory=new_key)

    @classmethod
    def of(
        cls,
        result: EditResult,
        edit: EditRequest,
        opened: Opened,
        request: PageRequest,
        strokes: Strokes,
        number: int,
        model: Mapping[str, Any],
    ) -> Version:
        """Keep a result.

        Args:
            result: it.
            edit: what it is the result of, for one seed.
            opened: the picture.
            request: what was asked for, for all seeds.
            strokes: by hand.
            number: see `Version`.
            model: what its command says of the model, see `Models.flags`.
        """
        name = f"{PurePosixPath(opened.name).stem}-{number}.png"
        small = result.image.convert("RGB")
        small.thumbnail((THUMB, THUMB), Image.Resampling.BOX)
        mask_names = {mask: f"{mask}.png" for mask in MASKS if getattr(edit, mask) is not None}
        return cls(
            png=encode_image(result.image, ".png", result.provenance),
            thumb=png_of(small),
            name=name,
            number=number,
            seed=edit.seed,
            request=request,
            source=opened.data,
            source_name=opened.name,
            picture=opened.id,
            strokes=strokes,
            own_mask=cast("Mask | None", edit.mask),
            mask=result.mask.grey_png(),
            report=result.report,
            command=command_of(edit, preset=request.preset, model=model, output=name, masks=mask_names),
        )

    @property
    def size(self) -> int:
        """Bytes it takes, besides the picture it was made from."""
        return len(self.png) + len(self.thumb) + len(self.mask)

    @property
    def title(self) -> str:
        """Its title on the page."""
        return f"{self.number}. {self.request.query}"

    @property
    def address(self) -> str:
        """Where its file is served; its name comes from the visitor's file and may hold `#` or `?`."""
        return f"/wordbrush/version/{self.id}/{quote(self.name, safe='')}"

    def masks(self) -> dict[str, bytes]:
        """Return the files that the command names besides the picture: name to PNG bytes."""
        files = {"mask.png": self.own_mask, "include.png": self.strokes.include, "exclude.png": self.strokes.exclude}
        return {name: mask.grey_png() for name, mask in files.items() if mask is not None}


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
