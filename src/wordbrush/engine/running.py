"""One running program: the asks it waits for, the values it took from the store, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from torch import Tensor

from wordbrush.diffusion.ask import Ask, AskCodec, Key, Once, Program
from wordbrush.engine.store import Store

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Around", "Item", "Running"]

T = TypeVar("T")


class Around(Protocol):
    """Gives the context that an ask is answered in, as one in which the network computes less.

    Attributes:
        able: whether it does anything; while it does, asks of its item share no call with those of others.
    """

    able: bool

    def __call__(self, ask: Ask) -> AbstractContextManager[None]:
        """Return the context; the network is as ever outside of it."""
        ...


@dataclass(frozen=True, eq=False)
class Item(Generic[T]):
    """A program to be run.

    Attributes:
        program: not begun.
        store: answers its `Once`; items of one picture share one.
        preview: shows an estimate of x0 (1, channel, height, width).
        around: gives the context that an ask of the program is answered in, if any.
    """

    program: Program[T]
    store: Store
    preview: Callable[[Tensor], Image.Image] | None = None
    around: Around | None = None


class Running:
    """A program that is being run.

    A `Once` whose value is not kept puts its program on the stack; the value it returns is kept, then sent on. One that
    another program of the same run is making is waited for.

    Args:
        item: the program and its store.
        number: of the item; its asks carry it.
        making: keys in the making in this run, with the store they belong to; shared by all that run together.
    """

    def __init__(self, item: Item[Any], number: int, making: set[tuple[int, Key]]) -> None:
        self.item, self.number, self._making = item, number, making
        self._stack: list[tuple[Key | None, Program[Any]]] = [(None, item.program)]
        self._kinds: dict[str, set[bool]] = {}
        self.wanted: Sequence[Ask | AskCodec] = ()
        self.answers: list[Any] = []
        self.awaited: Once | None = None
        self.ended, self._several = False, False
        self.timings: dict[str, float] = {}
        self.evaluations: dict[str, int] = {}
        self.value: Any = None
        self.error: Exception | None = None

    @property
    def open(self) -> Sequence[Ask | AskCodec]:
        """The asks that are not answered yet."""
        return self.wanted[len(self.answers) :]

    @property
    def alone(self) -> bool:
        """Whether the item's asks share no call with those of others."""
        return self.item.around is not None and self.item.around.able

    @property
    def reused(self) -> tuple[str, ...]:
        """The kinds of values that the store held when they were asked for, in order."""
        whole = {True: "", False: "part of the "}
        return tuple(whole[False not in held] + kind for kind, held in self._kinds.items() if True in held)

    def begin(self) -> None:
        """Run the program to its first ask."""
        self._advance(None, None)

    def answer(self, answers: Sequence[Any]) -> None:
        """Take the answers to the first open asks; with the last one the program goes on."""
        self.answers.extend(answers)
        if len(self.answers) == len(self.wanted):
            got, self.wanted, self.answers = self.answers, (), []
            self._advance(tuple(got) if self._several else got[0], None)

    def resume(self) -> None:
        """Continue once no other program computes the awaited value any more: take it from the store, or compute it."""
        awaited = self.awaited
        if awaited is not None and self._name(awaited.key) not in self._making:
            self.awaited = None
            self._advance(self._once(awaited), None)

    def throw(self, error: Exception) -> None:
        """Raise an error in the program, at the ask it waits for; in an ended program the error replaces the result."""
        self.wanted, self.answers, self.awaited = (), [], None
        if self.ended:
            self.value, self.error = None, error
        else:
            self._advance(None, error)

    def close(self) -> None:
        """Close the program, and the programs of the stored values that it was computing."""
        for key, program in reversed(self._stack):
            program.close()
            self._unmake(key)
        self._stack, self.wanted, self.ended = [], (), True

    def _advance(self, sent: Any, error: Exception | None) -> None:
        """Go on until the program wants an answer, waits for another's value, or ends."""
        while self._stack:
            key, program = self._stack[-1]
            try:
                wanted = program.send(sent) if error is None else program.throw(error)
            except StopIteration as stop:
                sent, error = stop.value, None
                if key is not None:
                    self.item.store.put(key, sent)
            except Exception as raised:  # every error is the program's own: it ends the one that made it
                sent, error = None, raised
            else:
                if not isinstance(wanted, Once):
                    self._several = isinstance(wanted, tuple)
                    asks = wanted if isinstance(wanted, tuple) else (wanted,)
                    self.wanted = [replace(ask, item=self.number) for ask in asks]
                    return
                sent, error = self._once(wanted), None
                if self.awaited is not None:
                    return
                continue
            self._stack.pop()
            self._unmake(key)
        self.value, self.error, self.ended = sent, error, True

    def _once(self, wanted: Once) -> Any:
        """Return the stored value; None where its program runs next, or the program of another item is awaited."""
        value, name = self.item.store.get(wanted.key), self._name(wanted.key)
        if value is None and name in self._making:
            self.awaited = wanted
            return None
        self._kinds.setdefault(str(wanted.key[0]), set()).add(value is not None)
        if value is None:
            self._making.add(name)
            self._stack.append((wanted.key, wanted.program))
        return value

    def _unmake(self, key: Key | None) -> None:
        if key is not None:
            self._making.discard(self._name(key))

    def _name(self, key: Key) -> tuple[int, Key]:
        return id(self.item.store), key
