"""The folder of an evaluation: a ledger whose rows were all made under the same settings, so that they belong together.

What is done with each row is an item function of the batch's engine, which resumes, tries again and shares rows among
processes (`wordbrush.batch`). Results that were written as JSON lines, before evaluations had ledgers, are entered into
the ledger when their folder is opened.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wordbrush.batch.ledger import Checks, Entry, Ledger
from wordbrush.batch.names import safe_name
from wordbrush.batch.runner import Progress, run_rows
from wordbrush.batch.work import COLUMNS, EngineOptions, ItemWork, done
from wordbrush.errors import InputError, OutputError

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["RunFolder", "differences", "earlier_rows", "entry_of", "is_evaluation", "model_facts", "open_run"]

JOURNAL: Final = 1
"""The version in the first line of a file of results in JSON lines."""


@dataclass(frozen=True)
class RunFolder:
    """The ledger of an evaluation, open for writing.

    Attributes:
        ledger: of all rows, those of earlier runs too.
        facts: everything that decides the rows, JSON values.
    """

    ledger: Ledger
    facts: Mapping[str, Any]

    def run(
        self,
        work: ItemWork,
        entries: Iterable[Entry],
        *,
        editor: Editor | None = None,
        workers: int = 1,
        threads: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Run the entries that are not done yet, those that failed before, and those whose files are gone.

        Args:
            work: what is done with each.
            entries: in order.
            editor: the model, for work in this process; worker processes load their own.
            workers: processes.
            threads: of torch in each; None leaves its own number.
            on_progress: called once at the beginning and after every row.

        Raises:
            Cancelled: Ctrl-C was pressed.
            OutputError: a row cannot be written.
            WordbrushError: one of `work.fatal`, or the work cannot be opened.
        """
        run_rows(
            self.ledger,
            work,
            entries,
            EngineOptions(folder=self.ledger.folder, workers=workers, threads=threads, editor=editor),
            command={"facts": self.facts},
            checks=Checks(current=self._is_whole),
            retry_failed=True,
            on_progress=on_progress,
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows that are done or failed, by key: item, columns and what the work told as one mapping."""
        return {
            row["key"]: {**row["item"], **{name: row[name] for name in COLUMNS}, **(row["result"] or {})}
            for row in self.ledger.rows()
            if row["state"] in ("done", "failed")
        }

    def _is_whole(self, row: Mapping[str, Any], _: Entry) -> bool:
        """Whether the files that a row names exist."""
        names = (row["output"], row["result"].get("mask"))
        return all((self.ledger.folder / name).is_file() for name in names if name)


@contextmanager
def open_run(folder: Path, facts: Mapping[str, Any], earlier: str, *, force: bool = False) -> Iterator[RunFolder]:
    """Start an evaluation in a folder, or go on with one that was started under the same settings.

    Args:
        folder: it is made if need be.
        facts: whatever must be the same for the rows to belong together; JSON values.
        earlier: file in which earlier versions kept the rows. What it has is entered into the ledger once.
        force: start again from nothing.

    Raises:
        OutputError: the folder cannot be written, another process is writing there, or its rows were made under other
            settings and `force` is false.
        InputError: the folder holds a batch, or a file there is not what it should be.
    """
    plain = json.loads(json.dumps(facts, allow_nan=False))
    with Ledger.open(folder) as ledger:
        runs = ledger.runs()
        if not all(map(is_evaluation, runs)):
            raise InputError(f"{folder}: a batch was run into this folder; choose another one")
        if force:
            (folder / earlier).unlink(missing_ok=True)
            ledger.clear()
        elif runs:
            _check_facts(folder, runs[-1]["command"]["facts"], plain)
        if not any(run["ended"] for run in ledger.runs()):
            _take_over(ledger, folder / earlier, plain)
        yield RunFolder(ledger, facts)


def is_evaluation(run: Mapping[str, Any]) -> bool:
    """Whether a run of a ledger is an evaluation's."""
    return "facts" in run["command"]


def entry_of(key: str, number: int, item: Mapping[str, Any], group: str | None = None) -> Entry:
    """Return an entry of a ledger; without a group it is one of its own."""
    return Entry(key=key, number=number, name=safe_name(key), group=group or key, item=item)


def model_facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the version and the model's identity, which all rows of a run share; not the device."""
    names = ("name", "family", "sha256", "parametrisation", "dtype", "loras")
    return {"version": importlib.metadata.version("wordbrush"), "model": {name: identity[name] for name in names}}


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Name what differs between two JSON values, such as `settings.steps: 50 -> 20`."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for key in sorted({*old, *new}):
            name = f"{where}.{key}" if where else str(key)
            changes += differences(old.get(key), new.get(key), name)
        return changes
    return [] if old == new else [f"{where or 'value'}: {_brief(old)} -> {_brief(new)}"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _check_facts(place: Path, old: Any, new: Any) -> None:
    changed = differences(old, new)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise OutputError(
            f"{place}: the results there were made under other settings ({'; '.join(changed[:3])}{more}); "
            "choose another folder, or start again (--force)"
        )


def _take_over(ledger: Ledger, path: Path, facts: Mapping[str, Any]) -> None:
    """Enter what a file of results has, as a run of its own; rows that failed there are left to be tried again."""
    rows = {name: row for name, row in earlier_rows(path, facts).items() if row.pop("error", None) is None}
    if not rows:
        return
    ledger.begin({"facts": facts, "from": path.name}, importlib.metadata.version("wordbrush"))
    ledger.add(entry_of(name, number, {}) for number, name in enumerate(rows, start=1))
    for name, row in rows.items():
        ledger.finish(done({"key": name}, **{"output": row.get("edited"), **row}))
    ledger.end(0.0)


def earlier_rows(path: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows, by id, of a file of results in JSON lines; none where there is no such file.

    The first line tells the settings. A line counts once its newline is there; of lines with the same id the last
    counts.

    Raises:
        OutputError: the rows were made under other settings than `facts`.
        InputError: the file holds no results, or a line of it is broken.
    """
    if not path.is_file():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1].splitlines()
    head, *rows = [_parsed(line, path, number) for number, line in enumerate(whole, start=1)] or [{}]
    if whole and head.get("journal") != JOURNAL:
        raise InputError(f"{path}: this is not a file of results; choose another folder (or --force)")
    if whole:
        _check_facts(path, head.get("settings"), facts)
    return {row.pop("id"): row for row in rows}


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or (number > 1 and not isinstance(value.get("id"), str)):
        raise InputError(f"{path}: line {number} is no result; remove it, or start again (--force)")
    return value
