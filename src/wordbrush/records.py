"""Records: what is told and written down of a finished edit."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wordbrush.record.provenance import SCHEMA_VERSION, Provenance, package_versions
from wordbrush.report import Ledger, Report
from wordbrush.result import EditResult

if TYPE_CHECKING:
    from PIL import Image

    from wordbrush.editor import Job
    from wordbrush.engine.engine import Engine
    from wordbrush.region.mask import Mask

__all__ = ["result_of"]

MASK_BYTES = 256_000
"""Largest given mask that a record carries whole, as a PNG; of a larger one only the digest is kept."""


def _warnings(engine: Engine, job: Job) -> tuple[str, ...]:
    request, settings = job.request, job.settings
    found: list[str] = list(job.session.picture.notes)
    for name in ("query", "reference", "negative"):
        prompt = engine.prompt(getattr(request, name), settings)
        if prompt.dropped:
            found.append(f"{name}: cut by the text encoder's limit: {' '.join(prompt.dropped)}")
        for word in prompt.unknown:
            near = f"; near words: {', '.join(word.near)}" if word.near else ""
            found.append(f"{name}: the model does not know {word.word!r}{near}")
    if job.region.pixels.is_empty:
        advice = "move the threshold" if settings.invert else "lower the threshold"
        found.append(f"the mask is empty: nothing was changed; {advice}, or give a mask")
    return tuple(found)


def result_of(
    engine: Engine, job: Job, image: Image.Image, preset: str | None, ledger: Ledger, notes: tuple[str, ...]
) -> EditResult:
    """Put a finished job, its report and its record together."""
    region, contrast, settings = job.region, job.contrast, job.settings
    report = Report(
        seed=job.request.seed,
        timings=dict(ledger.timings),
        evaluations=dict(ledger.evaluations),
        mask_area=region.pixels.area,
        near_threshold=0 if contrast is None else contrast.ties(settings.threshold, settings.rule),
        reconstruction_error=job.reconstruction_error,
        reused=job.reused,
        warnings=(*_warnings(engine, job), *notes),
    )
    return EditResult(
        image=image,
        mask=region.pixels,
        cells=region.cells,
        contrast_map=contrast,
        picture=job.session.picture,
        provenance=_provenance(engine, job, preset),
        report=report,
        fit=job.session.fit,
    )


def _mask_record(mask: Mask) -> dict[str, Any]:
    """Describe a given mask; small ones are carried along whole, so that the file alone can be replayed."""
    data = mask.png_bytes()
    fits = len(data) <= MASK_BYTES
    return {"sha256": mask.digest(), "png": base64.b64encode(data).decode() if fits else None}


def _provenance(engine: Engine, job: Job, preset: str | None) -> Provenance:
    request, picture, region = job.request, job.session.picture, job.region
    given = {name: _mask_record(mask) for name, mask in job.masks.items() if mask is not None}
    return Provenance(
        schema=SCHEMA_VERSION,
        wordbrush=package_versions()["wordbrush"],
        input={
            "name": picture.name,
            "sha256": picture.sha256,
            "width": picture.size[0],
            "height": picture.size[1],
        },
        model=engine.model.identity.as_dict(),
        query=request.query,
        reference=request.reference,
        negative=request.negative,
        seed=request.seed,
        preset=preset,
        settings={**asdict(job.settings), "resolution": job.session.resolution},
        mask={
            "source": "user" if "mask" in given else "auto",
            "sha256": region.pixels.digest(),
            "area": region.pixels.area,
            **{f"given_{name}": record for name, record in given.items()},
        },
        packages=package_versions(),
        notes=picture.notes,
    )
