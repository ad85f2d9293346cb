"""A batch of edits: a manifest, its items, the ledger and an engine put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wordbrush.batch.columns import near_settings
from wordbrush.batch.edits import EditWork
from wordbrush.batch.inputs import current, taken
from wordbrush.batch.items import BatchItem, Defaults, items_of, refused_entry, seeds_of
from wordbrush.batch.ledger import Added, Checks, Entry, Ledger, State
from wordbrush.batch.manifest import Manifest, ManifestRow
from wordbrush.batch.model import facts_of_editor, facts_of_files, shares
from wordbrush.batch.runner import BatchSummary, Progress, engine_of, folder_of, run_rows
from wordbrush.batch.work import Engine, EngineOptions
from wordbrush.errors import InputError, SettingsError, WordbrushError
from wordbrush.notation import switches
from wordbrush.picture.limits import ReadingLimits, reading_limits
from wordbrush.settings import DEFAULT_PRESET, Settings
from wordbrush.values import is_whole

if TYPE_CHECKING:
    from wordbrush.editor import Editor

__all__ = ["Batch", "batch"]

_NEAR = 5


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is to be edited, how, and where the results go.

    Attributes:
        source: a folder, a pattern, a table, a URL of these, or rows; see `manifest.Manifest`.
        out: folder of the results and of the ledger; it is made if it is not there.
        defaults: what rows do not say.
        model: what `Editor.from_pretrained` takes, as text; "" where the editor is given.
        load: further arguments of it: device, dtype, revision, local_files_only, loras, ...
        editor: a loaded model instead; it runs in this process only.
        masks: write the masks, too.
        strip_metadata: write no records.
        include_prompt: write the texts into the records.
        limits: how large pictures and masks may be.
    """

    source: Any
    out: str | Path
    defaults: Defaults = field(default_factory=Defaults)
    model: str = "pocket"
    load: Mapping[str, Any] = field(default_factory=dict)
    editor: Editor | None = None
    masks: bool = True
    strip_metadata: bool = False
    include_prompt: bool = True
    limits: ReadingLimits = field(default_factory=reading_limits)

    @classmethod
    def of(
        cls,
        source: Any,
        out: str | Path,
        *,
        to: str = "",
        reference: str = "",
        seed: int | str | Sequence[int] = 0,
        preset: str | None = None,
        settings: Settings | None = None,
        grid: Mapping[str, Sequence[Any]] | None = None,
        format: str = ".png",  # noqa: A002 - the word for it
        model: str | Editor = "pocket",
        load: Mapping[str, Any] | None = None,
        masks: bool = True,
        strip_metadata: bool = False,
        include_prompt: bool = True,
        negative: str = "",
        mask: str | None = None,
        include: str | None = None,
        exclude: str | None = None,
        output: str | None = None,
        check_inversion: bool = False,
        **single: Any,
    ) -> Self:
        """Say what is to be edited, how, and where the results go.

        Args:
            source: a folder or a pattern of pictures, a table (.jsonl, .csv, .parquet), a URL of these, or rows in
                Python: mappings with `picture`, `query`, `reference`, masks, `seed`, any switch, `output`; other
                columns are data.
            out: folder of the results and of the ledger.
            to: what the pictures should show, where a row has no `query`; may name columns: `a {breed} on grass`.
            reference: what they show now; likewise.
            seed: one, several, or text such as `1,2,5-8`; each makes an item of every row.
            preset: set of switches.
            settings: all switches instead of a preset.
            grid: values by switch; every combination makes an item of every row.
            format: ending of the results' names where they have none.
            model: what `Editor.from_pretrained` takes, or a loaded editor, which runs in this process only.
            load: further arguments of `Editor.from_pretrained`.
            masks: write the masks, too, into `masks/`.
            strip_metadata: write no records.
            include_prompt: write the texts into the records.
            negative: what the results should not show; may name columns.
            mask: a mask's file instead of finding one; likewise.
            include: a mask that is always edited; likewise.
            exclude: a mask that is never edited; likewise.
            output: names of the results; likewise. `{stem}` is the picture's name.
            check_inversion: measure how well the inversion leads back.
            single: single switches, see `Settings`.

        Raises:
            SettingsError: an argument is out of range.
        """
        chosen = dict(single)
        if settings is not None:
            plain_ones = Settings.from_preset(preset or DEFAULT_PRESET)
            every = {name: getattr(settings, name) for name in switches()}
            chosen = {**{n: v for n, v in every.items() if v != getattr(plain_ones, n)}, **single}
        defaults = Defaults(
            query=to,
            reference=reference,
            negative=negative,
            mask=mask,
            include=include,
            exclude=exclude,
            output=output,
            preset=preset or DEFAULT_PRESET,
            settings=chosen,
            seeds=seeds_of(seed),
            grid={name: tuple(values) for name, values in (grid or {}).items()},
            suffix=format,
            check_inversion=check_inversion,
        )
        defaults.check()
        named = {"model": model} if isinstance(model, str) else {"model": "", "editor": model}
        return cls(
            source=source,
            out=out,
            defaults=defaults,
            load=load or {},
            masks=masks,
            strip_metadata=strip_metadata,
            include_prompt=include_prompt,
            **named,
        )

    @property
    def folder(self) -> Path:
        """The folder of the results, resolved."""
        return folder_of(self.out)

    @property
    def work(self) -> EditWork:
        """The item function."""
        return EditWork(
            folder=str(self.folder),
            model="" if self.editor is not None else self.model,
            load=self.load,
            limits=self.limits,
            masks=self.masks,
            strip_metadata=self.strip_metadata,
            include_prompt=self.include_prompt,
        )

    def of_all(self) -> dict[str, Any]:
        """Return what determines the results of all items alike.

        Raises:
            ModelError: the model is nowhere on this machine.
        """
        model = facts_of_files(self.model, self.load) if self.editor is None else facts_of_editor(self.editor)
        return {"model": model, "record": not self.strip_metadata, "texts": self.include_prompt}

    def items(self, notes: list[str] | None = None) -> Iterator[BatchItem | Entry]:
        """Yield the items of all rows, and a failed entry for each row that is none.

        Args:
            notes: takes what a user should know of the columns.

        Raises:
            InputError: the manifest cannot be read at all.
        """
        manifest, of_all, number, told = Manifest(self.source, self.folder), self.of_all(), 1, set[str]()
        for row in manifest.rows():
            if notes is not None and len(told) < _NEAR:
                _tell_near(row, told, notes)
            try:
                items: Sequence[BatchItem | Entry] = items_of(row, self.defaults, of_all, manifest.folder, number)
            except WordbrushError as error:
                items = [refused_entry(row, error, number)]
            number += len(items)
            yield from items

    def entries(self, notes: list[str] | None = None) -> Iterator[Entry]:
        """Yield the same as the ledger takes them."""
        for item in self.items(notes):
            yield item if isinstance(item, Entry) else item.entry()

    def run(
        self,
        *,
        engine: str | Engine = "local",
        workers: int | None = None,
        threads: int | None = None,
        retries: int = 1,
        engine_options: Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        limit: int | None = None,
        command: Mapping[str, Any] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> BatchSummary:
        """Run what has no result yet, and say what became of all; see `batch`."""
        for name, value, least in (("workers", workers, 1), ("threads", threads, 1), ("limit", limit, 0)):
            if value is not None and not (is_whole(value) and value >= least):
                raise SettingsError(f"{name} {value!r} is not a whole number from {least} on")
        engine_of(engine)
        folder, notes = self.folder, list[str]()
        checks = Checks(lambda row, entry: current(folder, row, entry), lambda entry: taken(folder, entry))
        options = EngineOptions(
            folder=folder,
            workers=workers,
            threads=threads,
            retries=retries,
            editor=self.editor,
            extra=engine_options or {},
        )

        def shared(_: Added, counts: Mapping[State, int]) -> EngineOptions:
            if engine != "local":
                return options
            chosen = shares(self.model, self.load, self.editor, counts["waiting"], workers, threads)
            return replace(options, workers=chosen[0], threads=chosen[1])

        entries = self.entries(notes)
        first = next(entries, None)  # a manifest or a model that cannot be used is told before anything is made
        if first is None:
            raise InputError(f"{Manifest(self.source).name}: there are no rows")
        with Ledger.open(folder) as ledger:
            summary = run_rows(
                ledger,
                self.work,
                chain([first], entries),
                options,
                engine=engine,
                command={"source": Manifest(self.source).name, "model": self.model, **(command or {})},
                checks=checks,
                retry_failed=retry_failed,
                limit=limit,
                on_added=shared,
                on_progress=on_progress,
            )
        return replace(summary, notes=(*notes, *summary.notes))


def _tell_near(row: ManifestRow, told: set[str], notes: list[str]) -> None:
    for name, near in near_settings(row.values).items():
        if name not in told:
            told.add(name)
            notes.append(f"the column {name} is kept as data and sets nothing: did you mean {near}?")


def batch(
    source: Any,
    out: str | Path,
    *,
    engine: str | Engine = "local",
    workers: int | None = None,
    threads: int | None = None,
    retries: int = 1,
    engine_options: Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    limit: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **asked: Any,
) -> BatchSummary:
    """Edit many pictures, and keep a ledger of them beside the results; run again, it goes on where it was.

    Args:
        source: a folder or a pattern of pictures, a table (.jsonl, .csv, .parquet), a URL of these, or rows.
        out: folder of the results and of the ledger.
        engine: `local`, or what runs elsewhere.
        workers: processes on a CPU; by default as many as cores, memory and items allow.
        threads: of each. The last bits of a result depend on it.
        retries: how often an item is tried again whose process died.
        engine_options: what only this engine knows.
        retry_failed: try those again that failed.
        limit: run at most so many items now.
        on_progress: called with a `Progress` at the beginning, after every item, and while a cluster is waited for.
        asked: what is edited, and how: `to`, `reference`, `seed`, `grid`, `model`, any switch, ...; see `Batch.of`.

    Returns:
        What became of all items. An item that fails raises nothing: it is counted, and kept with its error.

    Raises:
        InputError: the manifest cannot be read.
        OutputError: another batch writes into the folder, or nothing can be written any more.
        SettingsError: an argument is out of range.
        ModelError: the model cannot be used.
        Cancelled: Ctrl-C was pressed.
    """
    return Batch.of(source, out, **asked).run(
        engine=engine,
        workers=workers,
        threads=threads,
        retries=retries,
        engine_options=engine_options,
        retry_failed=retry_failed,
        limit=limit,
        on_progress=on_progress,
    )
