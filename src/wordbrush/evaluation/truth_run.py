"""Run the truth bench: each variant edits each item, and each outcome is scored against the item's truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.batch.entry import Entry
from wordbrush.batch.runner import Progress
from wordbrush.batch.work import ItemWork
from wordbrush.editor import Editor
from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation.critic import Critic
from wordbrush.evaluation.examples import keep_example
from wordbrush.evaluation.flops import Costs, tflop
from wordbrush.evaluation.items import Bytes, MethodRequest, Outcome, TruthItem, Variant
from wordbrush.evaluation.judge import Judge
from wordbrush.evaluation.memory_probe import memory_probe
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.networks.lpips import load_lpips
from wordbrush.evaluation.plan import PANELS, Row, Rows, RunPlan, find_method, fingerprint, is_peer, settings_of
from wordbrush.evaluation.run_folder import entry_of, open_run
from wordbrush.evaluation.scoring import Tools, score
from wordbrush.evaluation.truth import load_truth
from wordbrush.files import make_folder

if TYPE_CHECKING:
    from wordbrush.evaluation.networks.lpips import Lpips
    from wordbrush.session import Session

__all__ = ["EARLIER", "run_truth"]

EARLIER: Final = "rows.jsonl"
"""The file of rows that earlier versions wrote in place of the ledger."""

FREE: Final = Costs(0.0, 0.0, 0.0, 0.0)
"""The costs of a method that runs no network."""


def run_truth(
    plan: RunPlan, out: Path, on_progress: Callable[[Progress], None] | None = None, *, force: bool = False
) -> Rows:
    """Run a plan, or the rows of it that are missing.

    Args:
        plan: the variants and items. Rows of another plan are never mixed in.
        out: folder for the ledger and the example pictures; it is made if need be.
        on_progress: called once at the beginning and after every row.
        force: forget what is there and start anew.

    Returns:
        All rows of the plan that are there: by item, and in the plan's order of variants. Its plan has only variants
        with rows.

    Raises:
        OutputError: `out` cannot be written, is in use, or holds rows of another plan and `force` is off.
        InputError: the truth bench has no such items.
        WordbrushError: model, judge or metric weights cannot be used, or a method is unknown.
    """
    for variant in plan.variants:
        find_method(variant.method)
    items = _load_items(plan)
    if not items:
        raise InputError(f"{plan.bench}: no items of split {plan.split} and kinds {', '.join(plan.kinds)}")
    make_folder(out)  # what cannot be written is told before the model is loaded
    editor = _load_editor(plan)
    facts = fingerprint(plan, items, editor.model.identity, _lpips_facts(_open_lpips(plan.lpips)), editor.guidance)
    with open_run(out, facts, EARLIER, force=force) as run:
        entries = _entries(items, plan.only or tuple(variant.name for variant in plan.variants))
        run.run(
            TruthWork(plan, out),
            entries,
            editor=editor,
            workers=plan.workers,
            threads=plan.threads,
            on_progress=on_progress,
        )
        found, notes = run.rows(), tuple(run.ledger.notes)
    rows = [
        Row(item.id, item.kind, variant.name, row.get("metrics", {}), row["error"])
        for item in items
        for variant in plan.variants
        if (row := found.get(_key(item.id, variant.name))) is not None
    ]
    there = {row.variant for row in rows}
    have = tuple(variant for variant in plan.variants if variant.name in there)
    return Rows(tuple(rows), replace(plan, variants=have, only=()), facts, items, notes)


def _key(item: str, variant: str) -> str:
    return f"{item} {variant}"


def _entries(items: Sequence[TruthItem], variants: Sequence[str]) -> Iterator[Entry]:
    """Yield an entry for each variant of each item; those of an item are a group."""
    pairs = ((item.id, variant) for item in items for variant in variants)
    for number, (item, variant) in enumerate(pairs, start=1):
        yield entry_of(_key(item, variant), number, {"item": item, "variant": variant}, group=item)


@dataclass(frozen=True)
class TruthWork(ItemWork):
    """The item function of a plan: one variant on one item; example pictures go to `out`."""

    plan: RunPlan
    out: Path

    @property
    def ahead(self) -> int:
        """So many rows that each worker finds an item of its own, whose session all variants then share."""
        return len(self.plan.variants) if self.plan.share else super().ahead

    def start(self, editor: Editor | None) -> Callable[[Any], Mapping[str, Any]]:
        """Load the items, the model, the judge, the critic and LPIPS."""
        return _Worker(self.plan, self.out, editor or _load_editor(self.plan)).row


class _Worker:
    """Edits and scores items one after the other, with a model, judge, critic and LPIPS that are loaded once."""

    def __init__(self, plan: RunPlan, out: Path, editor: Editor) -> None:
        self.plan, self.out, self.editor = plan, out, editor
        self.items = {item.id: item for item in _load_items(plan)}
        self.variants = {variant.name: variant for variant in plan.variants}
        lpips = _open_lpips(plan.lpips)
        self.tools = Tools(
            Judge.load(plan.judge),
            _open_critic(plan.critic),
            None if isinstance(lpips, Skipped) else _distance(lpips),
        )
        self._warm: set[str] = set()
        self._costs: dict[tuple[int, int, int | None], Costs] = {}
        self._shared: tuple[str, dict[int | None, Session]] = ("", {})

    def row(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return the metrics of one variant on one item."""
        item, variant = self.items[asked["item"]], self.variants[asked["variant"]]
        outcome = self._outcome(item, variant)
        costs = self._cost(item, settings_of(variant).resolution) if outcome.evaluations else FREE
        scores = score(item, outcome, replace(self.tools, costs=costs))
        if variant.tags.get(PANELS):
            keep_example(self.out, variant.name, item.id, outcome)
        return {"evaluations": outcome.evaluations, "metrics": scores}

    def _cost(self, item: TruthItem, resolution: int | None) -> Costs:
        """Return the costs of the model's parts on a picture of the item's size, counted once a size."""
        height, width = item.region.shape
        key = (height, width, resolution)
        if key not in self._costs:
            self._costs[key] = tflop(self.editor, (width, height), resolution=resolution)
        return self._costs[key]

    def _session(self, item: TruthItem, resolution: int | None, *, sharing: bool) -> Session:
        if not sharing:
            return self.editor.open(item.picture, resolution=resolution)
        if self._shared[0] != item.id:
            self._shared = (item.id, {})
        sessions = self._shared[1]
        if resolution not in sessions:
            sessions[resolution] = self.editor.open(item.picture, resolution=resolution)
        return sessions[resolution]

    def _outcome(self, item: TruthItem, variant: Variant) -> Outcome:
        """Run one variant; `seconds` is None where its session was shared."""
        settings, sharing = settings_of(variant), self.plan.share and not is_peer(variant.method)
        session = self._session(item, settings.resolution, sharing=sharing)
        reference, query = item.texts[variant.phrasing]
        request = MethodRequest(item.picture, query, reference, self.plan.seed, item.region, item.retrieved)
        method = find_method(variant.method)
        if self.plan.measure_memory and variant.method not in self._warm:
            # What is loaded and compiled at a method's first call is no part of what an edit needs.
            method(self.editor, self._session(item, settings.resolution, sharing=False), request, settings)
            self._warm.add(variant.method)
        with memory_probe() if self.plan.measure_memory else nullcontext() as probe:
            begin = time.perf_counter()
            outcome = method(self.editor, session, request, settings)
            taken = time.perf_counter() - begin
        seconds = None if sharing else taken if outcome.seconds is None else outcome.seconds
        growth = probe.growth if probe is not None and outcome.peak_memory is None else outcome.peak_memory
        return replace(outcome, seconds=seconds, peak_memory=growth)


def _load_items(plan: RunPlan) -> tuple[TruthItem, ...]:
    return tuple(sorted(load_truth(plan.bench, plan.split, plan.kinds, plan.limit), key=lambda item: item.id))


def _load_editor(plan: RunPlan) -> Editor:
    return Editor.from_pretrained(plan.model, **plan.load)


def _open_critic(folder: Path | None) -> Critic | None:
    return None if folder is None else Critic.load(folder)


def _open_lpips(folder: Path | None) -> Lpips | Skipped:
    """Load LPIPS with AlexNet; where no folder is named, return why there is none.

    Raises:
        ModelError: a folder is named that does not hold the weights.
    """
    lpips = load_lpips(folder)
    if folder is not None and isinstance(lpips, Skipped):
        raise ModelError(f"--lpips: {lpips.reason}")
    return lpips


def _lpips_facts(lpips: Lpips | Skipped) -> dict[str, str]:
    """Return the identity of LPIPS without its source, or why it is skipped."""
    if isinstance(lpips, Skipped):
        return {"skipped": lpips.reason}
    card = lpips.card
    return {"backbone": card.backbone, "weights_sha256": card.weights_sha256, "implementation": card.implementation}


def _distance(lpips: Lpips) -> Callable[[Bytes, Bytes], float]:
    return lambda first, second: float(lpips.distances([first], [second])[0])
