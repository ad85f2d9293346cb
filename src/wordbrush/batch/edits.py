"""The item function of edits: reads pictures ahead, keeps the driver full, writes results beside the network."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from wordbrush.batch.inputs import MASK_FOLDER, adopted, mask_of, stamp, written
from wordbrush.batch.items import BatchItem
from wordbrush.batch.model import facts_of_files
from wordbrush.batch.sources import bytes_of, is_url
from wordbrush.batch.work import Make, Outcome, Row, Rows, Work, done, failed
from wordbrush.editor import Editor
from wordbrush.engine.events import Callback
from wordbrush.engine.outcome import Ended
from wordbrush.engine.running import Item
from wordbrush.errors import OutputError, PictureError
from wordbrush.files import make_folder, write_atomic
from wordbrush.picture.fit import plan_fit
from wordbrush.picture.limits import ReadingLimits, limited
from wordbrush.picture.picture import Picture
from wordbrush.record.provenance import encode_image
from wordbrush.region.mask import Mask
from wordbrush.request import EditRequest
from wordbrush.result import EditResult, Finished, result_of
from wordbrush.session import Session
from wordbrush.settings import Settings

__all__ = ["EditMaker", "EditWork"]

_READERS: Final = 2
_WRITERS: Final = 2
_UNWRITTEN: Final = 4
_SETTLED: Final = 16  # most outcomes without a run of the network that wait to be told
_PICTURES: Final = 4


@dataclass(frozen=True, kw_only=True)
class EditWork(Work):
    """Edits each row's picture and writes the result, with its record, and its mask.

    Attributes:
        folder: of the results.
        model: what `Editor.from_pretrained` takes, as text; "" where the editor is given.
        load: further arguments of it.
        limits: how large pictures and masks may be.
        masks: write the mask of each result, too, into `masks/`.
        strip_metadata: write no record.
        include_prompt: write the texts into the record.
        replace: a file that bears an item's name may be written over; one that is the item's own is kept.
    """

    folder: str
    model: str = "pocket"
    load: Mapping[str, Any] = field(default_factory=dict)
    limits: ReadingLimits = field(default_factory=ReadingLimits)
    masks: bool = True
    strip_metadata: bool = False
    include_prompt: bool = True
    replace: bool = True

    @property
    def portable(self) -> bool:
        """Whether the model can be loaded by its name."""
        return bool(self.model)

    def facts(self) -> dict[str, Any] | None:
        """Return which model it is, by the digests of its files."""
        return facts_of_files(self.model, self.load) if self.model else None

    def open(self, editor: Editor | None = None) -> Make:
        """Load the model, and return the function of rows.

        Raises:
            ModelError: it cannot be used.
        """
        return EditMaker(self, editor or Editor.from_pretrained(self.model, **self.load))


_Opening = Future[tuple[Picture, dict[str, Any]]]
"""A picture that is being opened, with what is to be kept of its file."""


@dataclass(frozen=True, eq=False)
class _Ready:
    """A row whose files have been read."""

    row: Row
    item: BatchItem
    picture: Picture
    masks: dict[str, Mask]
    inputs: tuple[dict[str, Any], ...]
    seconds: float


class EditMaker:
    """The opened function: many rows in, their outcomes as they come; see `EditWork`.

    Args:
        work: what is to be done.
        editor: the model.
    """

    def __init__(self, work: EditWork, editor: Editor) -> None:
        self.work, self.editor = work, editor
        self.callback: Callback | None = None
        """Called with every step; an item in whose step it raises `Cancelled` has failed with that."""
        self.given: dict[str, bytes] = {}
        """Pictures that lie in memory, by what their items name as picture."""
        self._sessions: OrderedDict[tuple[str, int | None], Session] = OrderedDict()
        self._pictures: OrderedDict[str, tuple[dict[str, int], _Opening]] = OrderedDict()

    def __call__(self, rows: Rows) -> Iterator[Outcome]:
        """Yield the outcomes of rows.

        Raises:
            OutputError: a file cannot be written, whatever its name.
        """
        readers = ThreadPoolExecutor(_READERS, "reading")
        writers = ThreadPoolExecutor(_WRITERS, "writing")
        try:
            yield from _Pass(self, rows, readers, writers).outcomes()
        finally:
            for pool in (readers, writers):
                pool.shutdown(cancel_futures=True)
            for name in [name for name, (_, opening) in self._pictures.items() if opening.cancelled()]:
                del self._pictures[name]

    def begin(self, row: Row, readers: ThreadPoolExecutor) -> Future[_Ready | Outcome]:
        """Begin to read the files of a row; what is wrong with them is its outcome."""
        item = BatchItem.of(row)
        name = item.picture
        now = {} if name in self.given else stamp(name)
        if name not in self._pictures or self._pictures[name][0] != now:
            self._pictures[name] = now, readers.submit(self._open, name, now)
        self._pictures.move_to_end(name)
        if len(self._pictures) > _PICTURES:
            self._pictures.popitem(last=False)
        return readers.submit(self._read, row, item, self._pictures[name][1])

    def _open(self, name: str, told: Mapping[str, int]) -> tuple[Picture, dict[str, Any]]:
        with limited(self.work.limits):
            given = self.given.get(name)
            picture = Picture.open(given or (bytes_of(name, PictureError, "picture") if is_url(name) else name))
        if picture.name is None and name not in self.given:
            picture = replace(picture, name=Path(name.partition("?")[0]).name)
        return picture, {"kind": "picture", "path": name, "sha256": picture.sha256, **told}

    def _read(self, row: Row, item: BatchItem, opening: _Opening) -> _Ready | Outcome:
        begin = time.perf_counter()
        try:
            picture, told = opening.result()
            masks, inputs = dict[str, Mask](), [told]
            with limited(self.work.limits):
                for kind, name in item.masks.items():
                    masks[kind], read = mask_of(kind, name)
                    inputs.append(read)
            return _Ready(row, item, picture, masks, tuple(inputs), time.perf_counter() - begin)
        except Exception as error:  # whatever is wrong with the files of one row, the others are worth having
            return failed(row, error, seconds=time.perf_counter() - begin)

    def session(self, ready: _Ready) -> Session:
        """Return the session of a picture; the last ones are kept, for the items that share it."""
        key = (ready.item.picture, ready.item.settings["resolution"])
        if key not in self._sessions or self._sessions[key].picture is not ready.picture:
            self._sessions[key] = self.editor.open(ready.picture, resolution=key[1])
        self._sessions.move_to_end(key)
        while len(self._sessions) > (self.editor.driver.batch_limit if self.editor.driver.join else 1):
            self._sessions.popitem(last=False)
        return self._sessions[key]

    def write(self, ready: _Ready, result: EditResult, seconds: float, evaluations: int) -> Outcome:
        """Write the files of a result, the picture last, and return its outcome.

        Raises:
            OutputError: they cannot be written, whatever their names.
        """
        work, begin, name = self.work, time.perf_counter(), ready.row["name"]
        output = f"{name}{ready.item.suffix}"
        try:
            record = None if work.strip_metadata else result.provenance
            data = encode_image(result.image, ready.item.suffix, record, include_prompt=work.include_prompt)
        except OutputError as error:  # of this picture in this format
            return failed(ready.row, error, seconds=seconds, inputs=ready.inputs)
        target, told = Path(work.folder, output), dict[str, Any]()
        if not work.replace and target.exists():
            there = OutputError(f"{target}: the file exists already; give another name")
            return failed(ready.row, there, seconds=seconds, inputs=ready.inputs)
        if work.masks:
            told["mask"] = f"{MASK_FOLDER}/{name}.png"
            make_folder(Path(work.folder, MASK_FOLDER))
            write_atomic(Path(work.folder, told["mask"]), result.mask.png_bytes(), force=True)
        write_atomic(target, data, force=True)
        report = result.report
        return done(
            ready.row,
            seconds=seconds + time.perf_counter() - begin,
            evaluations=evaluations,
            inputs=ready.inputs,
            **written(target, output, data),
            **told,
            mask_area=report.mask_area,
            warnings=list(report.warnings),
            timings={stage: round(value, 6) for stage, value in report.timings.items()},
            reused=list(report.reused),
            reconstruction_error=report.reconstruction_error,
        )


class _Pass:
    """One call of the function: what is being read, run and written."""

    def __init__(
        self, maker: EditMaker, rows: Rows, readers: ThreadPoolExecutor, writers: ThreadPoolExecutor
    ) -> None:
        self.maker, self.rows, self.readers, self.writers = maker, rows, readers, writers
        driver = maker.editor.driver
        self.ahead = driver.batch_limit + _READERS if driver.join else _READERS + 1
        self.reading: deque[Future[_Ready | Outcome]] = deque()
        self.running: dict[int, _Ready] = {}
        self.writing: deque[Future[Outcome]] = deque()
        self.settled: list[Outcome] = []
        self.over = False
        self.canvas: tuple[int, int] | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of all rows."""
        driver = self.maker.editor.driver
        while not self.over:
            self.running.clear()
            with closing(driver.stream(self.items(), self.maker.callback)) as stream:
                for ended in stream:
                    self._finish(ended)
                    yield from self._told(_UNWRITTEN)
            yield from self._told(_UNWRITTEN)
        yield from self._told(0)

    def items(self) -> Iterator[Item[Finished]]:
        """Yield items for the driver; leave off where many outcomes wait that needed no network."""
        count = 0
        while len(self.settled) < _SETTLED:
            ready = self._next()
            if ready is None:
                self.over = True
                return
            if not isinstance(ready, _Ready):
                self.settled.append(ready)
                continue
            try:
                item = self._item(ready)
            except Exception as error:  # of this row
                self.settled.append(failed(ready.row, error, seconds=ready.seconds, inputs=ready.inputs))
                continue
            if item is not None:
                self.running[count] = ready
                count += 1
                yield item

    def _next(self) -> _Ready | Outcome | None:
        """Return a row that has been read: of the canvas that is being worked on if there is one, else the first."""
        while len(self.reading) < self.ahead and (row := next(self.rows, None)) is not None:
            self.reading.append(self.maker.begin(row, self.readers))
        if not self.reading or self.rows.stopped:
            return None
        place = self._of_canvas() if self.maker.editor.driver.join else 0
        ready = self.reading[place].result()
        del self.reading[place]
        if isinstance(ready, _Ready):
            self.canvas = self._canvas_of(ready)
        return ready

    def _of_canvas(self) -> int:
        for place, future in enumerate(self.reading):
            ready = future.result() if future.done() else None
            if isinstance(ready, _Ready) and self._canvas_of(ready) == self.canvas:
                return place
        return 0

    def _canvas_of(self, ready: _Ready) -> tuple[int, int]:
        """Return the canvas of a picture: programs of one canvas can share calls of the network."""
        model, resolution = self.maker.editor.model, ready.item.settings["resolution"]
        return plan_fit(ready.picture.size, grid=model.grid, resolution=resolution or model.resolution).canvas

    def _item(self, ready: _Ready) -> Item[Finished] | None:
        """Return what the driver runs for a row, or None where its file is there already."""
        item, session = ready.item, self.maker.session(ready)
        there = adopted(Path(self.maker.work.folder), ready.row, item, session, ready.masks)
        if there is not None:
            self.settled.append(done(ready.row, seconds=ready.seconds, inputs=ready.inputs, **there))
            return None
        return session.item(
            EditRequest(
                picture=ready.picture,
                query=item.query,
                reference=item.reference,
                negative=item.negative,
                seed=item.seed,
                settings=Settings.recorded(item.settings),
                check_inversion=item.check_inversion,
                **ready.masks,
            )
        )

    def _finish(self, ended: Ended[Finished]) -> None:
        ready = self.running.pop(ended.number)
        seconds = ready.seconds + sum(ended.costs.timings.values())
        try:
            result = result_of(ended.outcome, self.maker.editor.driver, ended.costs, ready.item.preset)
        except Exception as error:  # of this row
            told = {"evaluations": sum(ended.costs.evaluations.values()), "inputs": ready.inputs}
            self.settled.append(failed(ready.row, error, seconds=seconds, **told))
            return
        evaluations = sum(ended.costs.evaluations.values())
        self.writing.append(self.writers.submit(self.maker.write, ready, result, seconds, evaluations))

    def _told(self, most: int) -> Iterator[Outcome]:
        """Yield what is settled and written; wait until at most `most` results are unwritten."""
        settled, self.settled = self.settled, []
        yield from settled
        while self.writing and (len(self.writing) > most or self.writing[0].done()):
            yield self.writing.popleft().result()
