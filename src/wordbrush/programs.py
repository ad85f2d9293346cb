"""The programs of one picture on one model: the latent, the texts, the levels, and the whole edit of a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wordbrush.diffedit import Edit, diffedit, drowned
from wordbrush.diffusion.ask import AskCodec, Key, Once, Program
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.position import contrast_levels, cut_grid, depth_of
from wordbrush.diffusion.schedule import Level
from wordbrush.engine.driver import Driver
from wordbrush.engine.store import Store
from wordbrush.errors import SettingsError
from wordbrush.models.codec import batch_of, pixels_of
from wordbrush.models.model import Prompt
from wordbrush.picture.fit import plan_fit
from wordbrush.picture.picture import Picture
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import OUTLINES
from wordbrush.region.region import Region, region_of, settled
from wordbrush.region.seam import matched
from wordbrush.region.suited import suited
from wordbrush.request import (
    EditRequest,
    as_mask,
)
from wordbrush.result import Finished
from wordbrush.settings import Settings
from wordbrush.texts import check_text
from wordbrush.values import is_whole, worded

__all__ = ["Programs"]


_TEXTS = ("query", "reference", "empty")


class Programs:
    """What an edit of one picture asks of one model, as programs; a session runs them and keeps their values.

    Args:
        driver: encodes texts, and knows the model.
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
            steps = "1 step" if settings.steps == 1 else f"{settings.steps} steps"
            raise SettingsError(
                f"ratio {settings.ratio:g} of {steps} is no step: give {least:g} or more, or more steps"
            )
        schedule = self.driver.model.schedule_for(self.latent_size, settings.steps)
        return cut_grid(schedule, settings.ratio, settings.steps, settings.ratio_axis, settings.spacing)

    def prompt(self, text: str, settings: Settings, *, negative: bool = False) -> Prompt:
        """Encode a text for this canvas, or take it from the driver; a negative one is guided away from."""
        checked = check_text(text, "text")
        return self.driver.prompt(checked, settings.clip_skip, self.latent_size, negative=negative)

    def conditioning(
        self, text: str, settings: Settings, scale: float | None = None, *, negative: bool = False
    ) -> Conditioning:
        """Return a text as the network takes it, with the guidance scale where it is told one; None = it is off."""
        return self.driver.model.policy.told(self.prompt(text, settings, negative=negative).conditioning, scale)

    def outlined(self, values: NDArray[np.float32], how: str) -> NDArray[np.float32]:
        """Lay a map of latent cells on the canvas in one of the ways of `outline.OUTLINES`."""
        key = ("outline", how, values.tobytes())
        laid: NDArray[np.float32] | None = self.store.get(key)
        if laid is None:
            laid = OUTLINES[how](values, self.fit.forward(self.picture.srgb), radius=self.frame.cell)
            self.store.put(key, laid)
        return laid

    def program(self, request: EditRequest) -> Program[Finished]:
        """Return the whole edit of one request on this picture, from bytes to bytes, as a program."""
        settings = self.check(request.settings or Settings())
        sources = {name: getattr(request, name) for name in ("mask", "include", "exclude")}
        read = {name: as_mask(value) for name, value in sources.items() if value is not None}
        masks = suited(read, self.picture, latent_size=self.latent_size)
        edit = yield from self.prepared(
            request.query, request.reference, request.seed, settings, request.negative, masks, request.check_inversion
        )
        texts = {name: self.prompt(getattr(request, name), settings) for name in ("query", "reference")}
        texts["negative"] = self.prompt(request.negative, settings, negative=True)
        painted = yield from diffedit(edit)
        edited = self.picture.srgb
        if painted.latent is not None:
            pixels: Tensor = yield AskCodec("decode", painted.latent, "compose")
            regions = painted.region, painted.automatic
            region, canvas = self.joined(*regions, pixels_of(pixels[0]), settings, masks)
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

    def joined(
        self,
        region: Region,
        found: Region | None,
        decoded: NDArray[np.uint8],
        settings: Settings,
        masks: Mapping[str, Mask],
    ) -> tuple[Region, NDArray[np.uint8]]:
        """Settle the seam between the picture and the decoded one; see `seam`.

        Args:
            region: what was repainted.
            found: the automatic region in it, if there is one; its outline is what moves.
            decoded: (canvas height, canvas width, RGB).
            settings: for the rim and the match.
            masks: the user's, which are laid over the region anew.

        Returns:
            The region with its last outline, and the decoded canvas with its colours matched.
        """
        if not settings.rim and not settings.match:
            return region, decoded
        before = self.fit.forward(self.picture.srgb)
        if found is not None and found.distance is not None:
            region = region_of(self.frame, settled(self.frame, found, settings, before, decoded), settings, **masks)
        if settings.match:
            weight = self.fit.padded(region.pixels.resize(self.fit.inner, "linear").values)
            decoded = matched(before, decoded, weight, settings.match * self.frame.cell)
        return region, decoded

    def encoded(self) -> Program[Tensor]:
        """Return the clean latent z0 (1, channel, height, width), float32, encoded once."""

        def encode() -> Program[Tensor]:
            canvas = batch_of(self.fit.forward(self.picture.srgb))
            z0: Tensor = yield AskCodec("encode", canvas.to(self.driver.model.device), "encode")
            return z0.float()

        latent: Tensor = yield Once(("latent",), encode())
        return latent

    def prepared(
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
        scale = model.policy.scale_of(settings.guidance)
        upward = model.policy.scale_of(settings.inversion_guidance, "inversion_guidance")
        model.policy.check_negative(negative)
        if check_inversion and not inverted:
            raise SettingsError(
                "there is no inversion to check, as the background is noised: set encoding to invert, or check nothing"
            )
        inversion = reference if settings.inversion_text == "reference" else ""
        encoded = {
            **{name: self.conditioning(t, settings) for name, t in zip(_TEXTS, (query, reference, ""), strict=True)},
            "negative": self.conditioning(negative, settings, negative=True),
            "inversion": self.conditioning(inversion, settings, None if upward == 1.0 else upward),
            "drawn": self.conditioning(query, settings, scale),
        }
        z0, levels = (yield from self.encoded()), self.levels(settings)
        return Edit(
            z0=z0,
            frame=self.frame,
            settings=settings,
            seed=seed,
            **encoded,
            levels=levels,
            contrast_levels=contrast_levels(schedule, settings.strength, settings.strength_axis, settings.steps),
            guidance=model.policy.weight_of(scale),
            inversion_guidance=model.policy.weight_of(upward),
            join=model.policy.join,
            inverted=inverted,
            contrast_key=self.contrast_key(query, reference, seed, settings),
            reference_key=("reference", reference, settings.seed_of_contrast(seed), *settings.key("reference")),
            path_key=("trajectory", inversion, *settings.key("trajectory")),
            masks=masks or {},
            retry=settings.retry and inverted and query != reference and drowned(levels),
            check_inversion=check_inversion,
        )

    @staticmethod
    def contrast_key(query: str, reference: str, seed: int, settings: Settings) -> Key:
        """Return what determines a raw contrast map."""
        return ("contrast", query, reference, settings.seed_of_contrast(seed), *settings.key("contrast"))
