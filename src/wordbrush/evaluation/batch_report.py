"""The report of a batch: its contact sheet, what failed, and figures where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.kept import Kept
from wordbrush.batch.ledger import ErrorGroup, Ledger, State
from wordbrush.batch.sheet import write_sheet
from wordbrush.errors import InputError, OutputError, SettingsError
from wordbrush.evaluation.batch_scores import Networks, Scores, TruthScorer, has_column
from wordbrush.evaluation.run_folder import is_evaluation

__all__ = ["SCORES", "BatchReport", "batch_report"]

SCORES: Final = "scores"
"""Under which name the ledger keeps an item's figures, in `result`."""


@dataclass(frozen=True)
class BatchReport:
    """What a report says.

    Attributes:
        page: its first page.
        counts: items by state.
        errors: failures by type, the most frequent first.
        figures: against the truth, see `TruthScorer.as_dict`.
        notes: what else a user should know.
    """

    page: Path
    counts: Mapping[State, int]
    errors: tuple[ErrorGroup, ...]
    figures: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        errors = [
            {"type": group.kind, "count": group.count, "example": group.example, "name": group.name}
            for group in self.errors
        ]
        told = {"page": str(self.page), "items": dict(self.counts), "errors": errors, "figures": self.figures}
        return {"schema": 1, "command": "batch report", **told, "notes": list(self.notes)}


class _Keeper:
    """Writes figures into the ledger, unless another process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger: Ledger | None = None
        self.notes: list[str] = []

    def __call__(self, key: str, scores: Scores) -> None:
        if self.notes:
            return
        try:
            self.ledger = self.ledger or Ledger.open(self.folder)
        except OutputError as error:
            self.notes.append(f"the ledger does not keep the figures: {error}")
            return
        self.ledger.keep(key, SCORES, scores)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()


def batch_report(
    folder: str | Path,
    *,
    by: str | None = None,
    all_runs: bool = False,
    lpips: str | Path | None = None,
    clip: str | Path | None = None,
) -> BatchReport:
    """Write the report of a batch into its folder: `report.html`, and `sheet/`; an older one is replaced.

    Items are measured whose rows had a column `truth` or `truth_mask`; the ledger keeps the figures of each, as
    `scores` in its `result`.

    Args:
        folder: of a batch, which may still be running.
        by: a column of the manifest, or a setting such as `ratio`, by whose values figures are grouped.
        all_runs: show what only earlier runs asked for, too; by default the last run's items.
        lpips: a folder with the weights of LPIPS, see `load_lpips`.
        clip: a folder or hub id of CLIP.

    Raises:
        InputError: no batch was run into the folder, or an evaluation was, or weights are not there.
        SettingsError: no item has the column `by`.
        OutputError: the folder cannot be written.
    """
    networks, keeper = Networks.load(lpips, clip), _Keeper(Path(folder))
    scorer = TruthScorer(networks, by, keeper)
    with Ledger.open(folder, read_only=True) as ledger:
        if any(map(is_evaluation, ledger.runs())):
            raise InputError(f"{folder}: this is an evaluation's folder; its report is made by the command that ran it")
        run = None if all_runs else ledger.run
        if by is not None and not any(has_column(Kept(ledger.folder, row), by) for row in ledger.rows(run)):
            raise SettingsError(f"--by {by!r}: no item has a column or a setting of this name")
        counts, errors = ledger.counts(run), tuple(ledger.errors(run))
        try:
            page = write_sheet(ledger, run=run, scorer=scorer)
        finally:
            keeper.close()
    return BatchReport(page, counts, errors, scorer.as_dict(), tuple(keeper.notes))
