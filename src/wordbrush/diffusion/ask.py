"""Asks: what an algorithm yields when it needs the network, the codec or a stored value. Somebody else answers.

The algorithm for ONE picture is a *program*: a generator in the order of its paper that yields what it needs and is
sent the answer. It yields

* `Ask`, a prediction of the denoiser; or a tuple of asks that do not depend on one another, for a tuple of answers;
* `AskCodec`, pixels as latents or latents as pixels;
* `Once`, a value that is made once and kept: the answer is the value, made now or long ago.

It knows no batch, callback, cache, chunk or device. `drive` runs a program as a plain function; the driver of
`wordbrush.engine` runs many at once, and bounds memory, counts, tells events and keeps values besides.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from torch import Tensor

from wordbrush.diffusion.denoiser import Conditioning, Denoiser
from wordbrush.diffusion.schedule import Level

__all__ = ["Ask", "AskCodec", "Key", "Once", "Program", "Stage", "Wanted", "drive"]

T = TypeVar("T")

Stage = Literal["encode", "contrast", "invert", "check", "decode", "compose"]
"""encode: picture and texts; contrast: maps; invert: steps up; check: the reconstruction measured; decode: steps down;
compose: latents back to pixels."""

Key: TypeAlias = tuple[Hashable, ...]
"""What determines a value: its kind first, as `latent`, `contrast`, `trajectory`, then all that it was made of."""


@dataclass(frozen=True, eq=False)
class Ask:
    """Asks for a prediction of the denoiser; the answer is a `Prediction` of the rows of x.

    Attributes:
        x: noised latents (row, channel, height, width).
        level: where x is, one for all rows or one a row.
        conditioning: as many rows as x.
        label: the level the network is told, where it differs from `level`.
        stage: of the edit.
        step: how many steps of the stage are done with this answer.
        steps: how many the stage has.
        region: the cells that are free, (row or 1, 1, height, width) in [0, 1]; None for all of them.
        closes: False where more asks of the same step follow.
        item: whose ask it is, numbered by the driver.
    """

    x: Tensor
    level: Level
    conditioning: Conditioning
    label: Level | None = None
    stage: Stage = "decode"
    step: int = 1
    steps: int = 1
    region: Tensor | None = None
    closes: bool = True
    item: int = 0


@dataclass(frozen=True, eq=False)
class AskCodec:
    """Asks the codec to encode or decode; the answer is a tensor.

    Attributes:
        verb: `encode`: pixels (row, 3, height, width) in [-1, 1] to latents; `decode`: latents to pixels.
        values: what to encode or decode.
        stage: of the edit.
        item: whose ask it is, numbered by the driver.
    """

    verb: Literal["encode", "decode"]
    values: Tensor
    stage: Stage
    item: int = 0


@dataclass(frozen=True, eq=False)
class Once:
    """Asks for a value that is computed once and then stored; the answer is the value.

    Attributes:
        key: what determines the value.
        program: makes it; not begun where the value is kept already.
    """

    key: Key
    program: Program[Any]


Wanted: TypeAlias = Ask | tuple[Ask, ...] | AskCodec | Once
Program: TypeAlias = Generator[Wanted, Any, T]


def drive(program: Program[T], denoiser: Denoiser, codec: Any = None) -> T:
    """Run a program as a plain function: every ask is answered at once, alone, and nothing is kept.

    Args:
        program: not begun.
        denoiser: answers its asks.
        codec: answers what it asks of a codec, see `wordbrush.models.codec.Codec`.
    """

    def answer(wanted: Wanted) -> Any:
        if isinstance(wanted, Once):
            return drive(wanted.program, denoiser, codec)
        if isinstance(wanted, AskCodec):
            return getattr(codec, wanted.verb)(wanted.values)
        if isinstance(wanted, tuple):
            return tuple(answer(ask) for ask in wanted)
        return denoiser(wanted.x, wanted.level, wanted.conditioning, label=wanted.label)

    sent: Any = None
    while True:
        try:
            sent = answer(program.send(sent))
        except StopIteration as stop:
            value: T = stop.value
            return value
