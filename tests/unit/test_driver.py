"""The driver: many programs on one model, and what happens when one of them goes wrong at any of its asks."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support import toy
from wordbrush.diffusion.ask import Ask, Once, Program
from wordbrush.diffusion.denoiser import Conditioning, Prediction
from wordbrush.diffusion.faults import NotFiniteError, check_items
from wordbrush.diffusion.schedule import Level
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.engine.events import Event
from wordbrush.engine.running import Item
from wordbrush.engine.store import Store
from wordbrush.errors import Cancelled, MaskError, PictureError, ResourceError, WordbrushError
from wordbrush.models.model import Model
from wordbrush.request import EditRequest
from wordbrush.result import EditResult, results_of
from wordbrush.settings import Settings

DARK = "dark left, dark right"
HALF = "dark left, light right"
STEPS: dict[str, Any] = {"solver": "ddim", "spacing": "model", "inversion_stride": 1}
PLAIN: dict[str, Any] = {**STEPS, "guidance_low": 0.0, "guidance_every": 1}


def walk(**switches: Any) -> Settings:
    """Settings of the plain walk: each level a step, first order unless named."""
    return Settings(**PLAIN | switches)


FEW = walk(steps=4, ratio=0.75, maps=3, strength=(0.6,), fixed_point=1, guidance=2.0)
"""An edit of 3 maps under two texts, 3 steps up of two evaluations each, 3 steps down: 11 calls, 2 of the codec."""
CHEAP = Settings(steps=4, ratio=0.75, maps=3, strength=(0.6,), guidance=2.0, guidance_every=2)
"""The walks as they are by default: 2 calls for the maps, 2 strides up the 3 levels, 3 steps down: 7, 2 of the codec.
Of the steps down one is guided, one takes its difference over, and one is below the noise where guidance ends."""

Fault = Callable[[], Exception]


def picture(seed: int = 0, width: int = 32, height: int = 32) -> NDArray[np.uint8]:
    """A dark picture with a little texture."""
    return (64 + np.random.default_rng(seed).integers(-12, 13, (height, width, 3))).astype(np.uint8)


def request(seed: int, settings: Settings = FEW, **changes: Any) -> EditRequest:
    return EditRequest(
        **{"picture": picture(seed), "query": HALF, "reference": DARK, "seed": seed, "settings": settings, **changes}
    )


def bytes_of(results: list[EditResult | WordbrushError]) -> list[Any]:
    return [None if isinstance(r, WordbrushError) else np.asarray(r.image).tobytes() for r in results]


class Faulty:
    """A denoiser or codec whose call of one number raises, or whose answer holds a value that is not finite."""

    def __init__(self, model: Model, fault: Fault, at: int) -> None:
        self.model, self.fault, self.at, self.count = model, fault, at, 0
        self.factor, self.channels, self.notes = model.codec.factor, model.codec.channels, model.codec.notes

    def _maybe(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise self.fault()

    def __call__(
        self, x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None
    ) -> Prediction:
        self._maybe()
        return self.model.denoiser(x, level, conditioning, label=label)

    def encode(self, pixels: Tensor) -> Tensor:
        self._maybe()
        return self.model.codec.encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self._maybe()
        return self.model.codec.decode(latents)


def faulty_editor(part: str, fault: Fault, at: int, **driver: Any) -> tuple[Editor, Faulty]:
    model = toy.model()
    faulty = Faulty(model, fault, at)
    parts: dict[str, Any] = {part: faulty}
    editor = Editor(replace(model, **parts))
    editor.driver = Driver(editor.model, **driver)
    return editor, faulty


def nan() -> Exception:
    return NotFiniteError("the denoising network", [0])


def memory() -> Exception:
    return torch.OutOfMemoryError("out of memory")


# One item fails, its mates do not.


def calls_of(part: str, settings: Settings = FEW) -> int:
    editor, counted = faulty_editor(part, nan, -1)
    editor.edit_batch([request(0, settings)])
    return counted.count


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize(
    ("part", "settings", "calls"), [("denoiser", FEW, 11), ("denoiser", CHEAP, 7), ("codec", FEW, 2)]
)
@pytest.mark.parametrize("fault", [nan, RuntimeError], ids=["not finite", "any error"])
def test_a_fault_at_any_ask_ends_its_item_alone(
    part: str, settings: Settings, calls: int, fault: Fault, join: bool
) -> None:
    """The first of three items is broken at each of its asks in turn; joined, the network fails once for all and is
    asked again one by one."""
    requests = [request(seed, settings) for seed in range(3)]
    wanted = bytes_of(toy.editor(join=False).edit_batch(requests, on_error="return"))
    total = calls_of(part, settings)
    assert total == calls
    for at in range(1, total + 1):
        editor, faulty = faulty_editor(part, fault, at, join=join, batch_limit=16)
        if fault is nan:
            found = editor.edit_batch(requests, on_error="return")
            failed = [isinstance(result, WordbrushError) for result in found]
            # A joined call that fails once goes well when each is asked alone: then nobody fails.
            assert sum(failed) <= 1
            assert join or failed == [True, False, False]
            assert all(a == b for a, b in zip(bytes_of(found), wanted, strict=True) if a is not None)
        elif not join:
            with pytest.raises(RuntimeError):
                editor.edit_batch(requests, on_error="return")
        faulty.at = -1  # the driver is as good as new
        assert bytes_of(editor.edit_batch(requests, on_error="return")) == wanted


def test_a_row_that_is_not_finite_in_a_joined_call_ends_the_item_it_belongs_to() -> None:
    real = toy.model()

    def broken(x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
        found = real.denoiser(x, level, conditioning, label=label)
        eps = found.eps.clone()
        eps[conditioning["halves"][:, 0] == 0.5] = torch.nan  # whatever is told "light left"
        check_items(eps, "the denoising network")
        return Prediction(found.x0, eps)

    editor = Editor(replace(real, denoiser=broken))
    editor.driver = Driver(editor.model, join=True)
    requests = [request(0), request(1, query="light left"), request(2)]
    wanted = bytes_of(toy.editor(join=False).edit_batch([requests[0], requests[2]], on_error="return"))
    first, second, third = editor.edit_batch(requests, on_error="return")
    assert isinstance(second, NotFiniteError)
    assert (second.stage, second.step) == ("contrast", 4)  # the first under its own query
    assert bytes_of([first, third]) == wanted


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize(("settings", "climbs"), [(FEW, 3), (CHEAP, 2)])
def test_a_callback_that_stops_at_any_event_ends_its_item_alone(settings: Settings, climbs: int, join: bool) -> None:
    requests = [request(seed, settings) for seed in range(3)]
    wanted = bytes_of(toy.editor(join=False).edit_batch(requests, on_error="return"))
    seen: list[tuple[str, int]] = []
    toy.editor(join=join).edit_batch([requests[0]], callback=lambda event: seen.append((event.stage, event.step)))
    steps = [(stage, step + 1) for stage, count in (("invert", climbs), ("decode", 3)) for step in range(count)]
    maps = [("contrast", 6)] if join else [("contrast", 3), ("contrast", 6)]
    assert seen == [("encode", 1), *maps, *steps, ("compose", 1)]
    for stage, step in seen:

        def stop(event: Event, place: tuple[str, int] = (stage, step)) -> None:
            if event.item == 1 and (event.stage, event.step) == place:
                raise Cancelled("enough")

        editor = toy.editor(join=join)
        found = editor.edit_batch(requests, callback=stop, on_error="return")
        assert [type(result) for result in found] == [EditResult, Cancelled, EditResult]
        assert bytes_of([found[0], found[2]]) == [wanted[0], wanted[2]]
        with pytest.raises(Cancelled):
            editor.edit_batch(requests, callback=stop)
        assert bytes_of(editor.edit_batch(requests, on_error="return")) == wanted


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("part", ["denoiser", "codec"])
def test_memory_that_runs_out_at_any_ask_costs_smaller_calls_or_that_item(part: str, join: bool) -> None:
    """Calls of several rows are made again in halves and nobody fails; a single row that does not fit ends its item."""
    requests = [request(seed) for seed in range(2)]
    wanted = bytes_of(toy.editor(join=False).edit_batch(requests, on_error="return"))
    for at in range(1, calls_of(part) + 1):
        editor, faulty = faulty_editor(part, memory, at, join=join)
        found = editor.edit_batch(requests, on_error="return")
        failed = [isinstance(result, ResourceError) for result in found]
        assert all(isinstance(result, EditResult | ResourceError) for result in found)
        assert all(a == b for a, b in zip(bytes_of(found), wanted, strict=True) if a is not None)
        if part == "denoiser" and not join:
            # Three rows of the contrast under each text, then single rows up, then two of the guided decode.
            assert failed == [2 < at < 9, False]
            assert editor.driver.batch_limit == (1 if at < 3 or at >= 9 else 8)
        assert sum(failed) <= 1
        assert faulty.count > at
        faulty.at = -1  # the driver is as good as new
        assert bytes_of(editor.edit_batch(requests, on_error="return")) == wanted


def test_memory_too_small_for_one_row_ends_the_item_and_says_what_helps() -> None:
    model = toy.model()

    def never(*_: object, **__: object) -> Prediction:
        raise memory()

    with pytest.raises(ResourceError, match="lower the resolution"):
        Editor(replace(model, denoiser=never)).edit_batch([request(0)])


def test_bad_input_of_one_item_is_its_own() -> None:
    requests = [request(0), request(1, picture=b"no picture"), request(2, mask=b"no mask"), request(3)]
    found = toy.editor().edit_batch(requests, on_error="return")
    assert [type(result) for result in found] == [EditResult, PictureError, MaskError, EditResult]
    with pytest.raises(PictureError):
        toy.editor().edit_batch(requests)
    assert toy.editor().edit_batch([]) == []


def test_what_a_failed_edit_held_is_given_back() -> None:
    """Tensors live until the last who knows them: neither driver nor session keeps a broken edit's latents."""
    kept: list[weakref.ref[Tensor]] = []
    model = toy.model()

    def watched(x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
        kept.append(weakref.ref(x))
        if len(kept) == 6:
            raise nan()
        return model.denoiser(x, level, conditioning, label=label)

    editor = Editor(replace(model, denoiser=watched))
    (error,) = editor.edit_batch([request(0)], on_error="return")
    assert isinstance(error, NotFiniteError)
    del error
    gc.collect()
    assert [ref() is None for ref in kept] == [True] * 6


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("join", [False, True])
def test_asks_of_unlike_sizes_and_levels_get_their_own_answers(join: bool, limit: int) -> None:
    """Several asks at once, of which not all fit into a call: each is answered as if it were alone."""
    model, generator = toy.model(), torch.Generator().manual_seed(0)

    def ask(rows: int, time: float, side: int) -> Ask:
        x = torch.randn(rows, 3, side, side, generator=generator)
        return Ask(x, toy.TRAINED.level(time), Conditioning({"halves": torch.zeros(rows, 2)}))

    shapes = [(1, 0.5, 4), (3, 0.5, 4), (1, 0.7, 4), (2, 0.5, 8), (1, 0.5, 4), (2, 0.7, 4)]
    asks = [[ask(*shape) for shape in shapes] for _ in range(2)]

    def program(mine: list[Ask]) -> Program[tuple[Prediction, ...]]:
        answers: tuple[Prediction, ...] = yield tuple(mine)
        return answers

    driver = Driver(model, batch_limit=limit, join=join)
    run = driver.run([Item(program(mine), Store(0)) for mine in asks])
    for mine, outcome in zip(asks, run.outcomes, strict=True):
        for wanted, answer in zip(mine, outcome.result(), strict=True):
            alone = model.denoiser(wanted.x, wanted.level, wanted.conditioning)
            torch.testing.assert_close(answer.eps, alone.eps, rtol=0, atol=1e-6)
            torch.testing.assert_close(answer.x0, alone.x0, rtol=0, atol=1e-6)
    assert driver.rows == 20


def test_what_a_broken_off_run_had_to_do_differently_is_not_told_of_the_next() -> None:
    editor, faulty = faulty_editor("denoiser", memory, 1)

    def stop(event: Event) -> None:
        if event.stage == "invert":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        editor.edit_batch([request(0)], callback=stop)
    assert faulty.count > 1
    (result,) = editor.edit_batch([request(0)])
    assert not any("out of memory" in warning for warning in result.report.warnings)


# Values made once.


def test_a_value_that_two_programs_want_is_made_by_one() -> None:
    made: list[str] = []

    def value(name: str) -> Program[Tensor]:
        made.append(name)
        x = torch.zeros(1, 3, 4, 4)
        answer: Prediction = yield Ask(x, toy.TRAINED.level(0.5), Conditioning({"halves": torch.zeros(1, 2)}))
        return answer.x0

    def program(name: str) -> Program[Tensor]:
        got: Tensor = yield Once(("latent", "shared"), value(name))
        return got

    for join in (False, True):
        made.clear()
        store = Store(1 << 20)
        run = Driver(toy.model(), join=join).run([Item(program(name), store) for name in "abc"])
        assert made == ["a"]
        assert len({id(outcome.result()) for outcome in run.outcomes}) == 1
        assert [outcome.reused for outcome in run.outcomes] == [(), ("latent",), ("latent",)]


def test_a_value_whose_maker_fails_is_made_by_the_next() -> None:
    def value(good: bool) -> Program[NDArray[Any]]:
        x = torch.zeros(1, 3, 4, 4)
        yield Ask(x, toy.TRAINED.level(0.5), Conditioning({"halves": torch.zeros(1, 2)}))
        if not good:
            raise Cancelled("gone")
        return np.ones(3)

    def program(good: bool) -> Program[float]:
        got: NDArray[Any] = yield Once(("latent", "shared"), value(good))
        return float(got.sum())

    for join in (False, True):
        store = Store(1 << 20)
        run = Driver(toy.model(), join=join).run([Item(program(good), store) for good in (False, True, True)])
        assert isinstance(run.outcomes[0].error, Cancelled)
        assert [outcome.value for outcome in run.outcomes[1:]] == [3.0, 3.0]


def test_a_path_that_was_dropped_is_counted_when_it_is_made_again_and_can_be_stopped() -> None:
    """Two references in a store for one: every evaluation that ran is reported, none runs unseen."""
    editor = toy.editor()
    session = editor.open(picture(), memory_limit=200_000)
    many = walk(steps=25, inversion_text="reference")
    requests = [
        replace(request(0), picture=session.picture, reference=text, settings=many)
        for text in (DARK, "dark left")
    ]
    before, events = editor.driver.rows, list[Event]()
    results = results_of(editor.driver, map(session.item, requests), preset=None, callback=events.append)
    ran = editor.driver.rows - before
    assert session.memory.dropped > 0
    assert sum(results[0].report.evaluations.values()) == ran
    assert results[0].report.evaluations["invert"] == 2 * 22 == len([e for e in events if e.stage == "invert"])


# Many programs together.


def unlike() -> list[EditRequest]:
    """Eight edits that share neither settings nor texts nor sizes."""
    sizes = itertools.cycle([(32, 32), (32, 32), (32, 32), (40, 20)])
    settings = [
        walk(steps=20, ratio=0.9, maps=10, strength=(0.6,), edges="cells"),
        walk(steps=12, ratio=0.5, maps=3, strength=(0.6,), inversion_label="source"),
        walk(steps=31, ratio=0.7, maps=2, strength=(0.6,), guidance=3.0),
        walk(steps=8, ratio=1.0, maps=5, strength=(0.6,), fixed_point=1),
        walk(steps=10, solver="dpm2m", maps=10, strength=(0.55, 0.65)),
        walk(steps=15, maps=10, strength=(0.6,), eta=0.5, edges="smooth"),
        walk(steps=9, maps=10, strength=(0.6,), inversion_text="reference", inversion_guidance=2.0),
        walk(steps=14, maps=10, strength=(0.6,), strength_axis="grid", norm="l2", sign="signed"),
    ]
    texts = [HALF, "light left", "light left, light right", "light right"]
    return [
        EditRequest(
            picture=picture(number, *size), query=texts[number % 4], reference=DARK, seed=number, settings=chosen
        )
        for number, (size, chosen) in enumerate(zip(sizes, settings, strict=False))
    ]


def test_unlike_edits_together_equal_each_alone_in_fewer_calls() -> None:
    requests = unlike()
    wanted, calls = [], 0
    for single in requests:
        editor = toy.editor(join=False, batch_limit=64)
        wanted += editor.edit_batch([single])
        calls += editor.driver.calls
    for join in (False, True):
        editor = toy.editor(join=join, batch_limit=64)
        found = editor.edit_batch(requests)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.mask.values, other.mask.values)
            np.testing.assert_array_equal(np.asarray(one.image), np.asarray(other.image))
            assert one.provenance == other.provenance
        assert calls == 156
        assert editor.driver.calls == (62 if join else calls)
        assert editor.driver.batch_limit == 64


@pytest.mark.parametrize("join", [False, True])
def test_a_stream_takes_items_as_others_end_and_tells_what_each_cost(join: bool) -> None:
    made = toy.editor(join=join, batch_limit=4)
    requests = [request(seed, FEW if seed % 2 else CHEAP) for seed in range(6)]
    items = [made.open(one.picture).item(one) for one in requests]
    whole = Driver(made.model, join=join, batch_limit=4).run([made.open(one.picture).item(one) for one in requests])
    taken, ended = list[int](), dict[int, Any]()

    def lazily() -> Iterator[Item[Any]]:
        for number, item in enumerate(items):
            taken.append(number)
            yield item

    for one in made.driver.stream(lazily()):
        # No more is taken than may run at once, so that any number of items can wait.
        assert len(taken) <= len(ended) + (4 if join else 1)
        ended[one.number] = one
        if not join:
            assert one.number == len(ended) - 1
    assert sorted(ended) == list(range(6))
    for number, outcome in enumerate(whole.outcomes):
        streamed = ended[number].outcome.result().image
        assert np.abs(np.asarray(streamed, int) - np.asarray(outcome.result().image, int)).max() <= (1 if join else 0)
    summed = {stage: sum(one.costs.evaluations[stage] for one in ended.values()) for stage in whole.evaluations}
    assert summed == whole.evaluations
    stages = {"encode", "contrast", "invert", "decode", "compose"}
    assert all(one.costs.timings.keys() == stages for one in ended.values())


def test_a_stream_that_is_left_closes_what_runs() -> None:
    made = toy.editor(join=True, batch_limit=2)
    stream = made.driver.stream(made.open(picture(seed)).item(request(seed)) for seed in range(4))
    assert next(stream).outcome.error is None
    stream.close()
    assert made.driver.run([made.open(picture(0)).item(request(0))]).outcomes[0].error is None
