"""The driver: answers the asks of many programs, one model for all.

It decides what runs together, splits on a memory limit, counts and times by stage, tells events, throws errors in at
the ask they belong to, and answers each `Once` from the store of its item. So an edit is the same program alone, in a
batch and resumed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from wordbrush.diffusion.ask import Ask, AskCodec, Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.faults import Notes, NotFiniteError
from wordbrush.engine.calls import joinable, joined
from wordbrush.engine.events import Callback, Event
from wordbrush.engine.memory import ChunkedCodec, Ladder
from wordbrush.engine.outcome import Costs, Ended, Outcome, Run
from wordbrush.engine.running import Item, Running
from wordbrush.engine.store import Store

if TYPE_CHECKING:
    from wordbrush.models.model import Canvas, Model, Prompt

__all__ = ["Driver"]

T = TypeVar("T")

PROMPTS_KEPT = 256


class Driver:
    """Runs programs on one model.

    Args:
        model: the checkpoint.
        batch_limit: most rows in one network call; by default 8 on a CPU and 16 elsewhere.
        join: whether asks of different items and levels share a call. By default not on a CPU, where it gains nothing:
            one item runs after the other, and its result is bit for bit the same whatever its mates.

    Attributes:
        rows: network evaluations so far: rows of all calls.
        calls: calls so far; a call that had to be split counts once.
        notes: what had to be done differently since the last run.
    """

    def __init__(self, model: Model, *, batch_limit: int | None = None, join: bool | None = None) -> None:
        on_cpu = torch.device(model.device).type == "cpu"
        self.model = model
        self.join = (not on_cpu) if join is None else join
        self.codec = ChunkedCodec(model.codec, relieve=self._relieve)
        self.rows = self.calls = 0
        self.notes = Notes()
        self._ladder = Ladder((8 if on_cpu else 16) if batch_limit is None else batch_limit, self.notes, self._relieve)
        self._reading = Ladder(1, self.notes, self._relieve)
        self._prompts: OrderedDict[tuple[str, int, Canvas | None, bool], Prompt] = OrderedDict()
        self._prompts_lock = threading.RLock()

    @property
    def batch_limit(self) -> int:
        """Most rows in one network call at present; it falls when memory runs out."""
        return self._ladder.limit

    def prompt(
        self, text: str, clip_skip: int = 0, canvas: Canvas | None = None, *, negative: bool = False
    ) -> Prompt:
        """Encode a text, for a canvas (width, height) in latent cells, or take it from the last 256.

        A negative text is one that is guided away from. Threads take turns.

        Raises:
            ResourceError: the text encoder does not fit into memory.
        """
        special = self.model.negative if negative else None
        encoder = special or self.model.text
        key = (text, clip_skip, canvas, special is not None)
        with self._prompts_lock:  # held while encoding: a tokenizer serves one thread at a time
            if key not in self._prompts:
                self._prompts[key] = self._reading.run(
                    1, lambda _: encoder.encode([text], clip_skip=clip_skip, canvas=canvas)[0], "the text encoder"
                )[0]
                if len(self._prompts) > PROMPTS_KEPT:
                    self._prompts.popitem(last=False)
            self._prompts.move_to_end(key)
            return self._prompts[key]

    def run(
        self, items: Sequence[Item[T]], callback: Callback | None = None, *, stop_on_error: bool = False
    ) -> Run[T]:
        """Run programs to their ends. An error ends the item whose it is, and no other.

        Args:
            items: the programs.
            callback: called with an `Event` after every step; what it raises is raised in the program of that step.
            stop_on_error: give all items up and raise as soon as one ends with an error.
        """
        run, outcomes = Run[T](), dict[int, Outcome[T]]()
        with closing(self.stream(items, callback)) as stream:
            for ended in stream:
                if stop_on_error:
                    ended.outcome.result()
                outcomes[ended.number] = ended.outcome
                ended.costs.add_to(run)
        run.outcomes = [outcomes[number] for number in range(len(items))]
        return run

    def stream(
        self, items: Iterable[Item[T]], callback: Callback | None = None
    ) -> Generator[Ended[T], None, None]:
        """Run programs as `run` does, and yield each as it ends, with what it cost alone.

        Args:
            items: any number; one is taken when another has ended, so that a call is as full as the items allow.
            callback: as in `run`.
        """
        making, active, total = set[Any](), dict[int, Running](), 0
        waiting = iter(items)
        # As many at once as may fill a call, so that memory holds for any number of items.
        most = self.batch_limit if self.join else 1
        self._take_notes()  # of a run that was broken off
        try:
            while True:
                for item in islice(waiting, most - len(active)):
                    active[total] = Running(item, total, making)
                    with torch.no_grad():
                        active[total].begin()
                    total += 1
                if not active:
                    return
                with torch.no_grad():
                    for running in active.values():
                        running.resume()
                    self._serve(active, callback)
                for number in [number for number, running in active.items() if running.ended]:
                    running = active.pop(number)
                    costs = Costs(running.timings, running.evaluations, self._take_notes())
                    yield Ended(number, Outcome(running.value, running.error, running.reused), costs)
        finally:
            for running in active.values():
                running.close()

    def _relieve(self) -> bool:
        """Make room on the device: text encoders leave it, once, while nobody encodes a text."""
        encoders = self.model.encoders
        with self._prompts_lock:
            released = encoders is not None and encoders.release()
        if released:
            self.notes.add("out of memory: the text encoders left the device, and come back for new texts alone")
        return released

    def _take_notes(self) -> tuple[str, ...]:
        return tuple(note for notes in (self.notes, self.model.fallbacks, self.codec.notes) for note in notes.take())

    def value(self, program: Program[T]) -> T:
        """Run one program that keeps nothing; return its value, or raise its error."""
        return self.run([Item(program, Store(0))]).outcomes[0].result()

    def answer(self, asks: Sequence[Ask]) -> list[Prediction]:
        """Answer asks of one shape in one call: rows of different items, levels and labels side by side.

        Raises:
            ResourceError: not even one row fits into memory.
            NotFiniteError: a row's output is not finite; rows are counted over all asks.
        """
        counts = [len(ask.x) for ask in asks]
        x = torch.cat([ask.x for ask in asks]) if len(asks) > 1 else asks[0].x
        texts = Conditioning.concat([ask.conditioning for ask in asks]) if len(asks) > 1 else asks[0].conditioning
        level = joined([ask.level for ask in asks], counts)
        labelled = any(ask.label is not None for ask in asks)
        label = joined([ask.label or ask.level for ask in asks], counts) if labelled else None

        def evaluate(part: slice) -> Prediction:
            some = None if label is None else label.select(part)
            return self.model.denoiser(x[part], level.select(part), texts.select(part), label=some)

        self.rows += len(x)
        self.calls += 1
        parts = self._ladder.run(len(x), evaluate, "the denoising network")
        x0, eps = (torch.cat([getattr(p, name) for p in parts]) for name in ("x0", "eps"))
        return [Prediction(*pair) for pair in zip(torch.split(x0, counts), torch.split(eps, counts), strict=True)]

    def _serve(self, active: Mapping[int, Running], callback: Callback | None) -> None:
        """Answer the first ask and all that fit into the same call, resume their programs, and report the step."""
        ready = [ask for running in active.values() for ask in running.open]
        coded = [ask for ask in ready if isinstance(ask, AskCodec)]
        if coded:  # first, so that those who wait for their latent can join the others
            self._code(coded[0], active[_owner(coded[0])], callback)
        elif ready:
            self._predict(self._group([ask for ask in ready if isinstance(ask, Ask)], active), active, callback)

    def _group(self, ready: Sequence[Ask], active: Mapping[int, Running]) -> list[Ask]:
        """Choose the asks of the next call: the first, and those that may stand beside it."""
        first, group, rows, full = ready[0], list[Ask](), 0, set[int]()
        for ask in ready:
            fits = not group or rows + len(ask.x) <= self.batch_limit
            joins = self.join and not any(active[_owner(one)].alone for one in (first, ask))
            # One text at a time where items stay apart: what a kept half of a contrast saves then changes no bits.
            own = ask.item == first.item and ask.conditioning is first.conditioning
            alike = (joins or own) and joinable(first, ask)
            if fits and alike and ask.item not in full:
                group.append(ask)
                rows += len(ask.x)
            else:  # an item's asks are answered in their order
                full.add(ask.item)
        return group

    def _code(self, ask: AskCodec, running: Running, callback: Callback | None) -> None:
        with _clock([(running, ask.stage, 1)]):
            try:
                values = getattr(self.codec, ask.verb)(ask.values)
            except Exception as error:  # thrown in at the ask, so that its item fails alone
                running.throw(_placed(error, ask.stage, 1))
                return
            running.answer([values])
        _tell(running, Event(ask.stage, 1, 1, item=running.number), callback)

    def _predict(self, group: Sequence[Ask], active: Mapping[int, Running], callback: Callback | None) -> None:
        owners = sorted({_owner(ask) for ask in group})
        with _clock([(active[_owner(ask)], ask.stage, len(ask.x)) for ask in group]):
            try:
                around = active[owners[0]].item.around if len(group) == 1 else None
                with nullcontext() if around is None else around(group[0]):
                    predictions: list[Prediction] | None = self.answer(group)
            except Exception as error:  # thrown in at the ask, so that its item fails alone
                if len(owners) == 1:
                    ask = _blamed(error, group)
                    active[owners[0]].throw(_placed(error, ask.stage, ask.step))
                    return
                predictions = None
            answered = [] if predictions is None else list(zip(group, predictions, strict=True))
            for owner in owners if answered else []:
                active[owner].answer([prediction for ask, prediction in answered if ask.item == owner])
        if not answered:  # whose fault it is shows when each is asked alone
            for owner in owners:
                self._predict([ask for ask in group if ask.item == owner], active, callback)
            return
        for ask in group:
            counts = active[_owner(ask)].evaluations
            counts[ask.stage] = counts.get(ask.stage, 0) + len(ask.x)
        for owner in owners:
            ask, prediction = [pair for pair in answered if pair[0].item == owner][-1]
            if ask.closes:
                _tell(active[owner], _event(ask, prediction, active[owner]), callback)


def _owner(ask: Ask | AskCodec) -> int:
    """Return the number of the item that asks."""
    owner: Any = ask.item
    return int(owner)


def _event(ask: Ask, prediction: Prediction, running: Running) -> Event:
    preview, estimate = running.item.preview, prediction.x0[:1]
    show = None if preview is None or ask.stage == "contrast" else lambda: preview(estimate)
    return Event(ask.stage, ask.step, ask.steps, show, item=running.number)


def _tell(running: Running, event: Event, callback: Callback | None) -> None:
    if callback is not None and running.error is None:
        try:
            callback(event)
        except Exception as error:  # thrown in at the ask that comes next
            running.throw(error)


@contextmanager
def _clock(shares: Sequence[tuple[Running, str, int]]) -> Iterator[None]:
    """Add the seconds of the block to items and their stages, in proportion to their rows."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds = (time.perf_counter() - begin) / sum(count for _, _, count in shares)
        for running, stage, count in shares:
            running.timings[stage] = running.timings.get(stage, 0.0) + seconds * count


def _blamed(error: Exception, group: Sequence[Ask]) -> Ask:
    """Return the ask that an error is about: that of the first row it names."""
    row = error.items[0] if isinstance(error, NotFiniteError) and error.items else 0
    for ask in group:
        if row < len(ask.x):
            return ask
        row -= len(ask.x)
    return group[-1]


def _placed(error: Exception, stage: str, step: int) -> Exception:
    """Return the error with stage and step added, if it is one that names them."""
    return error.at(stage, step) if isinstance(error, NotFiniteError) else error
