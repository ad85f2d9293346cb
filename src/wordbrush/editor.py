"""The editor: the whole algorithm, readable in one sitting.

1. The picture is opened, fitted to the model's grid and encoded once.
2. The contrast of the two texts gives the region (`Session.contrast`, `region.region_of`).
3. The latent is carried into the noise, every level recorded (`walks.extend`).
4. It is decoded under the query, the outside held to the recorded latents of the same level (`walks.repaint`).
5. Pixels are composed: outside the mask they are the input's own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import torch

from wordbrush.engine.engine import Engine
from wordbrush.engine.events import Callback, Event
from wordbrush.picture.picture import Picture
from wordbrush.records import result_of
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region, found_mask, region_of
from wordbrush.report import Ledger, Plan
from wordbrush.request import EditRequest, MaskLike, Queries, as_mask
from wordbrush.result import EditResult
from wordbrush.session import Session, pixels_of
from wordbrush.settings import Settings, resolve
from wordbrush.walks import batch_size, batches, extend, repaint, reusable

if TYPE_CHECKING:
    from torch import Tensor

    from wordbrush.models.model import Model
    from wordbrush.region.threshold import Contrast

__all__ = ["Editor", "Job", "run"]


@dataclass(eq=False)
class Job:
    """One edit on its way: a request, its session, and what is known so far."""

    request: EditRequest
    session: Session
    settings: Settings
    masks: dict[str, Mask | None]
    contrast: Contrast | None
    region: Region
    reused: tuple[str, ...]
    latent: Tensor | None = None
    reconstruction_error: float | None = None

    @property
    def changes(self) -> bool:
        """Whether there is anything to repaint."""
        return not self.region.pixels.is_empty and self.settings.ratio > 0 and self.depth > 0

    @property
    def depth(self) -> int:
        """Steps up, and down."""
        return len(self.session.engine.levels(self.settings)) - 1


def run(
    engine: Engine,
    pairs: Sequence[tuple[Session, EditRequest]],
    *,
    preset: str | None = None,
    callback: Callback | None = None,
) -> list[EditResult]:
    """Carry out edits, each as if it were alone; equal work is done once and alike work together.

    Args:
        engine: the model and how it is run.
        pairs: each edit with the session of its picture.
        preset: name to record.
        callback: called after every step.

    Returns:
        One result an edit, in order.
    """
    ledger = Ledger()
    jobs = [_find_region(session, request, callback, ledger) for session, request in pairs]
    active = [job for job in jobs if job.changes]
    for group in batches(active, lambda job: job.settings, len(active) or 1):
        extend([(job.session, job.request.reference) for job in group], group[0].settings, callback, ledger)
    for job in active:
        if job.request.check_inversion:
            job.reconstruction_error = job.session.reconstruction(
                job.request.reference, settings=job.settings, callback=callback, ledger=ledger
            )
    for batch in batches(active, lambda job: (job.session.latent_size, job.settings), batch_size(engine, 2)):
        for job, latent in zip(batch, repaint(engine, batch, callback, ledger), strict=True):
            job.latent = latent
    images = [_compose(engine, job, ledger) for job in jobs]
    if callback is not None:
        callback(Event("compose", len(jobs), len(jobs)))
    notes = engine.take_notes()
    return [result_of(engine, job, image, preset, ledger, notes) for job, image in zip(jobs, images, strict=True)]


def _find_region(session: Session, request: EditRequest, callback: Callback | None, ledger: Ledger) -> Job:
    settings = session.check(request.settings or Settings())
    kept = session.memory.entries
    session.latent(ledger, callback)
    masks = {
        name: None if (value := getattr(request, name)) is None else as_mask(value)
        for name in ("mask", "include", "exclude")
    }
    contrast = None
    before = ledger.evaluations.get("contrast", 0)
    if masks["mask"] is None:
        contrast = session.contrast(
            request.query, request.reference, seed=request.seed, settings=settings, callback=callback, ledger=ledger
        )
    found = None if contrast is None else found_mask(session.frame, contrast, settings)
    reused = ["latent"] if "latent" in kept else []
    if contrast is not None and not contrast.is_flat and ledger.evaluations.get("contrast", 0) == before:
        reused.append("contrast")
    region = region_of(session.frame, found, settings, **masks)
    job = Job(request, session, settings, masks, contrast, region, tuple(reused))
    path = reusable(session, request.reference, settings, walks=job.changes)
    return job if path is None else replace(job, reused=(*reused, path))


def _compose(engine: Engine, job: Job, ledger: Ledger) -> Any:
    picture, fit = job.session.picture, job.session.fit
    with ledger.stage("compose"), torch.no_grad():
        if job.latent is None:
            edited = picture.srgb
        else:
            edited = fit.inverse(pixels_of(engine.codec.decode(job.latent[None])[0]))
        return picture.compose(edited, job.region.pixels.values)


class Editor:
    """Edits pictures with one model.

    Args:
        model: a loaded model, see `wordbrush.models.load_model`.
        batch_limit: most rows in one network call; halved by itself when memory runs out.
    """

    def __init__(self, model: Model, *, batch_limit: int | None = None) -> None:
        self.engine = Engine(model, batch_limit=batch_limit)

    @property
    def model(self) -> Model:
        """The model."""
        return self.engine.model

    @classmethod
    def from_pretrained(cls, source: Any = "pocket", *, batch_limit: int | None = None, **keywords: Any) -> Editor:
        """Load a model.

        Args:
            source: `pocket`; a folder in diffusers layout; a `.safetensors` checkpoint; a hub id; a loaded pipeline.
            batch_limit: most rows in one network call.
            keywords: as for `wordbrush.models.load_model`: revision, local_files_only, device, dtype, loras, ...

        Raises:
            ModelError: the checkpoint is missing, unreadable, stored as a pickle or of an unknown kind.
        """
        from wordbrush.models import load_model

        return cls(load_model(source, **keywords), batch_limit=batch_limit)

    def open(self, picture: Any, *, resolution: int | None = None, memory_limit: int = 2 << 30) -> Session:
        """Open one picture for many edits.

        Args:
            picture: a path, bytes, a PIL image, a uint8 array (height, width[, 3 or 4]), or a `Picture`.
            resolution: working size, side of the square of equal area; by default the model's own.
            memory_limit: bytes for the session's caches.

        Raises:
            PictureError: it cannot be read.
        """
        return Session(self.engine, Picture.open(picture), resolution=resolution, memory_limit=memory_limit)

    @overload
    def edit(self, picture: Any, query: str, reference: str = "", *, seed: int = 0, **keywords: Any) -> EditResult: ...

    @overload
    def edit(
        self, picture: Any, query: Queries, reference: str = "", *, seed: int | Sequence[int] = 0, **keywords: Any
    ) -> list[EditResult]: ...

    @overload
    def edit(
        self, picture: Any, query: str | Queries, reference: str = "", *, seed: Sequence[int], **keywords: Any
    ) -> list[EditResult]: ...

    def edit(
        self,
        picture: Any,
        query: str | Queries,
        reference: str = "",
        *,
        negative: str = "",
        seed: int | Sequence[int] = 0,
        mask: MaskLike | None = None,
        include: MaskLike | None = None,
        exclude: MaskLike | None = None,
        preset: str | None = None,
        settings: Settings | None = None,
        check_inversion: bool = False,
        callback: Callback | None = None,
        **switches: Any,
    ) -> EditResult | list[EditResult]:
        """Edit one picture.

        Args:
            picture: as for `open`.
            query: what the picture should show; several give several results.
            reference: what it shows now; may be empty.
            negative: what the repainting is guided away from.
            seed: of the contrast's noises (see `contrast_seed`), and of the decode's with eta above 0; several give
                several results, for each query.
            mask: use this mask (1 or white = edit, any size) instead of finding one.
            include: always edit here, too.
            exclude: never edit here; wins over the rest.
            preset: set of switches to start from: balanced (the default), paper, diffusers, fast, best.
            settings: all switches; a preset named beside it is only recorded.
            check_inversion: measure the reconstruction error, at the cost of one unguided decode.
            callback: called with an `Event` after every step; may raise `Cancelled`.
            switches: single switches, see `Settings`.

        Returns:
            One result, or a list (queries first, then seeds) where several queries or seeds were given.

        Raises:
            WordbrushError: see `wordbrush.errors` for the tree.
        """
        chosen, name = resolve(preset, settings, switches)
        session = self.open(picture, resolution=chosen.resolution)
        return session.edit(
            query,
            reference,
            negative=negative,
            seed=seed,
            mask=mask,
            include=include,
            exclude=exclude,
            settings=chosen,
            preset=name,
            check_inversion=check_inversion,
            callback=callback,
        )

    def edit_batch(
        self,
        requests: Sequence[EditRequest],
        *,
        preset: str | None = None,
        settings: Settings | None = None,
        callback: Callback | None = None,
        **switches: Any,
    ) -> list[EditResult]:
        """Edit many pictures, each with its own texts, masks and seed; no result depends on the others.

        Args:
            requests: the edits; requests of the very same picture object share what can be shared.
            preset: set of switches for requests without settings of their own.
            settings: all switches, instead of a preset.
            callback: called with an `Event` after every step.
            switches: single switches.

        Returns:
            One result a request, in order.
        """
        common, name = resolve(preset, settings, switches)
        sessions: dict[tuple[int, int | None], Session] = {}
        pairs = []
        for request in requests:
            own = replace(request, settings=request.settings or common)
            key = (id(request.picture), own.settings.resolution if own.settings else None)
            if key not in sessions:
                sessions[key] = self.open(request.picture, resolution=key[1])
            pairs.append((sessions[key], own))
        return run(self.engine, pairs, preset=name, callback=callback)

    def plan(
        self,
        size: tuple[int, int],
        *,
        queries: int = 1,
        seeds: int = 1,
        own_mask: bool = False,
        check_inversion: bool = False,
        settings: Settings | None = None,
    ) -> Plan:
        """Say what an edit of a picture of `size` (width, height) would cost, without running the network."""
        from wordbrush.picture.picture import plan_fit

        chosen, model = settings or Settings(), self.model
        fit = plan_fit(size, grid=model.codec.factor, resolution=chosen.resolution or model.resolution)
        latent = (fit.canvas[0] // model.codec.factor, fit.canvas[1] // model.codec.factor)
        depth, many = len(self.engine.levels(chosen)) - 1, queries * seeds
        up = depth * (1 + chosen.fixed_point) * (1 if chosen.inversion_guidance == 1.0 else 2)
        evaluations = {
            "contrast": 0 if own_mask else 2 * chosen.maps * chosen.strengths * many,
            "invert": up,
            "check": depth * (1 if chosen.inversion_guidance == 1.0 else 2) if check_inversion else 0,
            "decode": depth * (1 if self.engine.guidance(chosen) == 1.0 else 2) * many,
        }
        cells = latent[0] * latent[1] * 4
        return Plan(size, fit.canvas, latent, evaluations, cells * (model.codec.channels * (depth + 1) + many), depth)
