"""What a session keeps is renewed exactly when a switch that determines it changes: every switch is changed in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from tests.support import toy
from wordbrush.diffusion.ask import Key
from wordbrush.engine.store import Store
from wordbrush.result import EditResult
from wordbrush.session import Session
from wordbrush.settings import Settings

BASE = Settings(
    solver="ddim",
    spacing="model",
    inversion_stride=1,
    steps=8,
    ratio=0.75,
    maps=4,
    strength=(0.5,),
    guidance=2.0,
    contrast_seed=3,
    inversion_text="reference",  # guided away from the empty text, the empty text itself is never anything else
    inversion_guidance=2.0,
)
BASES = {
    "first order": BASE,
    "second order, on the grid": BASE.changed(solver="dpm2m", strength_axis="grid"),
    "evenly, in strides": BASE.changed(solver="dpm2m", spacing="even", inversion_stride=2),
    "several strengths": BASE.changed(strength=(0.4, 0.5, 0.6), antithetic=True, inversion_label="source"),
}
NUMBERS: dict[str, Any] = {
    "maps": 5,
    "strength": (0.7,),
    "contrast_seed": 4,
    "threshold": 0.3,
    "clip": 2.0,
    "drop_specks": 3,
    "grow": 1,
    "feather": 1.0,
    "steps": 12,
    "ratio": 0.5,
    "inversion_guidance": 3.0,
    "fixed_point": 1,
    "inversion_stride": 3,
    "guidance": 3.0,
    "guidance_low": 0.5,
    "guidance_high": 0.5,
    "guidance_every": 3,
    "eta": 0.5,
    "clip_skip": 1,
}
PICTURE = (64 + np.random.default_rng(0).integers(-12, 13, (32, 32, 3))).astype(np.uint8)
HINTS = get_type_hints(Settings)


class Watched(Store):
    """A store that remembers what was made for it, and what it was asked for and had."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.made: dict[Key, Any] = {}
        self.served: set[Key] = set()

    def get(self, key: Key) -> Any | None:
        """See `Store`."""
        value = super().get(key)
        if value is not None:
            self.served.add(key)
        return value

    def put(self, key: Key, value: Any) -> None:
        """See `Store`."""
        self.made[key] = value
        super().put(key, value)


ALL = {"contrast", "reference", "trajectory"}


def kinds(keys: Iterable[Key]) -> set[str]:
    return {str(key[0]) for key in keys} & ALL


def session() -> Session:
    opened = toy.editor().open(PICTURE)
    opened.store = Watched()
    return opened


def edit(opened: Session, settings: Settings) -> EditResult:
    result: EditResult = opened.edit("dark left, light right", "grey left, dark right", seed=1, settings=settings)
    return result


def others(name: str, settings: Settings) -> list[Any]:
    """Other values of a switch."""
    value, hint = getattr(settings, name), HINTS[name]
    if hint is bool:
        return [not value]
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if choice != value]
    return [NUMBERS[name]] if name in NUMBERS else [1 if value != 1 else 2]


def values_of(opened: Session, settings: Settings) -> dict[str, Any]:
    """The raw contrast, the reference's half of it, and the path, made from nothing."""
    store = opened.store = Watched()
    raw = opened.contrast("dark left, light right", "grey left, dark right", seed=1, settings=settings).raw
    path = opened.trajectory("grey left, dark right", settings=settings)
    (half,) = (value for key, value in store.made.items() if key[0] == "reference")
    return {"contrast": raw, "reference": half, "trajectory": path}


@cache
def values_of_base(base: str) -> dict[str, Any]:
    return values_of(session(), BASES[base])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(np.array_equal(one, other))


CASES = [(base, f.name) for base in BASES for f in fields(Settings) if f.name not in {"resolution", "encoding"}]


@pytest.mark.parametrize(("base", "name"), CASES)
def test_a_changed_switch_renews_what_it_determines_and_nothing_else(base: str, name: str) -> None:
    """Kept values that would come out otherwise must be made again; those that would not must be served."""
    start = BASES[base]
    for value in others(name, start):
        if name == "fixed_point" and start.solver != "ddim":
            continue
        if name == "ratio_axis" and start.spacing == "even":
            continue  # it decides the levels, but of the toy, whose own time is the axis, the same ones
        if name == "rule":
            changed = start.changed(rule=value, threshold=None)
        elif name == "solver" and value != "ddim":
            changed = start.changed(solver=value, fixed_point=0)
        else:
            changed = start.changed(**{name: value})
        opened = session()
        edit(opened, start)
        store = opened.store
        assert isinstance(store, Watched)
        store.made.clear()
        store.served.clear()
        result = edit(opened, changed)
        made, served = kinds(store.made), kinds(store.served)
        before, after = values_of_base(base), values_of(session(), changed)
        stale = {kind for kind in before if not same(before[kind], after[kind])}
        if name == "ratio":  # a shallower path is the beginning of the kept one
            stale = set()
            assert same(before["trajectory"][: len(after["trajectory"])], after["trajectory"])
        if name == "clip_skip":  # the toy has no layers to leave out: the key must tell them apart all the same
            stale = set(ALL)
        if name in {"strength_axis", "ratio_axis"}:
            stale -= {"trajectory"}  # cut elsewhere, the path is the same
        if name == "strength_axis" and not stale:
            stale |= made & {"contrast", "reference"}  # two axes may name the same level; made again, it is never wrong
        assert made == stale, (value, made, stale)
        unserved = {"trajectory"} if result.mask.is_empty or name == "sparse" else set()  # a sparse edit walks its own
        needed = ALL if "contrast" in made else ALL - {"reference"}
        assert needed - made <= served | unserved
