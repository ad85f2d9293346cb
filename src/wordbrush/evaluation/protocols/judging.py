"""The truth bench's judge as a measure of generated pictures and their edits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wordbrush.errors import InputError
from wordbrush.evaluation.items import Phrasing, Scores, TruthItem
from wordbrush.evaluation.judge import Judge, verdict
from wordbrush.evaluation.networks.figures import Skipped
from wordbrush.evaluation.plan import folder_digest
from wordbrush.evaluation.protocols.measuring import Measure, Pair
from wordbrush.evaluation.truth import default_bench, facts_from_json

if TYPE_CHECKING:
    from wordbrush.evaluation.items import Facts

__all__ = ["JUDGE_COLUMNS", "find_judge", "judge_measure"]

JUDGE_COLUMNS = ("input_right", "success", "kept", "faithful", "success_given")


def find_judge(folder: Path | None = None) -> Measure | Skipped:
    """Return the judge's measure, or why there is none.

    Args:
        folder: of the judge; by default the `judge` folder of the repository's truth bench.

    Raises:
        ModelError: there is a judge, but it cannot be used.
    """
    try:
        place = folder or default_bench() / "judge"
    except InputError as error:
        return Skipped("judge", str(error))
    if not (place / "config.json").is_file():
        return Skipped("judge", f"{place}: no judge is here")
    return judge_measure(Judge.load(place), place)


def judge_measure(judge: Judge, folder: Path) -> Measure:
    """Return the measure of the judge's verdicts on generated pictures and on their edits.

    `input_right` says whether the generated picture shows its text at all. `success`, `kept` and `faithful` are the
    edit's `Verdict`; `success_given` is the success of edits of pictures that were right.

    Args:
        judge: the judge.
        folder: its files, for the record.
    """
    def compute(pair: Pair) -> Scores:
        if "after" not in pair.entry.facts:
            return dict.fromkeys(JUDGE_COLUMNS)
        before, after = (facts_from_json(pair.entry.facts[key]) for key in ("before", "after"))
        seen_before, seen_after = judge.look([pair.source, pair.edited])
        right = verdict(seen_before, _item(pair, before, before)).kept
        edit = verdict(seen_after, _item(pair, before, after))
        values = (right, edit.success, edit.kept, edit.faithful, edit.success if right else None)
        return dict(zip(JUDGE_COLUMNS, values, strict=True))

    return Measure("judge", JUDGE_COLUMNS, compute, facts={"judge_sha256": folder_digest(folder)})


def _item(pair: Pair, before: Facts, after: Facts) -> TruthItem:
    """Return the entry as an item of the truth bench; the judge uses only its facts."""
    nothing = np.zeros(pair.source.shape[:2], dtype=np.bool_)
    texts: dict[Phrasing, tuple[str, str]] = {"captions": (pair.entry.reference, pair.entry.query)}
    return TruthItem(
        pair.entry.id, "dev", "object", pair.source, pair.source, nothing, pair.source, texts, before, after
    )
