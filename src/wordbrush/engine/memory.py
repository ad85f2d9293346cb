"""What to do when memory runs out: text encoders make room, smaller chunks, one item at a time, tiles, an error.

Each wrapper remembers the size that fitted, so that a run pays for a failure once. Chunking changes no result beyond
rounding (1e-4); tiles differ at their seams, so they come last and are noted.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from wordbrush.diffusion.faults import Notes, NotFiniteError, is_out_of_memory
from wordbrush.errors import ResourceError, SettingsError
from wordbrush.models.codec import AutoencoderCodec, Codec

__all__ = ["ChunkedCodec", "Ladder"]

T = TypeVar("T")

UNLIMITED = 1 << 30
"""A batch limit above any batch."""


def _attempt(call: Callable[[], T]) -> T | None:
    """Return what `call` returns, or None when memory ran out; what the failed call held is free by then."""
    try:
        return call()
    except Exception as error:  # sorted by is_out_of_memory; everything else goes on
        if not is_out_of_memory(error):
            raise
    # Out of the except block: the traceback, and with it every tensor of the failed call, is gone.
    _tidy()
    return None


def _tidy() -> None:
    """Give back to the device what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Ladder:
    """Runs a function of rows in chunks of at most `limit`, and halves the limit when memory runs out.

    Args:
        limit: most rows a call; it only ever falls.
        notes: where it says what it had to do.
        relieve: makes room before the limit is halved, and says whether it did.

    Raises:
        SettingsError: the limit is below 1.
    """

    def __init__(self, limit: int, notes: Notes, relieve: Callable[[], bool] = lambda: False) -> None:
        if limit < 1:
            raise SettingsError(f"batch limit {limit} is below 1: give the most items one network call may take")
        self.limit, self.notes, self._relieve = limit, notes, relieve

    def run(
        self, rows: int, call: Callable[[slice], T], what: str, last: Callable[[slice], T] | None = None
    ) -> list[T]:
        """Return the results of `call` for consecutive slices that cover `rows`; `last` is tried on one row at the end.

        Raises:
            ResourceError: one row alone is too much, and `last` is missing or fails too.
        """
        results: list[T] = []
        begin = 0
        while begin < rows:
            size = min(self.limit, rows - begin)
            part = slice(begin, begin + size)
            result = self._once(part, call)
            if result is None and self._relieve():
                _tidy()
                continue
            if result is None and size > 1:
                self.limit = size // 2
                self.notes.add(f"out of memory in {what}: {self.limit} at a time from here on")
                continue
            if result is None and last is not None:
                result = self._once(part, last)
            if result is None:
                raise ResourceError(
                    f"out of memory in {what}, even for one item alone: lower the resolution, "
                    "load the model in half precision (dtype, --dtype), let weights wait in main memory (offload, "
                    "--offload), or choose another device (--device)"
                )
            results.append(result)
            begin += size
        return results

    @staticmethod
    def _once(part: slice, call: Callable[[slice], T]) -> T | None:
        try:
            return _attempt(lambda: call(part))
        except NotFiniteError as error:
            raise error.renumbered(range(part.start, part.stop)) from None


class ChunkedCodec:
    """A codec that never gives the one inside more than `limit` items; one that is too much alone is done in tiles.

    Args:
        codec: the codec to protect.
        limit: most items a call; by default as many as memory holds.
        relieve: as of `Ladder`.
    """

    def __init__(
        self, codec: Codec, limit: int = UNLIMITED, relieve: Callable[[], bool] = lambda: False
    ) -> None:
        self.codec, self.notes = codec, codec.notes
        self._ladder = Ladder(limit, self.notes, relieve)
        self._tiled: Codec | None = None

    @property
    def factor(self) -> int:
        """Pixels per latent cell, along each side."""
        return self.codec.factor

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.codec.channels

    @property
    def limit(self) -> int:
        """Most items a call at present; it only ever falls."""
        return self._ladder.limit

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode in chunks that fit into memory; see `Codec`.

        Raises:
            ResourceError: not even one item fits, in tiles.
        """
        return self._run(pixels, "encode")

    def decode(self, latents: Tensor) -> Tensor:
        """Decode in chunks that fit into memory; see `Codec`.

        Raises:
            ResourceError: not even one item fits, in tiles.
        """
        return self._run(latents, "decode")

    def _run(self, values: Tensor, verb: str) -> Tensor:
        def whole(part: slice) -> Tensor:
            codec = self._tiled or self.codec
            return codec.encode(values[part]) if verb == "encode" else codec.decode(values[part])

        def tiled(part: slice) -> Tensor:
            if not isinstance(self.codec, AutoencoderCodec) or self._tiled is not None:
                raise torch.OutOfMemoryError(f"{verb}: no smaller tiles")
            if not self.codec.has_tiles:
                raise ResourceError(
                    f"out of memory in the autoencoder ({verb}), and this one does not work in tiles: lower the "
                    "resolution, or choose another device (--device)"
                )
            self._tiled = self.codec.with_tiles()
            self.notes.add(f"out of memory in the autoencoder ({verb}): done in tiles from here on")
            return whole(part)

        return torch.cat(self._ladder.run(values.shape[0], whole, f"the autoencoder ({verb})", tiled))
