"""What comes out of an edit: the picture, its report, and the record that is written into it."""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from PIL import Image

from wordbrush.errors import WordbrushError
from wordbrush.models.addons.embeddings import unused_embeddings
from wordbrush.picture.fit import FitPlan
from wordbrush.picture.panel import make_panel
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import SCHEMA_VERSION, Provenance, package_versions, save_image
from wordbrush.region.mask import Mask
from wordbrush.report import Report
from wordbrush.settings import Settings
from wordbrush.speed.backend import PACKAGES
from wordbrush.texts import text_notes

if TYPE_CHECKING:
    from wordbrush.diffedit import Painted
    from wordbrush.engine.driver import Driver
    from wordbrush.engine.events import Callback
    from wordbrush.engine.outcome import Costs, Outcome, Run
    from wordbrush.engine.running import Item
    from wordbrush.models.model import Model, Prompt
    from wordbrush.region.threshold import Contrast
    from wordbrush.request import EditRequest

__all__ = ["UNKNOWN_FROM", "USUAL_NOISE", "EditResult", "Finished", "result_of", "results_of"]

USUAL_NOISE = "usual_noise"
"""Where a model's card says how much noise the inversion finds in pictures that the model knows, see `noise_found`."""

UNKNOWN_FROM = 1.45
"""From this multiple of the usual noise on, a picture is none that the model knows. Solver and steps move what is
found in known pictures by up to two fifths."""

HARDLY = 6.0
"""Mean difference within the mask, of 255, below which an edit changed nearly nothing: on dev of the truth bench those
that came out as they were have 2 to 5, all others 11 to 135."""

MASK_BYTES = 256_000
"""Largest given mask that a record carries whole, as a PNG; of a larger one only the digest is kept."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EditResult:
    """One edited picture.

    Attributes:
        image: at the picture's own size; where `mask` is 0 its pixels are the input's own.
        mask: what was edited and how the seam was blended, at the picture's size, [0, 1].
        cells: the same at latent cells, as the decode used it.
        contrast: how much the texts disagree, or None where the user gave the mask; `contrast.on_picture(result.fit)`
            is its soft map at the picture's size.
        picture: the input.
        provenance: how it was made.
        report: what it cost.
        fit: how the picture lay on the model's canvas.
    """

    image: Image.Image
    mask: Mask
    cells: Mask
    contrast: Contrast | None
    picture: Picture
    provenance: Provenance
    report: Report
    fit: FitPlan = field(repr=False)

    @property
    def contrast_map(self) -> Contrast | None:
        """The same as `contrast`, under its old name for one release."""
        warnings.warn("contrast_map is now called contrast", DeprecationWarning, stacklevel=2)
        return self.contrast

    def panel(self, *, tile: int = 256, caption: str = "") -> Image.Image:
        """Return input | contrast | mask | result side by side; see `picture.panel.make_panel`."""
        soft = None if self.contrast is None else self.contrast.on_picture(self.fit)
        edited = Picture.open(self.image).srgb
        return make_panel(self.picture.srgb, soft, self.mask.values, edited, tile=tile, caption=caption)

    def save(
        self,
        path: str | Path,
        *,
        force: bool = False,
        strip_metadata: bool = False,
        include_prompt: bool = True,
    ) -> Path:
        """Write the picture with its provenance inside.

        Args:
            path: .png, .webp (both exact) or .jpg, .tif.
            force: overwrite.
            strip_metadata: write no provenance.
            include_prompt: write the texts into the record; without them it cannot be replayed.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        target = Path(path)
        record = None if strip_metadata else self.provenance
        save_image(self.image, target, record, force=force, include_prompt=include_prompt)
        return target


@dataclass(frozen=True, eq=False, kw_only=True)
class Finished:
    """A finished edit, before its report and its record are put together.

    Attributes:
        request: what was asked for.
        settings: all switches it was done with.
        prompts: its texts as they were encoded, by name: `query`, `reference`, `negative`.
        masks: the user's own masks by name, as they were used.
        picture: the input.
        fit: how the picture lay on the model's canvas.
        resolution: the working size.
        real_ratio: the encoding ratio in whole steps of the grid.
        painted: what the algorithm made.
        image: composed at the picture's own size.
    """

    request: EditRequest
    settings: Settings
    prompts: Mapping[str, Prompt]
    masks: Mapping[str, Mask]
    picture: Picture
    fit: FitPlan
    resolution: int
    real_ratio: float
    painted: Painted
    image: Image.Image


@overload
def results_of(
    driver: Driver, items: Iterable[Item[Finished]], *, preset: str | None, callback: Callback | None
) -> list[EditResult]: ...


@overload
def results_of(
    driver: Driver,
    items: Iterable[Item[Finished]],
    *,
    preset: str | None,
    callback: Callback | None,
    on_error: Literal["raise", "return"],
) -> list[EditResult | WordbrushError]: ...


def results_of(
    driver: Driver,
    items: Iterable[Item[Finished]],
    *,
    preset: str | None,
    callback: Callback | None,
    on_error: Literal["raise", "return"] = "raise",
) -> Any:
    """Carry out edits, each as if it were alone.

    Args:
        driver: runs the model.
        items: the edits, see `Session.item`.
        preset: name to record.
        callback: called after every step.
        on_error: `raise` gives all up with the first error; `return` puts an error in the place of its result and goes
            on with the others.

    Returns:
        One result an edit, in order.
    """
    run = driver.run(list(items), callback, stop_on_error=on_error == "raise")
    return [
        outcome.error if isinstance(outcome.error, WordbrushError) else result_of(outcome, driver, run, preset)
        for outcome in run.outcomes
    ]


def result_of(
    outcome: Outcome[Finished], driver: Driver, costs: Run[Finished] | Costs, preset: str | None
) -> EditResult:
    """Put a finished edit, its report and its record together.

    Args:
        outcome: of the edit.
        driver: which ran it.
        costs: seconds, evaluations and notes for the report: of the whole call, or the edit's own.
        preset: name to record.

    Raises:
        Exception: whatever ended the edit.
    """
    done = outcome.result()
    painted, settings = done.painted, done.settings
    region, contrast = painted.region, painted.contrast
    return EditResult(
        image=done.image,
        mask=region.pixels,
        cells=region.cells,
        contrast=contrast,
        picture=done.picture,
        provenance=_provenance(done, driver, preset),
        report=Report(
            seed=done.request.seed,
            timings=dict(costs.timings),
            evaluations=dict(costs.evaluations),
            mask_area=region.pixels.area,
            real_ratio=done.real_ratio,
            near_threshold=0 if contrast is None else contrast.ties(settings.threshold, settings.rule),
            reconstruction_error=painted.reconstruction_error,
            noise=painted.noise,
            reused=outcome.reused,
            retried=painted.retried,
            warnings=(*_warnings(done, driver.model), *costs.notes),
        ),
        fit=done.fit,
    )


def _warnings(done: Finished, model: Model) -> tuple[str, ...]:
    warnings: list[str] = [*model.notes, *done.picture.notes]
    warnings += [f"{name}: {note}" for name, mask in done.masks.items() for note in mask.notes]
    warnings += text_notes({name: prompt.text for name, prompt in done.prompts.items()})
    for name, prompt in done.prompts.items():
        if prompt.dropped:
            warnings.append(f"{name}: cut by the text encoder's limit: {' '.join(prompt.dropped)}")
        warnings += [f"{name}: {note}" for note in prompt.notes]
        for word in prompt.unknown:
            near = f"; near words: {', '.join(word.near)}" if word.near else ""
            warnings.append(f"{name}: the model does not know {word.word!r}{near}")
    texts = [prompt.text for prompt in done.prompts.values()]
    warnings += unused_embeddings(model.identity.embeddings, texts)
    usual, noise = model.card.get(USUAL_NOISE), done.painted.noise
    if usual is not None and noise is not None and noise > UNKNOWN_FROM * usual:
        warnings.append(
            f"the model does not know such pictures: inverted, this one has {noise / usual:.1f} times the usual noise; "
            "what it draws will hardly fit; take a model for pictures of this sort"
        )
    if done.settings.encoding == "auto" and model.encoding == "noise":
        undistilled = f"; undistilled, {model.sibling} inverts well" if model.sibling else ""
        warnings.append(
            "this model was distilled to few steps, on which an inversion does not come back: the background was "
            f"noised instead (encoding invert inverts it all the same){undistilled}"
        )
    if done.painted.retried:
        warnings.append("the region came out nearly as it was, so it was painted once more, from fresh noise")
    if done.painted.region.pixels.is_empty:
        advice = "move the threshold" if done.settings.invert else "lower the threshold"
        warnings.append(f"the mask is empty: nothing was changed; {advice}, or give a mask")
    elif len(set(texts)) > 1 and _change(done) < HARDLY:
        deeper = "a higher ratio (1 begins in the noisiest level)" if done.settings.ratio < 1.0 else "another seed"
        warnings.append(f"the region came out nearly as it was: try {deeper}, or more guidance")
    return tuple(warnings)


def _change(done: Finished) -> float:
    """Return the mean difference of the result from the input within the mask, of 255."""
    within = done.painted.region.pixels.values >= 0.5
    if not within.any():
        return math.inf
    before, after = done.picture.pixels[within], np.asarray(done.image.convert("RGB"))[within]
    return float(np.abs(after.astype(np.float32) - before).mean())


def _mask_record(mask: Mask) -> dict[str, Any]:
    """Describe a given mask; small ones are carried along whole, so that the file alone can be replayed."""
    data = mask.png_bytes()
    fits = len(data) <= MASK_BYTES
    return {"sha256": mask.digest(), "png": base64.b64encode(data).decode() if fits else None}


def _provenance(done: Finished, driver: Driver, preset: str | None) -> Provenance:
    request, picture, region = done.request, done.picture, done.painted.region
    return Provenance(
        schema=SCHEMA_VERSION,
        wordbrush=package_versions()["wordbrush"],
        input={
            "name": picture.name,
            "sha256": picture.sha256,
            "width": picture.size[0],
            "height": picture.size[1],
        },
        model=driver.model.identity.as_dict(),
        query=request.query,
        reference=request.reference,
        negative=request.negative,
        seed=request.seed,
        preset=preset,
        settings={**asdict(done.settings), "resolution": done.resolution},
        mask={
            "source": "user" if "mask" in done.masks else "auto",
            "sha256": region.pixels.digest(),
            "area": region.pixels.area,
            **{f"given_{name}": _mask_record(mask) for name, mask in done.masks.items()},
        },
        packages=package_versions(PACKAGES.get(driver.model.identity.backend, "")),
        notes=picture.notes,
        real_ratio=done.real_ratio,
        threads=torch.get_num_threads(),
    )
