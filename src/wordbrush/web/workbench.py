"""The workbench: all that can be done with it, without a page: open, find, cut, paint, restore."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wordbrush.errors import InputError, WordbrushError
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.listing import card_text
from wordbrush.picture.samples import Sample, load_samples
from wordbrush.region.mask import Mask
from wordbrush.region.suited import suited
from wordbrush.web.state.models import Models
from wordbrush.web.state.pictures import Cut, Opened, Strokes
from wordbrush.web.state.share import Share
from wordbrush.web.state.turns import Turns
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import Visitor, Visitors

if TYPE_CHECKING:
    from pathlib import Path

    from wordbrush.models.model import UnknownWord
    from wordbrush.record.provenance import Provenance
    from wordbrush.request import EditRequest
    from wordbrush.result import EditResult
    from wordbrush.session import Session
    from wordbrush.web.options import Options
    from wordbrush.web.state.request import PageRequest
    from wordbrush.web.state.work import Work

__all__ = ["Workbench"]


class Workbench:
    """Models, visitors, and what visitors do.

    Args:
        options: what the operator decides.
        files: private folder for files that the HTTP API hands out.
    """

    def __init__(self, options: Options, files: Path) -> None:
        self.options, self.files = options, files
        self.models = Models(options)
        self.visitors = Visitors(options.limits)
        self.samples: list[Sample] = load_samples()
        self.turns = Turns()  # a large picture takes far more memory than its file
        self.share = Share(lambda: self.options.limits)

    # ---- pictures

    def open(self, visitor: Visitor, data: bytes, name: str) -> Opened:
        """Open an uploaded picture.

        Raises:
            PictureError: too large, or not a picture this program reads.
            ResourceError: too many pictures are being opened.
        """
        with self.turns.turn(visitor.key):
            opened = Opened.read(data, name, self.options.limits)
        visitor.open(opened)
        self.visitors.trim()
        return opened

    def origin(self, visitor: Visitor, record: Provenance) -> Opened | None:
        """Return the picture that a record tells of, if the visitor has it open or painted from it."""
        digest = record.input["sha256"]
        for opened in reversed(visitor.pictures.values()):
            if opened.picture.sha256 == digest:
                return opened
        for version in reversed(visitor.versions.values()):
            if hashlib.sha256(version.source).hexdigest() == digest:
                return self.reopen(visitor, version)
        return None

    def awaited(self, visitor: Visitor, opened: Opened) -> Provenance | None:
        """Return the record of the picture used just before, if it was made from this one, else None."""
        before = [other for other in visitor.pictures.values() if other is not opened][-1:]
        record = before[0].record() if before else None
        matches = record is not None and record.replayable and record.input["sha256"] == opened.picture.sha256
        return record if matches else None

    def open_sample(self, visitor: Visitor, index: int) -> tuple[Opened, Sample]:
        """Open one of the shipped pictures.

        Raises:
            InputError: there is no such sample.
        """
        if not 0 <= index < len(self.samples):
            raise InputError(f"there is no sample {index}")
        sample = self.samples[index]
        return self.open(visitor, sample.path.read_bytes(), sample.path.name), sample

    def reopen(self, visitor: Visitor, version: Version) -> Opened:
        """Return the picture a version was made from, opened again where it was closed."""
        opened = visitor.picture(version.picture)
        if opened is None:
            with self.turns.turn(visitor.key):
                opened = Opened.read(version.source, version.source_name, self.options.limits)
            opened.id = version.picture
            visitor.open(opened)
        return opened

    # ---- the region

    def own_mask(self, opened: Opened, data: bytes) -> Mask:
        """Take a mask file in place of a mask found.

        Raises:
            MaskError: it cannot be read as a mask, or does not belong to the picture.
            ResourceError: too many pictures are being opened.
        """
        with self.turns.turn(opened.id), self.options.limits.reading():
            mask = Mask.open(data).rounded()
        opened.own_mask = suited({"mask": mask}, opened.picture)["mask"]
        return opened.own_mask

    def find(self, opened: Opened, request: PageRequest, work: Work) -> None:
        """Contrast the texts, so that `cut` knows where they disagree. Runs in the device's thread.

        Raises:
            SettingsError: nothing to contrast, or a switch out of range.
            Cancelled: it was stopped.
        """
        request.check()
        work.start("Finding the region")
        self._session(opened, request).contrast(
            request.query,
            request.reference,
            seed=request.contrast_seed,
            settings=request.settings,
            callback=work.on_event,
        )
        opened.own_mask = None

    def cut(self, opened: Opened, request: PageRequest, strokes: Strokes, *, exact: bool = False) -> Cut:
        """Cut the region from what is known; no network runs.

        Raises:
            SettingsError: a switch out of range.
            ResourceError: too many pictures are being worked on.
        """
        editor = self.models.editor(request.model)
        opened.last, opened.strokes = request, strokes  # before the turn, so that what was asked last counts
        with self.turns.turn(opened.id):
            return opened.cut(editor, request, strokes, self.options.limits, exact=exact)

    def region(self, opened: Opened) -> Mask | None:
        """Return the region as last cut, at the picture's own size, or None where there is none."""
        if opened.last is None:
            return None
        region = self.cut(opened, opened.last, opened.strokes, exact=True).region
        return None if region is None else region.pixels

    def _session(self, opened: Opened, request: PageRequest) -> Session:
        editor = self.models.editor(request.model)
        return opened.session(editor, request.model, request.settings.resolution, self.options.limits)

    # ---- models

    def unknown_words(self, model: str, text: str) -> tuple[UnknownWord, ...]:
        """Return the words of a text that the model was never taught; models that do not say know every word."""
        encoder = self.models.editor(model).model.text
        return encoder.encode([text])[0].unknown if text and getattr(encoder, "words", None) else ()

    def card(self, model: str) -> str:
        """Return what a model's folder says of it, or "" where it says nothing or is not a folder."""
        try:
            return card_text(locate(model, local_files_only=True).path)
        except WordbrushError:
            return ""

    # ---- painting

    def paint(
        self,
        visitor: Visitor,
        opened: Opened,
        request: PageRequest,
        strokes: Strokes,
        work: Work,
        on_version: Callable[[Version], None],
    ) -> list[Version]:
        """Repaint the region once for each seed. Runs in the device's thread.

        Args:
            visitor: who gets the versions.
            opened: the picture.
            request: what to do.
            strokes: by hand.
            work: hears of every step.
            on_version: called with each version as soon as it is there.

        Raises:
            WordbrushError: whatever stops it; versions made before stay.
        """
        request.check(own_mask=opened.own_mask is not None)
        session, versions = self._session(opened, request), []
        mask = opened.own_mask_for(request.settings)
        edits = request.edits(opened.picture, mask=mask, include=strokes.include, exclude=strokes.exclude)
        for count, edit in enumerate(edits, 1):
            work.start(f"Painting seed {edit.seed} ({count} of {len(request.seeds)})")
            result = _run(session, edit, request.preset, work)
            model = self.models.flags(request.model)
            version = Version.of(result, edit, opened, request, strokes, visitor.next_number(), model)
            visitor.keep(version)
            self.visitors.trim()
            versions.append(version)
            on_version(version)
        return versions

    def edit(self, request: EditRequest, model: str, preset: str, work: Work) -> EditResult:
        """Edit a picture and keep nothing of it. Runs in the device's thread.

        Args:
            request: the edit, with settings.
            model: one of the operator's names.
            preset: set of switches the settings started from.
            work: hears of every step.

        Raises:
            WordbrushError: whatever stops it.
        """
        resolution = request.settings.resolution if request.settings else None
        limit = self.options.limits.session_bytes
        session = self.models.editor(model).open(request.picture, resolution=resolution, memory_limit=limit)
        return _run(session, request, preset, work)


def _run(session: Session, request: EditRequest, preset: str, work: Work) -> EditResult:
    """Run an edit of the session's picture."""
    values: dict[str, Any] = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
    del values["picture"]
    result: EditResult = session.edit(**values, preset=preset, callback=work.on_event)
    return result
