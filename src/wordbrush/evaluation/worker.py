"""The worker of a run: one model, one item after the other, a row for each variant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wordbrush.errors import ModelError
from wordbrush.evaluation.examples import keep_example
from wordbrush.evaluation.flops import Costs, tflop
from wordbrush.evaluation.items import Bytes, Outcome, Task, TruthItem, Variant
from wordbrush.evaluation.memory_probe import memory_probe
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.plan import PANELS, Row, RunPlan, find_method, is_peer, settings_of
from wordbrush.evaluation.scoring import Tools, score

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.networks.lpips import Lpips
    from wordbrush.session import Session

__all__ = ["Worker", "load_editor", "open_lpips", "told"]

FREE: Final = Costs(0.0, 0.0, 0.0, 0.0)
"""What a method costs that runs no network; nothing need be counted for it."""


def load_editor(plan: RunPlan) -> Editor:
    """Load the plan's model.

    Raises:
        ModelError: it is not there, or cannot be used.
    """
    from wordbrush.editor import Editor

    return Editor.from_pretrained(plan.model, **plan.load)


class Worker:
    """Runs variants on items.

    Args:
        plan: what runs.
        out: the run's folder, for example pictures.
        editor: the model, where it is loaded already.

    Raises:
        WordbrushError: model, judge or metric weights cannot be used, or a method is unknown.
    """

    def __init__(self, plan: RunPlan, out: Path, editor: Editor | None = None) -> None:
        from wordbrush.evaluation.judge import Judge

        self.plan, self.out = plan, out
        self.editor = editor or load_editor(plan)
        self.variants = {variant.name: variant for variant in plan.variants}
        self.methods = {variant.name: find_method(variant.method) for variant in plan.variants}
        lpips = open_lpips(plan.lpips)
        self.tools = Tools(Judge.load(plan.judge), None if isinstance(lpips, Skipped) else _distance(lpips))
        self._warm: set[str] = set()
        self._costs: dict[tuple[int, int, int | None], Costs] = {}

    def rows(self, item: TruthItem, names: Sequence[str]) -> Iterator[Row]:
        """Yield the row of each named variant on one item; what goes wrong is told in the row."""
        shared: dict[int | None, Session] = {}
        for name in names:
            variant = self.variants[name]
            try:
                outcome = self._outcome(item, variant, shared)
                costs = self._cost(item, settings_of(variant).resolution) if outcome.evaluations else FREE
                found = score(item, outcome, replace(self.tools, costs=costs))
                if variant.tags.get(PANELS):
                    keep_example(self.out, name, item.id, outcome)
                yield Row(item.id, item.kind, name, found)
            except Exception as error:  # whatever a method does wrong, the other rows are worth having
                text = " ".join(f"{type(error).__name__}: {error}".split())
                yield Row(item.id, item.kind, name, error=text[:1000])

    def _cost(self, item: TruthItem, resolution: int | None) -> Costs:
        """Return what the model's parts cost on such a picture, counted once."""
        height, width = item.region.shape
        key = (height, width, resolution)
        if key not in self._costs:
            self._costs[key] = tflop(self.editor, (width, height), resolution=resolution)
        return self._costs[key]

    def _outcome(self, item: TruthItem, variant: Variant, shared: dict[int | None, Session]) -> Outcome:
        """Run one variant; seconds stay null where its session was shared."""
        settings, sharing = settings_of(variant), self.plan.share and not is_peer(variant.method)
        session = shared.get(settings.resolution) if sharing else None
        if session is None:
            session = self.editor.open(item.picture, resolution=settings.resolution)
        if sharing:
            shared[settings.resolution] = session
        reference, query = item.texts[variant.phrasing]
        task = Task(item.picture, query, reference, self.plan.seed, item.region, item.retrieved)
        method = self.methods[variant.name]
        if self.plan.measure_memory and variant.method not in self._warm:
            # What is loaded and compiled at a method's first call is no part of what an edit needs.
            method(self.editor, self.editor.open(item.picture, resolution=settings.resolution), task, settings)
            self._warm.add(variant.method)
        with memory_probe() if self.plan.measure_memory else nullcontext() as probe:
            begin = time.perf_counter()
            made = method(self.editor, session, task, settings)
            taken = time.perf_counter() - begin
        seconds = None if sharing else taken if made.seconds is None else made.seconds
        growth = probe.growth if probe is not None and made.peak_memory is None else made.peak_memory
        return replace(made, seconds=seconds, peak_memory=growth)


def open_lpips(folder: Path | None) -> Lpips | Skipped:
    """Load LPIPS with AlexNet; where no folder is named, return why there is none.

    Raises:
        ModelError: a folder is named that does not hold the weights.
    """
    from wordbrush.evaluation.networks.lpips import load_lpips

    found = load_lpips(folder)
    if folder is not None and isinstance(found, Skipped):
        raise ModelError(f"--lpips: {found.reason}")
    return found


def told(lpips: Lpips | Skipped) -> dict[str, str]:
    """Return which network it is, or why it is skipped; without the place it was read from."""
    if isinstance(lpips, Skipped):
        return {"skipped": lpips.reason}
    card = lpips.card
    return {"backbone": card.backbone, "weights_sha256": card.weights_sha256, "implementation": card.implementation}


def _distance(lpips: Lpips) -> Callable[[Bytes, Bytes], float]:
    return lambda first, second: float(lpips.distances([first], [second])[0])
