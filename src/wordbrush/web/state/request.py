"""The request of the page: its controls as one edit for each seed; and a preset or a record as values of the controls.

A control that stands where its preset puts it sets no switch, so a request is as short as the command that repeats it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wordbrush.errors import SettingsError
from wordbrush.notation import edit_command, parse_one_seed, parse_seeds, shell
from wordbrush.record.replay import settings_of
from wordbrush.request import EditRequest
from wordbrush.settings import DEFAULT_PRESET, PRESETS, RULES, Settings
from wordbrush.web.state.flags import SWITCHES, flags_of, parse_flags

if TYPE_CHECKING:
    from wordbrush.models.model import Guidance
    from wordbrush.picture.picture import Picture
    from wordbrush.record.provenance import Provenance
    from wordbrush.region.mask import Mask
    from wordbrush.web.options import Limits

__all__ = ["PageRequest", "check_limits", "command_of", "values_of_preset"]

@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """What a visitor asks for: one edit for each seed.

    Attributes:
        query: what the picture should show.
        reference: what it shows now; may be empty.
        negative: what the repainting is guided away from.
        model: one of the operator's names.
        preset: set of switches to start from.
        switches: those that differ from the preset.
        seeds: of the repainting, at least one.
        contrast_seed: of the noises in which the region is found, whatever the seeds.
        check_inversion: measure the reconstruction error, too.
    """

    query: str
    reference: str = ""
    negative: str = ""
    model: str = "pocket"
    preset: str = DEFAULT_PRESET
    switches: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    contrast_seed: int = 0
    check_inversion: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any], guidance: float, limits: Limits) -> PageRequest:
        """Read the controls.

        Args:
            values: by name: those of `SWITCHES`, and query, reference, negative, model, preset, seeds (as people write
                them: `1,2,5-8`), contrast_seed, flags (further switches as on the command line), check_inversion.
            guidance: the model's own guidance scale, where the control of guidance stands by default.
            limits: most seeds and steps, largest working size.

        Raises:
            SettingsError: a value is out of range; the message says which.
        """
        preset = values["preset"] or DEFAULT_PRESET
        flags = parse_flags(values["flags"] or "")
        at_rest = values_of_preset(preset, guidance, rule=values["rule"])
        controls = {name: _plain(values[name]) for name in SWITCHES}
        seeds = parse_seeds(str(values["seeds"] or "0"))
        if len(seeds) > limits.seeds:
            raise SettingsError(f"{len(seeds)} seeds at once; at most {limits.seeds} here")
        request = cls(
            **{name: (values[name] or "").strip() for name in ("query", "reference", "negative")},
            model=values["model"],
            preset=preset,
            switches=flags | {name: value for name, value in controls.items() if value != at_rest[name]},
            seeds=seeds,
            contrast_seed=parse_one_seed(str(_plain(values["contrast_seed"] or 0))),
            check_inversion=bool(values["check_inversion"]),
        )
        check_limits(request.settings, limits)
        return request

    @classmethod
    def of_record(cls, record: Provenance, models: Sequence[str], resolution_of: Callable[[str], int]) -> PageRequest:
        """Return the request that a record tells of.

        Args:
            record: found in a picture file.
            models: those there are; another one's place is taken by the first.
            resolution_of: gives a model's own working size; a record always names one.

        Raises:
            ProvenanceError: its settings are not those of this program.
        """
        model = record.model["source"] if record.model["source"] in models else models[0]
        preset = record.preset if record.preset and record.preset in PRESETS else DEFAULT_PRESET
        settings = settings_of(record)
        contrast_seed = settings.seed_of_contrast(record.seed)
        if settings.resolution == resolution_of(model):
            settings = settings.changed(resolution=None)
        settings, plain = settings.changed(contrast_seed=None), Settings.from_preset(preset)
        names = [item.name for item in dataclasses.fields(Settings)]
        return cls(
            query=record.query,
            reference=record.reference,
            negative=record.negative,
            model=model,
            preset=preset,
            switches={n: getattr(settings, n) for n in names if getattr(settings, n) != getattr(plain, n)},
            seeds=(record.seed,),
            contrast_seed=contrast_seed,
        )

    def suiting(self, policy: Guidance) -> PageRequest:
        """Return the request without the guidance and the negative text that a model refuses."""
        refused = {"guidance"} if policy.kind == "none" else set[str]()
        switches = {name: value for name, value in self.switches.items() if name not in refused}
        return dataclasses.replace(self, switches=switches, negative=self.negative if policy.kind == "cfg" else "")

    def controls(self, guidance: float) -> dict[str, Any]:
        """Return where the controls stand for this request, by the names `of` takes."""
        values = values_of_preset(self.preset, guidance, rule=self.switches.get("rule"))
        values |= {n: v for n, v in self.switches.items() if n in SWITCHES and v is not None}
        return {
            **values,
            **{name: getattr(self, name) for name in ("query", "reference", "negative", "model", "preset")},
            "seeds": ",".join(str(seed) for seed in self.seeds),
            "contrast_seed": str(self.contrast_seed),
            "flags": flags_of(self.preset, self.settings),
            "check_inversion": self.check_inversion,
        }

    @property
    def region_key(self) -> tuple[Any, ...]:
        """What determines the region, beside the picture, the brush strokes and the user's own mask."""
        return (self.query, self.reference, self.model, self.contrast_seed, self.settings)

    @cached_property
    def settings(self) -> Settings:
        """All switches, for finding the region.

        Raises:
            SettingsError: a value out of range.
        """
        return Settings.from_preset(self.preset, **self.switches)

    def settings_for(self, seed: int) -> Settings:
        """Return all switches for painting with one seed on the region that was found with `contrast_seed`."""
        return self.settings.changed(contrast_seed=None if seed == self.contrast_seed else self.contrast_seed)

    def edits(self, picture: Picture, **masks: Mask | None) -> Iterator[EditRequest]:
        """Yield one edit of a picture for each seed; the reconstruction error, if asked for, is measured in the first.

        Args:
            picture: it.
            masks: by the names of `record.replay.MASKS`.
        """
        for seed in self.seeds:
            yield EditRequest(
                picture=picture,
                query=self.query,
                reference=self.reference,
                negative=self.negative,
                seed=seed,
                settings=self.settings_for(seed),
                check_inversion=self.check_inversion and seed == self.seeds[0],
                **masks,
            )

    def check(self, *, own_mask: bool = False) -> None:
        """Refuse what cannot be carried out.

        Raises:
            SettingsError: no query, equal texts (but for an own mask), or several seeds that would paint one and the
                same picture.
        """
        if not self.query:
            raise SettingsError("write what the picture should show")
        if self.query == self.reference and not own_mask:
            raise SettingsError("both texts are the same, so there is no region they disagree about")
        if len(self.seeds) > 1 and self.settings.eta == 0:
            raise SettingsError("with variation 0 every seed paints the same picture: raise it, or give one seed")


def check_limits(settings: Settings, limits: Limits) -> None:
    """Refuse settings that would take a shared server too long or too much memory.

    Raises:
        SettingsError: more steps, or a larger working size, than the operator allows.
    """
    if settings.steps > limits.steps:
        raise SettingsError(f"{settings.steps} steps; at most {limits.steps} here")
    if (settings.resolution or 0) > limits.resolution:
        raise SettingsError(f"resolution {settings.resolution}; at most {limits.resolution} here")


def values_of_preset(preset: str, guidance: float, rule: str | None = None) -> dict[str, Any]:
    """Return where a preset puts the controls of `SWITCHES`.

    Args:
        preset: its name.
        guidance: the model's own guidance scale.
        rule: a threshold rule other than the preset's, whose number is then the rule's own default.

    Raises:
        SettingsError: unknown preset or rule.
    """
    plain = Settings.from_preset(preset)
    settings = plain if rule in {None, plain.rule} else Settings.from_preset(preset, rule=rule)
    values = {name: getattr(settings, name) for name in SWITCHES} | {"rule": plain.rule}
    if values["threshold"] is None:
        values["threshold"] = RULES[settings.rule].default
    if values["guidance"] is None:
        values["guidance"] = guidance
    return values


def _plain(value: Any) -> Any:
    """Return a whole float as an int: sliders give 3 as 3.0 or 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def command_of(
    request: EditRequest, *, preset: str, model: Mapping[str, Any], output: str, masks: Mapping[str, str]
) -> str:
    """Return the command that makes the very same file as an edit, as one line for a shell.

    Args:
        request: the edit, of an opened picture and with settings.
        preset: set of switches it started from.
        model: what a command says of the model, see `Models.flags`.
        output: name of the file.
        masks: names of the mask files, by `record.replay.MASKS`, where there are any.
    """
    words = edit_command(
        picture=request.picture.name or "picture.png",
        query=request.query,
        reference=request.reference,
        negative=request.negative,
        seed=request.seed,
        preset=preset,
        settings=request.settings or Settings(),
        output=output,
        **{**model, **masks},
    )
    return shell(words)
