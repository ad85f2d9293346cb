"""The editor: one model, and every way to edit with it. The algorithm itself is `wordbrush.diffedit`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from wordbrush.diffusion.position import between, cut_grid
from wordbrush.engine.driver import Driver
from wordbrush.engine.events import Callback
from wordbrush.errors import SettingsError, WordbrushError
from wordbrush.models import load_model
from wordbrush.picture.fit import plan_fit
from wordbrush.picture.picture import Picture
from wordbrush.report import Plan
from wordbrush.request import EditRequest, MaskLike, Queries, check_callback
from wordbrush.result import EditResult, results_of
from wordbrush.session import Session
from wordbrush.settings import Settings, resolve
from wordbrush.speed.backend import loading, on_backend
from wordbrush.values import is_whole, worded

if TYPE_CHECKING:
    from wordbrush.models.model import Model

__all__ = ["Editor"]


class Editor:
    """Edits pictures with one model.

    Args:
        model: a loaded model, see `wordbrush.models.load_model`.
        batch_limit: most rows in one network call; halved by itself when memory runs out.
    """

    def __init__(self, model: Model, *, batch_limit: int | None = None) -> None:
        if batch_limit is not None and not (is_whole(batch_limit) and batch_limit > 0):
            raise SettingsError(f"batch_limit {worded(batch_limit)} is not a whole number from 1 on")
        self.driver = Driver(model, batch_limit=batch_limit)

    @property
    def model(self) -> Model:
        """The model."""
        return self.driver.model

    @classmethod
    def from_pretrained(
        cls, source: Any = "pocket", *, batch_limit: int | None = None, backend: str | None = None, **keywords: Any
    ) -> Editor:
        """Load a model.

        Args:
            source: `pocket`; a folder in diffusers layout; a `.safetensors` checkpoint; a hub id; a loaded pipeline.
            batch_limit: most rows in one network call.
            backend: what computes the networks: `torch`, the default; `compile`, which is `torch.compile`; or
                `openvino` on the CPU.
            keywords: as for `wordbrush.models.load_model`: revision, local_files_only, device, dtype, loras, ...

        Raises:
            ModelError: the checkpoint is missing, unreadable, stored as a pickle or of an unknown kind.
            SettingsError: arguments are out of range or contradict each other, or the backend is not installed.
        """
        model = load_model(source, **loading(backend, source, keywords))
        return cls(on_backend(model, backend), batch_limit=batch_limit)

    def open(self, picture: Any, *, resolution: int | None = None, memory_limit: int = 2 << 30) -> Session:
        """Open one picture for many edits.

        Args:
            picture: a path, bytes, a PIL image, a uint8 array (height, width[, 3 or 4]), or a `Picture`.
            resolution: working size, side of the square of equal area; by default the model's own.
            memory_limit: bytes for the session's caches.

        Raises:
            PictureError: it cannot be read.
        """
        return Session(self.driver, Picture.open(picture), resolution=resolution, memory_limit=memory_limit)

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
            preset: set of switches to start from: balanced (the default), paper, diffusers, fast.
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

    @overload
    def edit_batch(
        self, requests: Sequence[EditRequest], *, on_error: Literal["return"], **keywords: Any
    ) -> list[EditResult | WordbrushError]: ...

    @overload
    def edit_batch(
        self, requests: Sequence[EditRequest], *, on_error: Literal["raise"] = "raise", **keywords: Any
    ) -> list[EditResult]: ...

    def edit_batch(
        self,
        requests: Sequence[EditRequest],
        *,
        preset: str | None = None,
        settings: Settings | None = None,
        callback: Callback | None = None,
        on_error: Literal["raise", "return"] = "raise",
        **switches: Any,
    ) -> Any:
        """Edit many pictures, each with its own texts, masks and seed; no result depends on the others.

        Args:
            requests: the edits; requests of the very same picture object share what can be shared.
            preset: set of switches for requests without settings of their own.
            settings: all switches, instead of a preset.
            callback: called with an `Event` after every step; what it raises ends the edit whose step it was.
            on_error: `raise` gives all up with the first error; `return` puts an error in the place of its result and
                goes on with the others.
            switches: single switches.

        Returns:
            One result a request, in order.

        Raises:
            WordbrushError: with `raise`, the first error; an argument that is none is refused with either.
        """
        common, name = resolve(preset, settings, switches)
        check_callback(callback)
        if on_error not in ("raise", "return"):
            raise SettingsError(f"on_error {worded(on_error)} is unknown: known are raise, return")
        requests = list(requests) if isinstance(requests, Iterable) else [requests]
        if not all(isinstance(one, EditRequest) for one in requests):
            raise SettingsError("edit_batch takes a list of EditRequest")
        sessions: dict[tuple[int, int | None], Session] = {}
        items, errors = [], dict[int, WordbrushError]()
        for number, request in enumerate(requests):
            try:
                own = replace(request, settings=request.settings or common).checked()
                key = (id(request.picture), own.settings.resolution if own.settings else None)
                if key not in sessions:
                    sessions[key] = self.open(request.picture, resolution=key[1])
                items.append(sessions[key].item(own))
            except WordbrushError as error:
                if on_error == "raise":
                    raise
                errors[number] = error
        results = iter(results_of(self.driver, items, preset=name, callback=callback, on_error=on_error))
        return [errors[number] if number in errors else next(results) for number in range(len(requests))]

    def guidance(self, settings: Settings) -> float:
        """Return the decode's guidance scale: the one set, or the model's own."""
        return self.model.policy.scale_of(settings.guidance)

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
        """Say what an edit of a picture of `size` (width, height) would cost, without running the network.

        A region that comes out as it was costs the evaluations of one more decode, see the switch `retry`.

        Raises:
            SettingsError: `size` is not two whole numbers, or the settings are none.
        """
        chosen, model = resolve(None, settings, {})[0], self.model
        if not isinstance(size, list | tuple) or len(size) != 2 or not all(map(is_whole, size)):
            raise SettingsError(f"size {worded(size)} is not a width and a height")
        fit = plan_fit(size, grid=model.grid, resolution=chosen.resolution or model.resolution)
        latent = (fit.canvas[0] // model.codec.factor, fit.canvas[1] // model.codec.factor)
        schedule, many = model.schedule_for(latent, chosen.steps), queries * seeds
        levels = cut_grid(schedule, chosen.ratio, chosen.steps, chosen.ratio_axis, chosen.spacing)
        depth = len(levels) - 1
        climbs = -(-depth // chosen.inversion_stride)
        up = climbs * (1 + chosen.fixed_point) * (1 if chosen.inversion_guidance == 1.0 else 2)
        guided = sum(between(level, chosen.guidance_low, chosen.guidance_high) for level in levels[1:])
        pairs = 0 if model.policy.weight_of(self.guidance(chosen)) == 1.0 else -(-guided // chosen.guidance_every)
        inverts, noises = model.inverts(chosen.encoding), chosen.maps * len(chosen.strength)
        evaluations = {
            "contrast": 0 if own_mask else noises * (queries + 1) * seeds,
            "invert": up if inverts else 0,
            "check": depth * (1 if chosen.inversion_guidance == 1.0 else 2) if check_inversion and inverts else 0,
            "decode": (depth + pairs) * many,
        }
        cells = latent[0] * latent[1] * 4
        kept = depth + 1 + (0 if own_mask else noises * seeds)  # the path, and the reference's half of the contrast
        return Plan(size, fit.canvas, latent, evaluations, cells * (model.codec.channels * kept + many), depth)
