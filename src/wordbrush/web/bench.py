"""The bench: all the workbench does, without a page: open, find, cut, paint, restore. Uses only the public API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from wordbrush.errors import InputError, WordbrushError
from wordbrush.picture.samples import Sample, load_samples
from wordbrush.web.models import Models
from wordbrush.web.pictures import Cut, Opened, Strokes
from wordbrush.web.versions import Version
from wordbrush.web.visitors import Visitor, Visitors

if TYPE_CHECKING:
    from pathlib import Path

    from wordbrush.models.model import UnknownWord
    from wordbrush.record.provenance import Provenance
    from wordbrush.region.mask import Mask
    from wordbrush.web.jobs import Job
    from wordbrush.web.options import Options
    from wordbrush.web.orders import Order

__all__ = ["Bench"]


class Bench:
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
        self._decoding = BoundedSemaphore(2)  # a large picture takes far more memory than its file

    # ---- pictures

    def open(self, visitor: Visitor, data: bytes, name: str) -> Opened:
        """Open an uploaded picture.

        Raises:
            PictureError: too large, or not a picture this program reads.
        """
        with self._decoding:
            opened = Opened.read(data, name, self.options.limits)
        visitor.open(opened)
        self.visitors.trim()
        return opened

    def origin(self, visitor: Visitor, record: Provenance) -> Opened | None:
        """Return the picture that a record tells of, if the visitor has it open or painted from it."""
        wanted = record.input["sha256"]
        for known in reversed(visitor.pictures.values()):
            if known.picture.sha256 == wanted:
                return known
        for version in reversed(visitor.versions.values()):
            if hashlib.sha256(version.source).hexdigest() == wanted:
                return self.reopen(visitor, version)
        return None

    def awaited(self, visitor: Visitor, opened: Opened) -> Provenance | None:
        """Return the record of the picture used just before, if it was made from this one: it was opened to go on."""
        before = [known for known in visitor.pictures.values() if known is not opened][-1:]
        record = before[0].record() if before else None
        wanted = record is not None and record.replayable and record.input["sha256"] == opened.picture.sha256
        return record if wanted else None

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
        known = visitor.picture(version.picture)
        if known is None:
            known = Opened.read(version.source, version.source_name, self.options.limits)
            known.id = version.picture
            visitor.open(known)
        return known

    # ---- the region

    def find(self, opened: Opened, order: Order, job: Job) -> None:
        """Contrast the texts, so that `cut` knows where they disagree. Runs in the device's thread.

        Raises:
            SettingsError: nothing to contrast, or a switch out of range.
            Cancelled: it was stopped.
        """
        order.check()
        job.start("Finding the region")
        editor = self.models.editor(order.model)
        session = opened.session(editor, order.model, order.settings.resolution, self.options.limits)
        session.contrast(
            order.query,
            order.reference,
            seed=order.contrast_seed,
            settings=order.settings,
            callback=job.on_event,
        )
        opened.given = None

    def cut(self, opened: Opened, order: Order, strokes: Strokes, *, exact: bool = False) -> Cut:
        """Cut the region from what is known; no network runs.

        Raises:
            SettingsError: a switch out of range.
        """
        return opened.cut(self.models.editor(order.model), order, strokes, self.options.limits, exact=exact)

    def region(self, opened: Opened) -> Mask | None:
        """Return the region as last cut, at the picture's own size, or None where there is none."""
        if opened.last is None:
            return None
        region = self.cut(opened, opened.last, opened.strokes, exact=True).region
        return None if region is None else region.pixels

    def unknown_words(self, model: str, text: str) -> tuple[UnknownWord, ...]:
        """Return the words of a text that the model was never taught; models that do not say know every word."""
        encoder = self.models.editor(model).model.text
        return encoder.encode([text])[0].unknown if text and getattr(encoder, "words", None) else ()

    def card(self, model: str) -> str:
        """Return what a model's folder says of it, or "" where it says nothing or is not a folder."""
        from wordbrush.models.checkpoint.sources import locate
        from wordbrush.models.listing import card_text

        try:
            return card_text(locate(model, local_files_only=True).path)
        except WordbrushError:
            return ""

    # ---- painting

    def paint(
        self,
        visitor: Visitor,
        opened: Opened,
        order: Order,
        strokes: Strokes,
        job: Job,
        on_version: Callable[[Version], None],
    ) -> list[Version]:
        """Repaint the region once for each seed. Runs in the device's thread.

        Args:
            visitor: who gets the versions.
            opened: the picture.
            order: what to do.
            strokes: by hand.
            job: told of every step.
            on_version: called with each version as soon as it is there.

        Raises:
            WordbrushError: whatever stops it; versions made before stay.
        """
        order.check(mask_given=opened.given is not None)
        editor, made = self.models.editor(order.model), []
        session = opened.session(editor, order.model, order.settings.resolution, self.options.limits)
        given = opened.given_for(order.settings)
        for count, seed in enumerate(order.seeds, 1):
            job.start(f"Painting seed {seed} ({count} of {len(order.seeds)})")
            result = session.edit(
                order.query,
                order.reference,
                negative=order.negative,
                seed=seed,
                mask=given,
                include=strokes.include,
                exclude=strokes.exclude,
                settings=order.settings_for(seed),
                preset=order.preset,
                check_inversion=order.check_inversion and count == 1,
                callback=job.on_event,
            )
            with visitor.lock:
                visitor.made += 1
                number = visitor.made
            version = Version.of(result, opened, order, strokes, number, seed, self.models.flags(order.model))
            visitor.keep(version)
            self.visitors.trim()
            made.append(version)
            on_version(version)
        return made
