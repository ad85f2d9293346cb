"""A session: one picture with one model; encoded latent, contrast maps and paths are computed once and kept.

The latent, the raw contrast maps and the latents of inversions are kept in one store under what determines them. So a
new threshold runs no network, a second query costs its half of the contrast and its decode, and a deeper ratio goes on
where the kept path ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wordbrush.diffedit import contrast, reconstruct, trajectory
from wordbrush.diffusion.ask import Once, Program
from wordbrush.engine.events import Callback
from wordbrush.engine.running import Item
from wordbrush.models.codec import pixels_of
from wordbrush.programs import Programs
from wordbrush.region.mask import Mask
from wordbrush.region.region import cut_region, region_of
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.report import Memory
from wordbrush.request import (
    EditRequest,
    MaskLike,
    Queries,
    check_callback,
    check_seed,
    is_single,
    requests_of,
)
from wordbrush.result import EditResult, Finished, results_of
from wordbrush.settings import Settings, resolve
from wordbrush.speed.sparse import sparsely
from wordbrush.texts import check_text

__all__ = ["Session"]

T = TypeVar("T")


class Session(Programs):
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

    @property
    def memory(self) -> Memory:
        """What the session holds now."""
        return self.store.memory()

    def latent(self) -> Tensor:
        """Return the clean latent z0 (1, channel, height, width), float32: the posterior mean, encoded once."""
        return self.run(self.encoded())

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
            edit = yield from self.prepared(query, reference, seed, chosen)
            raw: NDArray[np.float32] = yield Once(edit.contrast_key, contrast(edit))
            return raw

        raw = self.store.get(self.contrast_key(query, reference, seed, chosen))
        if raw is None:
            raw = self.run(program(), callback)
        return Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    def known_contrast(
        self, query: str, reference: str = "", *, seed: int = 0, settings: Settings | None = None
    ) -> Contrast | None:
        """Return what `contrast` would, if the session still holds it; else None. Runs no network."""
        chosen, seed = self.check(settings or Settings()), check_seed(seed)
        self._check(query, reference)
        raw = self.store.get(self.contrast_key(query, reference, seed, chosen))
        return None if raw is None else Contrast(raw, rescale(raw, chosen.rescale, clip=chosen.clip))

    def trajectory(
        self, reference: str = "", *, settings: Settings | None = None, callback: Callback | None = None
    ) -> list[Tensor]:
        """Return the latents z0 ... x_r, each (1, channel, height, width), one a level of the cut grid."""
        chosen = self.check(settings or Settings())
        self._check("", reference, callback)

        def program() -> Program[list[Tensor]]:
            edit = yield from self.prepared("", reference, 0, chosen)
            return (yield from trajectory(edit))

        return self.run(program(), callback)

    def reconstruction(
        self, reference: str = "", *, settings: Settings | None = None, callback: Callback | None = None
    ) -> float:
        """Carry the latent up and down again under the inversion's own text and guidance, without a mask.

        Returns:
            Root mean square between z0 and what comes back, in latent units (the latents' own spread is about 1).

        Raises:
            SettingsError: the picture is noised, not inverted.
        """
        chosen = self.check(settings or Settings())
        self._check("", reference, callback)

        def program() -> Program[float]:
            edit = yield from self.prepared("", reference, 0, chosen, check_inversion=True)
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
        settings, driver = request.settings or Settings(), self.driver
        around = sparsely(driver.model.denoiser, settings, driver.notes) if settings.sparse else None
        return Item(self.program(request.checked()), self.store, self.preview, around)

    def run(self, program: Program[T], callback: Callback | None = None) -> T:
        """Run any program on this picture's store; return its value, or raise its error."""
        return self.driver.run([Item(program, self.store, self.preview)], callback).outcomes[0].result()

    @staticmethod
    def _check(query: str, reference: str, callback: Callback | None = None) -> None:
        check_text(query, "query")
        check_text(reference, "reference")
        check_callback(callback)
