"""A session: one picture opened once, everything that does not change kept.

The latent, the contrast maps and the trajectory are cached under what determines them. So a new threshold runs no
network, a second query costs its contrast and its decode, and a deeper ratio extends the trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordbrush.diffusion.solvers import decode
from wordbrush.engine.events import Callback, Event
from wordbrush.engine.store import Cache
from wordbrush.errors import SettingsError
from wordbrush.picture.picture import plan_fit
from wordbrush.region.frame import Frame
from wordbrush.region.mask import Mask
from wordbrush.region.outline import guided
from wordbrush.region.region import found_mask, region_of
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.report import Ledger, Memory
from wordbrush.settings import Settings, resolve
from wordbrush.walks import extend

if TYPE_CHECKING:
    from PIL import Image

    from wordbrush.engine.engine import Engine
    from wordbrush.picture.picture import Picture
    from wordbrush.request import MaskLike, Queries
    from wordbrush.result import EditResult

__all__ = ["Session", "pixels_of"]

CONTRAST_KEYS = ("maps", "strength", "strengths", "strength_axis", "antithetic", "sign", "norm", "clip_skip")
CONTRAST_ARGUMENTS = frozenset({"seed", "preset", "settings", "callback", "ledger"})
INVERSION_KEYS = (
    "solver", "steps", "inversion_text", "inversion_guidance", "inversion_label", "fixed_point", "clip_skip"
)  # fmt: skip


def pixels_of(decoded: Tensor) -> NDArray[np.uint8]:
    """Turn (3, height, width) in [-1, 1] into (height, width, 3) bytes."""
    scaled = ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().contiguous().numpy()


class Session:
    """One picture with one model; opened by `Editor.open`.

    While one thread edits, others may cut known maps again: `mask` and `contrast` of texts that were contrasted before
    (`known_contrast` never runs the network), and `region_of`. Two edits at once on one engine, be it in two sessions,
    are for the caller to prevent.

    Args:
        engine: the model and how it is run.
        picture: the picture.
        resolution: side of the square whose area the working size has; by default the model's own.
        memory_limit: bytes that latent, maps and trajectories may take.
    """

    def __init__(
        self, engine: Engine, picture: Picture, *, resolution: int | None = None, memory_limit: int = 2 << 30
    ) -> None:
        self.engine, self.picture = engine, picture
        self.resolution = resolution or engine.model.resolution
        codec = engine.codec
        self.fit = plan_fit(picture.size, grid=codec.factor, resolution=self.resolution)
        self.frame = Frame(self.fit, codec.factor, self.outlined)
        self.latent_size = self.frame.latent_size
        self.cache = Cache(memory_limit)

    @property
    def memory(self) -> Memory:
        """What the session holds now."""
        return self.cache.memory()

    def check(self, settings: Settings) -> Settings:
        """Raise SettingsError where the settings ask for another working size than the session was opened with."""
        if settings.resolution not in {None, self.resolution}:
            raise SettingsError(
                f"resolution {settings.resolution} differs from the session's {self.resolution}: open another session"
            )
        return settings

    def latent(self, ledger: Ledger | None = None, callback: Callback | None = None) -> Tensor:
        """Return the clean latent z0 (1, channel, height, width), float32: the posterior mean, encoded once."""
        kept = self.cache.get("latent", ())
        if isinstance(kept, Tensor):
            return kept
        with (ledger or Ledger()).stage("encode"), torch.no_grad():
            canvas = self.fit.forward(self.picture.srgb)
            pixels = torch.from_numpy(np.ascontiguousarray(canvas)).permute(2, 0, 1)[None].float() / 127.5 - 1
            z0 = self.engine.codec.encode(pixels.to(self.engine.model.device)).float()
        self.cache.put("latent", (), z0, z0.nbytes)
        if callback is not None:
            callback(Event("encode", 1, 1))
        return z0

    def contrast(
        self,
        query: str,
        reference: str = "",
        *,
        seed: int = 0,
        preset: str | None = None,
        settings: Settings | None = None,
        callback: Callback | None = None,
        ledger: Ledger | None = None,
        **switches: Any,
    ) -> Contrast:
        """Contrast two texts on this picture.

        Args:
            query: what the picture should show.
            reference: what it shows now; may be empty.
            seed: of the item, and of the noises where `contrast_seed` is not set.
            preset: which set of switches to start from, unless `settings` is given.
            settings: all switches.
            callback: called after each map.
            ledger: where seconds and evaluations are added up.
            switches: single switches, see `Settings`.
        """
        chosen = self.check(resolve(preset, settings, switches)[0])
        key = self._contrast_key(query, reference, seed, chosen)
        raw = self.cache.get("contrast", key)
        if raw is None:
            raw = self._raw_contrast(query, reference, seed, chosen, callback, ledger or Ledger())
            self.cache.put("contrast", key, raw, raw.nbytes)
        return Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    def known_contrast(
        self, query: str, reference: str = "", *, seed: int = 0, settings: Settings | None = None
    ) -> Contrast | None:
        """Return what `contrast` would, if the session still holds it; else None. Runs no network."""
        chosen = self.check(settings or Settings())
        raw = self.cache.get("contrast", self._contrast_key(query, reference, seed, chosen))
        return None if raw is None else Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    @staticmethod
    def _contrast_key(query: str, reference: str, seed: int, settings: Settings) -> tuple[Any, ...]:
        """Return what determines a raw contrast map."""
        key = (query, reference, settings.seed_of_contrast(seed), *settings.subset(*CONTRAST_KEYS))
        return (*key, settings.steps) if settings.strength_axis == "grid" else key

    def _raw_contrast(
        self, query: str, reference: str, seed: int, settings: Settings, callback: Callback | None, ledger: Ledger
    ) -> NDArray[np.float32]:
        if query == reference:  # nothing to contrast; and rows of a batch may round differently
            return np.zeros(self.latent_size[::-1], np.float32)
        z0 = self.latent(ledger, callback)
        counted, steps = self.engine.denoiser, settings.maps * settings.strengths
        before = counted.rows

        def on_map(done: int) -> None:
            ledger.step = done
            if callback is not None:
                callback(Event("contrast", done, steps))

        with ledger.stage("contrast"), torch.no_grad():
            noises = settings.seed_of_contrast(seed)
            raw = self.engine.raw_contrast(z0, query, reference, noises, settings, on_map)
        ledger.count("contrast", counted.rows - before)
        return raw.float().cpu().numpy()

    def outlined(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lay a map of latent cells on the canvas, edges following the picture's; see `outline.guided`."""
        key = (values.tobytes(),)
        kept = self.cache.get("outline", key)
        if kept is None:
            kept = guided(values, self.fit.forward(self.picture.srgb), radius=self.engine.codec.factor)
            self.cache.put("outline", key, kept, kept.nbytes)
        laid: NDArray[np.float32] = kept
        return laid

    def inversion_text(self, reference: str, settings: Settings) -> str:
        """Return the text under which the picture is carried into the noise."""
        return reference if settings.inversion_text == "reference" else ""

    def trajectory_key(self, reference: str, settings: Settings) -> tuple[Any, ...]:
        """Return what determines the trajectory, whatever its depth."""
        return (self.inversion_text(reference, settings), *settings.subset(*INVERSION_KEYS))

    def kept_trajectory(self, reference: str, settings: Settings) -> list[Tensor]:
        """Return the states recorded so far, from z0 on; at least that one."""
        kept = self.cache.get("trajectory", self.trajectory_key(reference, settings))
        return kept if isinstance(kept, list) else [self.latent()]

    def trajectory(
        self,
        reference: str = "",
        *,
        settings: Settings | None = None,
        callback: Callback | None = None,
        ledger: Ledger | None = None,
    ) -> list[Tensor]:
        """Return the latents z0 ... x_r, each (1, channel, height, width), one a level of the cut grid."""
        chosen = self.check(settings or Settings())
        extend([(self, reference)], chosen, callback, ledger or Ledger())
        return self.kept_trajectory(reference, chosen)[: len(self.engine.levels(chosen))]

    def keep_trajectory(self, reference: str, settings: Settings, states: list[Tensor]) -> None:
        """Record a trajectory in the cache."""
        size = sum(state.nbytes for state in states[1:])
        self.cache.put("trajectory", self.trajectory_key(reference, settings), states, size)

    def reconstruction(
        self,
        reference: str = "",
        *,
        settings: Settings | None = None,
        callback: Callback | None = None,
        ledger: Ledger | None = None,
    ) -> float:
        """Carry the latent up and down again under the inversion's own text and guidance, without a mask.

        Returns:
            Root mean square between z0 and what comes back, in latent units (the latents' own spread is about 1).
        """
        chosen, book = self.check(settings or Settings()), ledger or Ledger()
        states = self.trajectory(reference, settings=chosen, callback=callback, ledger=book)
        engine, levels = self.engine, self.engine.levels(chosen)
        text = engine.prompt(self.inversion_text(reference, chosen), chosen).conditioning
        denoiser = engine.guided(engine.prompt("", chosen).conditioning, chosen.inversion_guidance)
        before, x = engine.denoiser.rows, states[0]
        with book.stage("check"), torch.no_grad():
            for state in decode(denoiser, states[-1], levels, text, solver=engine.solver(chosen)):
                x, book.step = state.x, len(levels) - 1 - state.index
                if callback is not None:
                    callback(Event("check", book.step, len(levels) - 1))
        book.count("check", engine.denoiser.rows - before)
        return float((x - states[0]).square().mean().sqrt())

    def preview(self, estimate: Tensor) -> Image.Image:
        """Decode one estimate (1, channel, height, width) at the working size."""
        from PIL import Image

        return Image.fromarray(pixels_of(self.engine.codec.decode(estimate)[0]))

    def mask(self, query: str, reference: str = "", **keywords: Any) -> Mask:
        """Return the mask at the picture's size; keywords as for `contrast`. Runs no network on a known contrast."""
        switches = {k: v for k, v in keywords.items() if k not in CONTRAST_ARGUMENTS}
        chosen, _ = resolve(keywords.get("preset"), keywords.get("settings"), switches)
        contrast = self.contrast(query, reference, **keywords)
        return region_of(self.frame, found_mask(self.frame, contrast, chosen), chosen).pixels

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
        """Edit the picture; arguments as for `Editor.edit`. What the session knows already is not computed again."""
        from wordbrush.editor import run
        from wordbrush.request import requests_of

        chosen, name = resolve(preset, settings, switches)
        self.check(chosen)
        single = isinstance(query, str) and isinstance(seed, int)
        asked = requests_of(
            self.picture, query, reference, negative, seed, mask, include, exclude, chosen, check_inversion
        )
        results = run(self.engine, [(self, request) for request in asked], preset=name, callback=callback)
        return results[0] if single else results
