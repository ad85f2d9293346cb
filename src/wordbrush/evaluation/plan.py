"""A run on the truth bench: its plan, its rows, and the fingerprint of everything that decides the rows.

A field or argument `bench` is the folder of the truth bench: the items with all that is true of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.diffusion.position import depth_of
from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation.items import KINDS, Kind, Method, Scores, Split, TruthItem, Variant
from wordbrush.evaluation.methods import METHODS
from wordbrush.evaluation.peers import PEERS, told
from wordbrush.evaluation.run_folder import model_facts
from wordbrush.evaluation.scoring import METRICS
from wordbrush.models.checkpoint.digests import digest_files
from wordbrush.settings import DEFAULT_PRESET, Settings

if TYPE_CHECKING:
    from wordbrush.models.model import ModelIdentity

__all__ = [
    "PANELS",
    "Row",
    "Rows",
    "RunPlan",
    "find_method",
    "fingerprint",
    "folder_digest",
    "is_peer",
    "ran",
    "settings_of",
]

PANELS: Final = "panels"
"""A variant with this tag keeps a picture of each outcome, for the report's examples."""


@dataclass(frozen=True)
class RunPlan:
    """Which variants run on which items, and how.

    Attributes:
        variants: the columns; their names are unique.
        bench: folder of the truth bench.
        judge: folder of the judge.
        critic: folder of the critic, or None where there is none: nothing is then said to be clean.
        lpips: folder with LPIPS weights, or None to leave that metric out.
        model: as for `Editor.from_pretrained`.
        load: its keywords: revision, dtype, device, ...
        split: dev or test.
        kinds: which kinds of edits.
        limit: at most this many items a kind.
        seed: of every request.
        workers: processes.
        threads: of torch in each process. The order of a sum depends on it, so that results may differ in their last
            bits; with one thread, and so by default, they are the same for any number of workers.
        share: one session an item serves all variants of our own methods, so that contrast and trajectory are computed
            once; their seconds are then null.
        measure_memory: watch the memory of the process while a method runs.
        only: names of the variants to run now, by default all; rows of others are used where they are there.
    """

    variants: tuple[Variant, ...]
    bench: Path
    judge: Path
    critic: Path | None = None
    lpips: Path | None = None
    model: str = "pocket"
    load: Mapping[str, Any] = field(default_factory=dict)
    split: Split = "dev"
    kinds: tuple[Kind, ...] = KINDS
    limit: int | None = None
    seed: int = 0
    workers: int = 1
    threads: int = 1
    share: bool = False
    measure_memory: bool = False
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise SettingsError(f"variant {twice[0]!r} is there twice" if twice else "a run needs at least one variant")
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise SettingsError(f"unknown variant {unknown[0]!r}: the run has {', '.join(names)}")
        for name in ("workers", "threads"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} {getattr(self, name)} must be at least 1")


@dataclass(frozen=True)
class Row:
    """One variant on one item: its metrics, or why there are none."""

    item: str
    kind: Kind
    variant: str
    metrics: Scores = field(default_factory=dict)
    error: str | None = None

@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a run, by item and then in the plan's order of variants, with its plan, fingerprint and items.

    `notes` are what a user should know of the folder.
    """

    rows: tuple[Row, ...]
    plan: RunPlan
    facts: Mapping[str, Any]
    items: tuple[TruthItem, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows without metrics."""
        return tuple(row for row in self.rows if row.error is not None)


def settings_of(variant: Variant) -> Settings:
    """Return a variant's settings: its own, or its preset's."""
    return variant.settings or Settings.from_preset(variant.preset or DEFAULT_PRESET)


def find_method(name: str) -> Method:
    """Return one of our methods or a peer by name.

    Raises:
        SettingsError: there is none; the message lists the known ones.
    """
    known = {**METHODS, **PEERS}
    if name not in known:
        raise SettingsError(f"unknown method {name!r}: known are {', '.join(METHODS)}; and peers {', '.join(PEERS)}")
    return known[name]


def is_peer(name: str) -> bool:
    """Whether a method is a peer (a pipeline of diffusers), which never shares a session."""
    return name in PEERS


def folder_digest(folder: Path | None) -> str | None:
    """Return one SHA-256 over the files of a folder, or None for no folder.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    if folder is None:
        return None
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise InputError(f"{folder}: this folder is missing or empty")
    return digest_files(files)


def fingerprint(
    plan: RunPlan,
    items: Sequence[TruthItem],
    identity: ModelIdentity,
    lpips: Mapping[str, str],
    guidance: Callable[[Settings], float],
) -> dict[str, Any]:
    """Return everything that decides the rows, as JSON values; the number of workers does not.

    Args:
        plan: what runs.
        items: on what.
        identity: the model.
        lpips: facts of the LPIPS network, or why it is skipped.
        guidance: of the decode under some settings, on the model.
    """
    return {
        **model_facts(identity.as_dict()),
        "bench": {
            "split": plan.split,
            "kinds": [kind for kind in KINDS if kind in plan.kinds],
            "limit": plan.limit,
            "items": len(items),
            "sha256": _items_digest(items),
        },
        "judge": folder_digest(plan.judge),
        "critic": folder_digest(plan.critic),
        "measured": list(METRICS),
        "lpips": lpips,
        "seed": plan.seed,
        "share": plan.share,
        "measure_memory": plan.measure_memory,
        **({"threads": plan.threads} if plan.threads > 1 else {}),
        "variants": [_variant_facts(variant, guidance) for variant in plan.variants],
    }


def ran(facts: Mapping[str, Any]) -> str:
    """Return in words what a variant really ran, from its facts in a fingerprint: depth, steps and guidance."""
    name, settings = facts["method"], facts["settings"]
    if is_peer(name):
        return told(name, settings, facts["guidance"])
    if name in ("copy", "retrieve", "mask"):
        return "nothing is painted"
    steps, depth = settings["steps"], depth_of(settings["ratio"], settings["steps"])
    return f"{depth} of {steps} steps (ratio {depth / steps:.3g}), guidance {facts['guidance']:g}"


def _variant_facts(variant: Variant, guidance: Callable[[Settings], float]) -> dict[str, Any]:
    return {
        "name": variant.name,
        "method": variant.method,
        "preset": variant.preset,
        "phrasing": variant.phrasing,
        "settings": asdict(settings_of(variant)),
        "guidance": guidance(settings_of(variant)),
        "tags": dict(variant.tags),
    }


def _items_digest(items: Sequence[TruthItem]) -> str:
    """Return a SHA-256 over everything the items hold, however they are stored."""
    total = hashlib.sha256()
    for item in items:
        texts = sorted(item.texts.items())
        facts = (item.id, item.kind, texts, _facts(item.before), _facts(item.after), item.ceiling)
        total.update(repr(facts).encode())
        for array in (item.picture, item.counterfactual, item.region, item.retrieved):
            total.update(repr((array.shape, str(array.dtype))).encode())
            total.update(array.tobytes())
    return total.hexdigest()


def _facts(facts: Any) -> tuple[Any, ...]:
    return (sorted((slot, thing.noun, thing.colour) for slot, thing in facts.things.items()), facts.ground, facts.time)
