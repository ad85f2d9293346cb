"""The request in a call of the API, read and checked: what can be refused is refused before the device is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wordbrush.errors import InputError, MaskError, PictureError, SettingsError
from wordbrush.picture.picture import Picture
from wordbrush.record.replay import MASKS
from wordbrush.region.mask import Mask
from wordbrush.region.suited import suited
from wordbrush.request import EditRequest
from wordbrush.settings import Settings
from wordbrush.web.api.fields import Field, fields_of
from wordbrush.web.state.flags import parse_flags
from wordbrush.web.state.request import check_limits

if TYPE_CHECKING:
    from wordbrush.web.gate.uploads import Upload
    from wordbrush.web.options import Limits

__all__ = ["SWITCHED", "CallRequest"]

SWITCHED = ("ratio", "guidance", "steps", "threshold")
"""Switches that are inputs of their own."""

PLAIN = ("query", "reference", "negative", "seed", "check_inversion")
"""Inputs that go into the request as they are."""


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """The edit that a call asks for.

    Attributes:
        edit: it, with all settings; its picture is under the name the sender gave it.
        model: one of the operator's names.
        preset: the set of switches it started from.
        mask_names: what the sender calls the files of the masks, by `MASKS`.
    """

    edit: EditRequest
    model: str
    preset: str
    mask_names: Mapping[str, str]

    @classmethod
    def of(
        cls,
        fields: Sequence[Field],
        values: Mapping[str, Any],
        models: Sequence[str],
        limits: Limits,
        read: Callable[[Any], Upload],
    ) -> CallRequest:
        """Read the inputs of a call.

        Args:
            fields: those it takes; the others there are stand at their defaults.
            values: by name of the input, as they came in.
            models: names of those there are.
            limits: of files, pixels, steps and the working size.
            read: gives the file that an input names.

        Raises:
            InputError: a file that is not there, or is refused.
            SettingsError: anything else that is missing, out of range, or unknown.
        """
        inputs = {name: one.default for name, one in fields_of(models).items()}
        inputs |= {one.name: one.read(values.get(one.name)) for one in fields}
        settings = _settings(inputs, limits)
        files = {name: read(inputs[name]) for name in ("picture", *MASKS) if inputs[name] is not None}
        picture = _picture(files.pop("picture"), limits)
        parts: dict[str, Any] = {name: inputs[name] for name in PLAIN}
        parts |= suited({name: _mask(name, file) for name, file in files.items()}, picture)
        edit = EditRequest(picture=picture, settings=settings, **parts)
        mask_names = {name: file.name for name, file in files.items()}
        return cls(edit=edit, model=inputs["model"], preset=inputs["preset"], mask_names=mask_names)


def _settings(inputs: Mapping[str, Any], limits: Limits) -> Settings:
    switches = parse_flags(inputs["switches"], ())
    for name in SWITCHED:
        if inputs[name] is not None:
            if name in switches:
                raise SettingsError(f"{name} is given twice: as an input, and in the further switches")
            switches[name] = inputs[name]
    settings = Settings.from_preset(inputs["preset"], **switches)
    check_limits(settings, limits)
    return settings


def _picture(file: Upload, limits: Limits) -> Picture:
    try:
        picture = Picture.open(file.data, max_pixels=limits.pixels, max_bytes=limits.file_bytes)
    except PictureError as error:
        raise PictureError(f"{file.name}: {error}") from error
    return dataclasses.replace(picture, name=file.name)


def _mask(name: str, file: Upload) -> Mask:
    try:
        return Mask.open(file.data).rounded()
    except InputError as error:
        raise MaskError(f"{name}: {error}") from error
