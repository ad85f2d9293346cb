"""What a call of the API asks for, read and checked: whatever can be refused is refused before the device is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wordbrush.errors import InputError, MaskError, PictureError, SettingsError
from wordbrush.picture.picture import Picture
from wordbrush.region.mask import Mask
from wordbrush.settings import Settings
from wordbrush.web.api.fields import Field, fields_of
from wordbrush.web.state.requests import check_limits, parse_flags

if TYPE_CHECKING:
    from wordbrush.result import EditResult
    from wordbrush.web.gate.uploads import Upload
    from wordbrush.web.options import Limits
    from wordbrush.web.state.work import Job
    from wordbrush.web.workbench import Bench

__all__ = ["MASKS", "SWITCHED", "Asked"]

SWITCHED = ("ratio", "guidance", "steps", "threshold")
"""Switches that are inputs of their own."""

MASKS = ("mask", "include", "exclude")
"""Inputs that are masks."""

PLAIN = ("query", "reference", "negative", "seed", "model", "preset", "check_inversion")
"""Inputs that are taken as they are."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one call asks for, read and checked.

    Attributes:
        picture: under the name the sender gave it.
        query: what it should show.
        reference: what it shows now.
        negative: what the result should not show.
        seed: of the noises.
        model: one of the operator's names.
        preset: the set of switches it started from.
        settings: all switches.
        masks: by `MASKS`, those that were given; and `mask_names`, what the sender calls them.
        check_inversion: measure the reconstruction error, too.
    """

    picture: Picture
    query: str
    reference: str
    negative: str
    seed: int
    model: str
    preset: str
    settings: Settings
    masks: Mapping[str, Mask]
    mask_names: Mapping[str, str]
    check_inversion: bool

    @classmethod
    def of(
        cls, fields: Sequence[Field], values: Mapping[str, Any], bench: Bench, read: Callable[[Any], Upload]
    ) -> Asked:
        """Read the inputs of a call.

        Args:
            fields: those it takes; the others there are stand at their defaults.
            values: by name of the input, as they came in.
            bench: for the models there are, and the limits.
            read: gives the file that an input names.

        Raises:
            InputError: a file that is not there, or is refused.
            SettingsError: anything else that is missing, out of range, or unknown.
        """
        rest = {name: one.default for name, one in fields_of(bench.models.names).items()}
        given = {one.name: one.read(values.get(one.name)) for one in fields}
        asked = {**rest, **given}
        settings = _settings(asked, bench.options.limits)
        files = {name: read(asked[name]) for name in ("picture", *MASKS) if asked[name] is not None}
        return cls(
            picture=_picture(files.pop("picture"), bench),
            settings=settings,
            masks={name: _mask(name, file) for name, file in files.items()},
            mask_names={name: file.name for name, file in files.items()},
            **{name: asked[name] for name in PLAIN},
        )

    def run(self, bench: Bench, job: Job, **changes: Any) -> EditResult:
        """Edit, with some settings set otherwise. Runs in the device's thread.

        Raises:
            WordbrushError: whatever stops it.
        """
        editor = bench.models.editor(self.model)
        limit = bench.options.limits.session_bytes
        session = editor.open(self.picture, resolution=self.settings.resolution, memory_limit=limit)
        return session.edit(
            self.query,
            self.reference,
            negative=self.negative,
            seed=self.seed,
            settings=self.settings.changed(**changes),
            preset=self.preset,
            check_inversion=self.check_inversion,
            callback=job.on_event,
            **self.masks,
        )


def _settings(asked: Mapping[str, Any], limits: Limits) -> Settings:
    switches = parse_flags(asked["switches"], ())
    for name in SWITCHED:
        if asked[name] is not None:
            if name in switches:
                raise SettingsError(f"{name} is given twice: as an input, and in the further switches")
            switches[name] = asked[name]
    settings = Settings.from_preset(asked["preset"], **switches)
    check_limits(settings, limits)
    return settings


def _picture(file: Upload, bench: Bench) -> Picture:
    limits = bench.options.limits
    try:
        opened = Picture.open(file.data, max_pixels=limits.pixels, max_bytes=limits.file_bytes)
    except PictureError as error:
        raise PictureError(f"{file.name}: {error}") from error
    return dataclasses.replace(opened, name=file.name)


def _mask(name: str, file: Upload) -> Mask:
    try:
        return Mask.open(file.data).rounded()
    except InputError as error:
        raise MaskError(f"{name}: {error}") from error
