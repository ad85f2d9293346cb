"""A session: one picture with one model; encoded latent, contrast maps and paths are computed once and kept.

The latent, the raw contrast maps and the latents of inversions are kept in one store under what determines them. So a
new threshold runs no network, a second query costs its contrast and its decode, and a deeper ratio goes on where the
kept path ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wordbrush.diffedit import Edit, Painted, contrast, diffedit, reconstruct, trajectory
from wordbrush.diffusion.ask import AskCodec, Key, Once, Program
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.position import contrast_levels, cut_grid, depth_of
from wordbrush.diffusion.schedule import Level
from wordbrush.engine.driver import Driver
from wordbrush.engine.events import Callback
from wordbrush.engine.running import Item
from wordbrush.engine.store import Store
from wordbrush.errors import SettingsError
from wordbrush.models.codec import batch_of, pixels_of
from wordbrush.models.model import Prompt
from wordbrush.picture.fit import plan_fit
from wordbrush.picture.picture import Picture
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import OUTLINES
from wordbrush.region.region import Region, cut_region, region_of, settled
from wordbrush.region.seam import matched
from wordbrush.region.suited import suited
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.report import Memory
from wordbrush.request import (
    EditRequest,
    MaskLike,
    Queries,
    as_mask,
    check_callback,
    check_seed,
    is_single,
    requests_of,
)
from wordbrush.result import EditResult, Finished, results_of
from wordbrush.settings import Settings, resolve
from wordbrush.texts import check_text
from wordbrush.values import is_whole, worded

__all__ = ["Session"]

T = TypeVar("T")

_TEXTS = ("query", "reference", "empty")


class Session:
    """One picture with one model; opened by `Editor.open`.

    While one thread edits, others may cut known maps again: `mask` and `contrast` of texts that were contrasted before
    (`known_contrast` never runs the network), and `region_of`. Two edits at once on one driver, be it in two sessions,
    are for the caller to prevent.

    Args:
        driver: runs the model.
        picture: the picture.
        resolution: side of the square whose area the working size has; by default the model's own.
        memory_limit: bytes that latent, maps and paths may take.
    """

    def __init__(
        self, driver: Driver, picture: Picture, *, resolution: int | None = None, memory_limit: int = 2 << 30
    ) -> None:
        if not is_whole(memory_limit):
            raise SettingsError(f"memory_limit {worded(memory_limit)} is not a whole number of bytes")
        self.driver, self.picture = driver, picture
        self.resolution = Settings(resolution=resolution).resolution or driver.model.resolution
        self.fit = plan_fit(picture.size, grid=driver.model.grid, resolution=self.resolution)
        self.frame = Frame(self.fit, driver.codec.factor, self.outlined, picture.visible)
        self.store = Store(memory_limit)

    @property
    def latent_size(self) -> tuple[int, int]:
        """The canvas in latent cells, (width, height)."""
        return self.frame.latent_size

    @property
    def memory(self) -> Memory:
        """What the session holds now."""
        return self.store.memory()

    def check(self, settings: Settings) -> Settings:
        """Raise SettingsError where these are no settings, or ask for another working size than the session has."""
        if not isinstance(settings, Settings):
            raise SettingsError(f"settings are a Settings object, not {type(settings).__name__}")
        if settings.resolution not in {None, self.resolution}:
            raise SettingsError(
                f"resolution {settings.resolution} differs from the session's {self.resolution}: open another session"
            )
        return settings

    def levels(self, settings: Settings) -> tuple[Level, ...]:
        """Return the grid cut at the encoding ratio, clean level first.

        Raises:
            SettingsError: the ratio is not 0, but less than half a step.
        """
        if settings.ratio > 0 and depth_of(settings.ratio, settings.steps) == 0:
            least = math.ceil(5000 / settings.steps) / 10_000
            raise SettingsError(
                f"ratio {settings.ratio:g} of {settings.steps} steps is no step: give {least:g} or more, or more steps"
            )
        schedule = self.driver.model.schedule_for(self.latent_size, settings.steps)
        return cut_grid(schedule, settings.ratio, settings.steps, settings.ratio_axis, settings.spacing)

    def prompt(self, text: str, settings: Settings, *, negative: bool = False) -> Prompt:
        """Encode a text for this canvas, or take it from the driver; a negative one is guided away from."""
        checked = check_text(text, "text")
        return self.driver.prompt(checked, settings.clip_skip, self.latent_size, negative=negative)

    def conditioning(
        self, text: str, settings: Settings, scale: float = 1.0, *, negative: bool = False
    ) -> Conditioning:
        """Return a text as the network takes it, with the guidance scale where it is told one."""
        return self.driver.model.policy.told(self.prompt(text, settings, negative=negative).conditioning, scale)

    def latent(self) -> Tensor:
        """Return the clean latent z0 (1, channel, height, width), float32: the posterior mean, encoded once."""
        return self.run(self._latent())

    def contrast(
        self,
        query: str,
        reference: str = "",
        *,
        seed: int = 0,
        preset: str | None = None,
        settings: Settings | None = None,
        callback: Callback | None = None,
        **switches: Any,
    ) -> Contrast:
        """Contrast two texts on this picture.

        Args:
            query: what the picture should show.
            reference: what it shows now; may be empty.
            seed: of the item, and of the noises where `contrast_seed` is not set.
            preset: which set of switches to start from, unless `settings` is given.
            settings: all switches.
            callback: called with an `Event` after every call of the network.
            switches: single switches, see `Settings`.
        """
        chosen, seed = self.check(resolve(preset, settings, switches)[0]), check_seed(seed)
        self._check(query, reference, callback)

        def program() -> Program[NDArray[np.float32]]:
            edit = yield from self._edit(query, reference, seed, chosen)
            raw: NDArray[np.float32] = yield Once(edit.contrast_key, contrast(edit))
            return raw

        raw = self.store.get(self._contrast_key(query, reference, seed, chosen))
        if raw is None:
            raw = self.run(program(), callback)
        return Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    def known_contrast(
        self, query: str, reference: str = "", *, seed: int = 0, settings: Settings | None = None
    ) -> Contrast | None:
        """Return what `contrast` would, if the session still holds it; else None. Runs no network."""
        chosen, seed = self.check(settings or Settings()), check_seed(seed)
        self._check(query, reference)
        raw = self.store.get(self._contrast_key(query, reference, seed, chosen))
        return None if raw is None else Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    def outlined(self, values: NDArray[np.float32], how: str) -> NDArray[np.float32]:
        """Lay a map of latent cells on the canvas in one of the ways of `outline.OUTLINES`."""
        key = ("outline", how, values.tobytes())
        laid: NDArray[np.float32] | None = self.store.get(key)
        if laid is None:
            laid = OUTLINES[how](values, self.fit.forward(self.picture.srgb), radius=self.frame.cell)
            self.store.put(key, laid)
        return laid

    def trajectory(
        self, reference: str = "", *, settings: Settings | None = None, callback: Callback | None = None
    ) -> list[Tensor]:
        """Return the latents z0 ... x_r, each (1, channel, height, width), one a level of the cut grid."""
        chosen = self.check(settings or Settings())
        self._check("", reference, callback)

        def program() -> Program[list[Tensor]]:
            edit = yield from self._edit("", reference, 0, chosen)
            return (yield from trajectory(edit))

        return self.run(program(), callback)

    def reconstruction(
        self, reference: str = "", *, settings: Settings | None = None, callback: Callback | None = None
    ) -> float:
        """Carry the latent up and down again under the inversion's own text and guidance, without a mask.

        Returns:
            Root mean square between z0 and what comes back, in latent units (the latents' own spread is about 1).
        """
        chosen = self.check(settings or Settings())
        self._check("", reference, callback)

        def program() -> Program[float]:
            edit = yield from self._edit("", reference, 0, chosen)
            path = yield from trajectory(edit)
            return (yield from reconstruct(edit, path))

        return self.run(program(), callback)

    def preview(self, estimate: Tensor) -> Image.Image:
        """Decode one estimate (1, channel, height, width) at the working size."""
        return Image.fromarray(pixels_of(self.driver.codec.decode(estimate)[0]))

    def mask(self, query: str, reference: str = "", **keywords: Any) -> Mask:
        """Return the mask at the picture's size; keywords as for `contrast`. Runs no network on a known contrast."""
        of_run = {name: keywords.pop(name) for name in ("seed", "callback") if name in keywords}
        chosen, _ = resolve(keywords.pop("preset", None), keywords.pop("settings", None), keywords)
        automatic = cut_region(self.frame, self.contrast(query, reference, settings=chosen, **of_run), chosen)
        return region_of(self.frame, automatic, chosen).pixels

    @overload
    def edit(self, query: str, reference: str = "", *, seed: int = 0, **keywords: Any) -> EditResult: ...

    @overload
    def edit(
        self, query: Queries, reference: str = "", *, seed: int | Sequence[int] = 0, **keywords: Any
    ) -> list[EditResult]: ...

    @overload
    def edit(
        self, query: str | Queries, reference: str = "", *, seed: Sequence[int], **keywords: Any
    ) -> list[EditResult]: ...

    def edit(
        self,
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
        """Edit the picture; arguments as for `Editor.edit`. Stored values are not computed again."""
        chosen, name = resolve(preset, settings, switches)
        self.check(chosen)
        check_callback(callback)
        requests = requests_of(
            self.picture, query, reference, negative, seed, mask, include, exclude, chosen, check_inversion
        )
        results = results_of(self.driver, map(self.item, requests), preset=name, callback=callback)
        return results[0] if isinstance(query, str) and is_single(seed) else results

    def item(self, request: EditRequest) -> Item[Finished]:
        """Return a request on this picture as an item for the driver.

        Raises:
            WordbrushError: as `EditRequest.checked`.
        """
        return Item(self.program(request.checked()), self.store, self.preview)

    def program(self, request: EditRequest) -> Program[Finished]:
        """Return the whole edit of one request on this picture, from bytes to bytes, as a program."""
        settings = self.check(request.settings or Settings())
        sources = {name: getattr(request, name) for name in ("mask", "include", "exclude")}
        read = {name: as_mask(value) for name, value in sources.items() if value is not None}
        masks = suited(read, self.picture, latent_size=self.latent_size)
        edit = yield from self._edit(
            request.query, request.reference, request.seed, settings, request.negative, masks, request.check_inversion
        )
        texts = {name: self.prompt(getattr(request, name), settings) for name in ("query", "reference")}
        texts["negative"] = self.prompt(request.negative, settings, negative=True)
        painted = yield from diffedit(edit)
        edited = self.picture.srgb
        if painted.latent is not None:
            pixels: Tensor = yield AskCodec("decode", painted.latent, "compose")
            region, canvas = self._joined(painted, pixels_of(pixels[0]), settings, masks)
            painted, edited = replace(painted, region=region), self.fit.inverse(canvas)
        return Finished(
            request=request,
            settings=settings,
            prompts=texts,
            masks=masks,
            picture=self.picture,
            fit=self.fit,
            resolution=self.resolution,
            real_ratio=(len(edit.levels) - 1) / settings.steps,
            painted=painted,
            image=self.picture.compose(edited, painted.region.pixels.values),
        )

    def run(self, program: Program[T], callback: Callback | None = None) -> T:
        """Run any program on this picture's store; return its value, or raise its error."""
        return self.driver.run([Item(program, self.store, self.preview)], callback).outcomes[0].result()

    def _joined(
        self, painted: Painted, decoded: NDArray[np.uint8], settings: Settings, masks: Mapping[str, Mask]
    ) -> tuple[Region, NDArray[np.uint8]]:
        """Settle the seam between the picture and the decoded one (canvas height, canvas width, RGB); see `seam`."""
        region, found = painted.region, painted.automatic
        if not settings.rim and not settings.match:
            return region, decoded
        before = self.fit.forward(self.picture.srgb)
        if found is not None and found.distance is not None:
            region = region_of(self.frame, settled(self.frame, found, settings, before, decoded), settings, **masks)
        if settings.match:
            weight = self.fit.padded(region.pixels.resize(self.fit.inner, "linear").values)
            decoded = matched(before, decoded, weight, settings.match * self.frame.cell)
        return region, decoded

    def _latent(self) -> Program[Tensor]:
        def encode() -> Program[Tensor]:
            canvas = batch_of(self.fit.forward(self.picture.srgb))
            z0: Tensor = yield AskCodec("encode", canvas.to(self.driver.model.device), "encode")
            return z0.float()

        latent: Tensor = yield Once(("latent",), encode())
        return latent

    def _edit(
        self,
        query: str,
        reference: str,
        seed: int,
        settings: Settings,
        negative: str = "",
        masks: Mapping[str, Mask] | None = None,
        check_inversion: bool = False,
    ) -> Program[Edit]:
        """Gather all that the algorithm knows of an edit: the latent, the texts encoded once, the levels."""
        model = self.driver.model
        schedule, inverted = model.schedule_for(self.latent_size, settings.steps), model.inverts(settings.encoding)
        scale, upward = (model.policy.scale_of(g) for g in (settings.guidance, settings.inversion_guidance))
        model.policy.check_negative(negative)
        if check_inversion and not inverted:
            raise SettingsError("there is no inversion to check: the background is noised, see encoding")
        inversion = reference if settings.inversion_text == "reference" else ""
        encoded = {
            **{name: self.conditioning(t, settings) for name, t in zip(_TEXTS, (query, reference, ""), strict=True)},
            "negative": self.conditioning(negative, settings, negative=True),
            "inversion": self.conditioning(inversion, settings, upward),
            "drawn": self.conditioning(query, settings, scale),
        }
        z0 = yield from self._latent()
        return Edit(
            z0=z0,
            frame=self.frame,
            settings=settings,
            seed=seed,
            **encoded,
            levels=self.levels(settings),
            contrast_levels=contrast_levels(schedule, settings.strength, settings.strength_axis, settings.steps),
            guidance=model.policy.weight_of(scale),
            inversion_guidance=model.policy.weight_of(upward),
            join=model.policy.join,
            inverted=inverted,
            contrast_key=self._contrast_key(query, reference, seed, settings),
            path_key=("trajectory", inversion, *settings.key("trajectory")),
            masks=masks or {},
            check_inversion=check_inversion,
        )

    @staticmethod
    def _check(query: str, reference: str, callback: Callback | None = None) -> None:
        check_text(query, "query")
        check_text(reference, "reference")
        check_callback(callback)

    @staticmethod
    def _contrast_key(query: str, reference: str, seed: int, settings: Settings) -> Key:
        return ("contrast", query, reference, settings.seed_of_contrast(seed), *settings.key("contrast"))
