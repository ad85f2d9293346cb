"""Opened pictures: what the workbench holds of one picture a visitor works on, and the region as it stands."""

from __future__ import annotations

import base64
import dataclasses
import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wordbrush.errors import MaskError, ProvenanceError
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import Provenance, read_provenance
from wordbrush.record.replay import MASKS, carried_mask
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region, cut_region, region_of
from wordbrush.region.suited import extent_note
from wordbrush.web.state.keys import new_key
from wordbrush.web.state.png import DATA_ADDRESS, png_of, size_within

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.picture.fit import FitPlan
    from wordbrush.region.threshold import Contrast
    from wordbrush.session import Session
    from wordbrush.settings import Settings
    from wordbrush.web.options import Limits
    from wordbrush.web.state.request import PageRequest

__all__ = ["Cut", "Opened", "Strokes", "clean_name"]

PROXY_SIDE = 1024
"""Longest side of the copy on which the outline is drawn while sliders move; painting cuts the picture itself."""

STROKE_SIDE = 2048
"""Longest side of strokes that are taken; the page sends at most half of it."""

PNG_START = b"\x89PNG\r\n\x1a\n"

SESSIONS = 6
"""Most sessions of one picture: by model and working size, with the copies for the eye."""


@dataclass(frozen=True, eq=False)
class Strokes:
    """The user's brush strokes on the region, as masks of any size, stretched over the picture."""

    include: Mask | None = None
    exclude: Mask | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Strokes:
        """Read the strokes of the page: PNG data addresses, or None.

        Raises:
            MaskError: not such a thing.
        """
        addresses = {name: (value or {}).get(name) for name in ("include", "exclude")}
        return cls(**{name: None if text is None else _mask_at(text) for name, text in addresses.items()})

    @classmethod
    def of_record(cls, record: Provenance) -> tuple[Strokes, Mask | None]:
        """Return the strokes and the own mask of a record; a mask that was too large to be recorded is left out.

        Raises:
            ProvenanceError: what the record carries is not the mask it tells of.
            MaskError: it is not a mask.
        """
        masks = {name: carried_mask(record, name) for name in MASKS}
        return cls(masks["include"], masks["exclude"]), masks["mask"]


@dataclass(frozen=True, eq=False)
class Cut:
    """The region as last cut, with the map it was cut from.

    Attributes:
        contrast: what was cut, or None while nothing was found under these texts.
        region: what is edited, or None while there is neither a contrast nor a mask nor a stroke.
        fit: how the picture, or the copy that was cut, lies on the model's canvas.
        mask: the mask from a file that took its place, as it was used; or None.
        area: share of the picture that is edited, in [0, 1].
    """

    contrast: Contrast | None
    region: Region | None
    fit: FitPlan
    mask: Mask | None = None

    @property
    def area(self) -> float:
        """Share of the picture inside the region."""
        return 0.0 if self.region is None else self.region.pixels.area

    @property
    def told(self) -> str:
        """What a visitor should know of the region: its area, and what is odd about it or about the mask."""
        notes = (self.mask is not None and self.mask.notes) or (extent_note(self.area),)
        sentences = [f"{self.area:.1%} of the picture.", *(f"{note[0].upper()}{note[1:]}." for note in notes if note)]
        return " ".join(sentences)


@dataclass(eq=False)
class Opened:
    """One picture a visitor opened.

    Attributes:
        picture: as it was read.
        data: the file's bytes, to open it again.
        id: unguessable.
        own_mask: a mask from a file, in place of one found.
        last: the request it was last cut for, and `strokes` those of then.
        lock: held while sessions are made.
    """

    picture: Picture
    data: bytes = field(repr=False)
    id: str = field(default_factory=new_key)
    own_mask: Mask | None = None
    last: PageRequest | None = None
    strokes: Strokes = field(default_factory=Strokes)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _sessions: OrderedDict[tuple[str, int | None, bool], Session] = field(default_factory=OrderedDict, repr=False)
    _display: bytes | None = field(default=None, repr=False)

    @classmethod
    def read(cls, data: bytes, name: str, limits: Limits) -> Opened:
        """Open the bytes of a picture file under the name the visitor knows it by.

        Raises:
            PictureError: too large, or not a picture this program reads.
        """
        with limits.reading():
            picture = Picture.open(data)
        return cls(dataclasses.replace(picture, name=clean_name(name)), data)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.picture.name or "picture.png"

    def held(self) -> int:
        """Return the bytes this picture and its sessions' caches take, about."""
        with self.lock:
            sessions = {id(session): session for session in self._sessions.values()}
        pixels = 2 * self.picture.pixels.nbytes  # its own colours, and as sRGB
        caches = sum(session.memory.held for session in sessions.values())
        by_hand = self.own_mask, self.strokes.include, self.strokes.exclude
        masks = sum(mask.values.nbytes for mask in by_hand if mask is not None)
        return pixels + len(self.data) + len(self._display or b"") + caches + masks

    def facts(self) -> dict[str, Any]:
        """Return what the page needs to know of it."""
        width, height = self.picture.size
        address = f"/wordbrush/picture/{self.id}"
        return {"id": self.id, "url": address, "name": self.name, "width": width, "height": height}

    def record(self) -> Provenance | None:
        """Return the record in the file if this program made it, else None."""
        try:
            return read_provenance(self.data)
        except ProvenanceError:
            return None

    def session(self, editor: Editor, model: str, resolution: int | None, limits: Limits) -> Session:
        """Return the session of this picture with a model, the same one each time."""
        with self.lock:
            key = (model, resolution, False)
            session = self._sessions.get(key)
            if session is None:
                session = editor.open(self.picture, resolution=resolution, memory_limit=limits.session_bytes)
            return self._remember(key, session)

    def _remember(self, key: tuple[str, int | None, bool], session: Session) -> Session:
        """Keep a session as the one used last; beyond a few the one used longest ago goes."""
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def own_mask_for(self, settings: Settings) -> Mask | None:
        """Return the mask from a file as the settings want it: `invert` turns it, too, as the page has one control."""
        return None if self.own_mask is None else ~self.own_mask if settings.invert else self.own_mask

    def cut(self, editor: Editor, request: PageRequest, strokes: Strokes, limits: Limits, *, exact: bool) -> Cut:
        """Cut the region from what is known; no network runs.

        Args:
            editor: of the request's model.
            request: texts and switches.
            strokes: by hand.
            limits: for the session's caches.
            exact: at the picture's own size; else on a copy of at most 1,024 pixels a side, for the eye.
        """
        settings = request.settings
        session = self.session(editor, request.model, settings.resolution, limits)
        contrast = None
        if request.query and self.own_mask is None:
            contrast = session.known_contrast(
                request.query, request.reference, seed=request.contrast_seed, settings=settings
            )
        shown = session if exact else self._proxy(session, editor, request.model, settings)
        mask = self.own_mask_for(settings)
        if contrast is None and mask is None and strokes.include is None:
            return Cut(None, None, shown.fit)
        automatic = None if contrast is None else cut_region(shown.frame, contrast, settings)
        masks = {"mask": mask, "include": strokes.include, "exclude": strokes.exclude}
        region = region_of(shown.frame, automatic, settings, **masks)
        return Cut(contrast, region, shown.fit, mask)

    def _proxy(self, session: Session, editor: Editor, model: str, settings: Settings) -> Session:
        """Return a session of a small copy of the picture; of a small picture, the session itself."""
        size = size_within(self.picture.size, PROXY_SIDE)
        if size == self.picture.size:
            return session
        with self.lock:
            key = (model, settings.resolution, True)
            proxy = self._sessions.get(key)
            if proxy is None:
                small = Image.fromarray(self.picture.srgb).resize(size, Image.Resampling.BOX)
                proxy = editor.open(small, resolution=settings.resolution, memory_limit=16 << 20)
                # Rounding its sides can move a slim picture to another grid; then the picture itself is cut.
                proxy = proxy if proxy.latent_size == session.latent_size else session
            return self._remember(key, proxy)

    def display(self) -> bytes:
        """Return a PNG to look at, longest side at most 1,600 pixels."""
        if self._display is None:
            pixels = self.picture.colours
            if self.picture.alpha is not None:
                pixels = np.dstack((pixels, self.picture.alpha))
            image = Image.fromarray(pixels)
            image.thumbnail((1600, 1600), Image.Resampling.BOX)
            self._display = png_of(image)
        return self._display


def clean_name(name: str) -> str:
    """Return the bare file name, without folders and control characters, at most 200 characters."""
    bare = PurePosixPath(name.replace("\\", "/")).name.lstrip(".-")
    printable = "".join(c for c in bare if c.isprintable()).strip()
    return printable[-200:] or "picture.png"


def _mask_at(address: Any) -> Mask:
    if not isinstance(address, str) or not address.startswith(DATA_ADDRESS):
        raise MaskError("the strokes are not PNG data")
    try:
        data = base64.b64decode(address.removeprefix(DATA_ADDRESS), validate=True)
    except ValueError as error:
        raise MaskError("the mask is not base64") from error
    if not data.startswith(PNG_START) or max(struct.unpack(">II", data[16:24].ljust(8, b"\xff"))) > STROKE_SIDE:
        raise MaskError(f"the strokes are not a PNG of at most {STROKE_SIDE} pixels a side")
    return dataclasses.replace(Mask.open(data).rounded(), notes=())  # the page knows what it drew
