"""Several threads on one session: known maps are cut again while an edit runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support import toy
from wordbrush.engine import driver as drivers
from wordbrush.engine.store import Store
from wordbrush.models.model import Canvas, Prompt
from wordbrush.region.region import cut_region, region_of
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"


@pytest.fixture(autouse=True)
def _quick_turns() -> Iterator[None]:
    """Let threads take turns so often that what must not be interrupted is."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def together(*works: Callable[[], None]) -> None:
    """Run all at once; what one of them raises is raised."""
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], None]) -> None:
        gate.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(begin, work) for work in works]:
            done.result()


def test_a_store_serves_threads_that_push_one_another_out() -> None:
    store, values = Store(30), [np.full(10, key, np.uint8) for key in range(7)]

    def work() -> None:
        for number in range(3000):
            key = number % 7
            kept = store.get(("contrast", key))
            assert kept is None or kept is values[key]
            store.put(("contrast", key), values[key])
            memory = store.memory()
            assert memory.held <= 30
            assert memory.held == sum(memory.entries.values())

    together(*[work] * 4)


def test_prompts_are_encoded_once_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = toy.editor()
    encode, busy = editor.model.text.encode, threading.Lock()
    calls: list[str] = []

    def alone(texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        assert busy.acquire(blocking=False), "two threads in the text encoder"
        calls.extend(texts)
        try:
            return encode(texts, clip_skip=clip_skip, canvas=canvas)
        finally:
            busy.release()

    monkeypatch.setattr(editor.model.text, "encode", alone)

    def work() -> None:
        for number in range(400):
            text = f"word {number % 50}"
            assert editor.driver.prompt(text).text == text

    together(*[work] * 4)
    assert len(calls) == 50
    monkeypatch.setattr(drivers, "PROMPTS_KEPT", 3)
    together(*[work] * 4)


def test_a_known_map_is_cut_again_while_an_edit_runs() -> None:
    """The edit's result and every mask are those of a session on its own; cutting runs no network."""
    source = (64 + np.random.default_rng(0).integers(-12, 13, (32, 32, 3))).astype(np.uint8)
    editor, alone = toy.editor(), toy.editor().open(source)
    session = editor.open(source)
    session.contrast(HALF, DARK)
    cuts = [Settings(threshold=t, edges=e) for t in (0.1, 0.24, 0.7) for e in ("guided", "cells")]
    ratios = (0.3, 0.6, 0.9, 0.5)
    wanted = [alone.mask(HALF, DARK, settings=cut).values for cut in cuts]
    results = [alone.edit(HALF, DARK, seed=seed, ratio=ratio) for seed, ratio in enumerate(ratios, 1)]
    rows = editor.driver.rows
    counted, ended = [], threading.Event()

    def paint() -> None:
        try:
            for seed, (ratio, result) in enumerate(zip(ratios, results, strict=True), 1):
                made = session.edit(HALF, DARK, seed=seed, ratio=ratio)
                np.testing.assert_array_equal(np.asarray(made.image), np.asarray(result.image))
                counted.append(sum(made.report.evaluations.values()))
        finally:
            ended.set()

    def cut() -> None:
        while True:
            last = ended.is_set()
            for settings, values in zip(cuts, wanted, strict=True):
                contrast = session.known_contrast(HALF, DARK, settings=settings)
                assert contrast is not None
                again = region_of(session.frame, cut_region(session.frame, contrast, settings), settings).pixels
                np.testing.assert_array_equal(again.values, values)
                np.testing.assert_array_equal(session.mask(HALF, DARK, settings=settings).values, values)
            assert session.memory.held > 0
            if last:
                return

    together(paint, cut, cut)
    assert editor.driver.rows - rows == sum(counted)
