"""Visitors: bounded in number, time, pictures, versions and bytes; found by their own key only."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from wordbrush.report import Report
from wordbrush.web.options import Limits
from wordbrush.web.state.keys import new_key
from wordbrush.web.state.pictures import Opened, Strokes
from wordbrush.web.state.request import PageRequest
from wordbrush.web.state.versions import Version
from wordbrush.web.state.visitors import Visitor, Visitors


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(limits: Limits | None = None) -> Opened:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return Opened.read(buffer.getvalue(), "red.png", limits or Limits())


def version(size: int = 10, source: bytes = b"") -> Version:
    given: dict[str, Any] = {"thumb": b"", "name": "a-1.png", "number": 1, "seed": 0, "mask": b"", "command": ""}
    given |= {"source": source, "source_name": "a.png", "picture": new_key(), "strokes": Strokes(), "own_mask": None}
    return Version(png=bytes(size), request=PageRequest(query="a"), report=Report(0, {}, {}, 0.5, 0.8), **given)


def visitor(**limits: Any) -> Visitor:
    return Visitors(Limits(**limits)).welcome(None)


def test_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(len(key) == 43 and key.replace("-", "a").replace("_", "a").isalnum() for key in keys)


def test_only_a_key_that_was_given_finds_somebody() -> None:
    visitors = Visitors(Limits())
    first, second = visitors.welcome(None), visitors.welcome(None)
    assert visitors.of(first.key) is first
    assert visitors.of(second.key) is second
    for wrong in (None, "", "x", first.key[:-1], first.key + "x", first.key.upper(), new_key()):
        assert visitors.of(wrong) is None
    assert visitors.welcome(first.key) is first
    stranger = new_key()
    assert visitors.welcome(stranger).key != stranger


def test_beyond_the_limit_who_was_idle_longest_goes(clock: Clock) -> None:
    visitors = Visitors(Limits(visitors=3), clock)
    kept = [visitors.welcome(None) for _ in range(3)]
    clock.now += 1
    visitors.of(kept[0].key)
    fourth = visitors.welcome(None)
    assert len(visitors) == 3
    assert visitors.of(kept[1].key) is None
    assert [visitors.of(one.key) for one in (kept[0], kept[2], fourth)] == [kept[0], kept[2], fourth]


def test_the_idle_are_dropped_with_all_they_had(clock: Clock) -> None:
    visitors = Visitors(Limits(idle_seconds=60), clock)
    idle, active = visitors.welcome(None), visitors.welcome(None)
    idle.open(opened())
    idle.keep(version())
    clock.now += 40
    visitors.of(active.key)
    clock.now += 30
    assert visitors.of(None) is None  # anybody's look sweeps
    assert len(visitors) == 1
    assert visitors.of(idle.key) is None
    assert not idle.pictures
    assert not idle.versions
    assert visitors.of(active.key) is active


def test_who_has_work_is_not_idle(clock: Clock) -> None:
    visitors = Visitors(Limits(idle_seconds=60), clock)
    busy = visitors.welcome(None)
    stop = busy.begin("tab")
    clock.now += 1000
    visitors.of(None)
    assert len(visitors) == 1
    busy.end(stop)
    visitors.of(None)
    assert len(visitors) == 0


def test_dropping_somebody_stops_their_work() -> None:
    visitors = Visitors(Limits(visitors=1))
    stop = visitors.welcome(None).begin("tab")
    visitors.welcome(None)
    assert stop.is_set()
    second_stop = visitors.welcome(None).begin("tab")
    visitors.clear()
    assert second_stop.is_set()
    assert len(visitors) == 0


def test_stopping_a_tab_leaves_the_others() -> None:
    mine = visitor()
    here, there = mine.begin("here"), mine.begin("there")
    mine.stop("here")
    assert (here.is_set(), there.is_set()) == (True, False)
    mine.stop("nowhere")
    mine.stop()
    assert there.is_set()


def test_the_picture_used_longest_ago_is_closed() -> None:
    mine = visitor(pictures=2)
    first, second, third = opened(), opened(), opened()
    mine.open(first)
    mine.open(second)
    assert mine.picture(first.id) is first
    mine.open(third)
    assert mine.picture(second.id) is None
    assert list(mine.pictures) == [first.id, third.id]
    assert mine.picture("none") is None


def test_the_oldest_version_goes_first() -> None:
    mine, made = visitor(versions=3), [version() for _ in range(5)]
    for one in made:
        mine.keep(one)
    assert list(mine.versions.values()) == made[2:]


def test_versions_are_bounded_in_bytes_with_each_source_counted_once() -> None:
    mine, source = visitor(version_bytes=1000), bytes(400)
    made = [version(250, source) for _ in range(3)]
    for one in made:
        mine.keep(one)
    assert list(mine.versions.values()) == made[1:]  # 400 + 2 x 250, where a third would make 1,150
    mine.keep(version(5000))  # the newest stays whatever it takes
    assert len(mine.versions) == 1


def test_many_at_once_keep_to_the_limits() -> None:
    visitors = Visitors(Limits(visitors=8, versions=4))

    def visit(_: int) -> None:
        mine = visitors.welcome(None)
        for _ in range(10):
            mine.keep(version())
            assert len(mine.versions) <= 4
            visitors.of(mine.key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(64)))
    assert len(visitors) == 8


def test_two_visitors_share_nothing() -> None:
    visitors = Visitors(Limits())
    mine, yours = visitors.welcome(None), visitors.welcome(None)
    picture, made = opened(), version()
    mine.open(picture)
    mine.keep(made)
    assert yours.picture(picture.id) is None
    assert made.id not in yours.versions


def test_newcomers_push_out_who_has_nothing_before_who_has_something() -> None:
    visitors = Visitors(Limits(visitors=3))
    working, waiting = visitors.welcome(None), visitors.welcome(None)
    working.open(opened())
    waiting.begin("tab")
    for _ in range(10):
        newest = visitors.welcome(None)
    assert visitors.of(working.key) is working
    assert visitors.of(waiting.key) is waiting
    assert visitors.of(newest.key) is newest
    assert len(visitors) == 3


def test_all_visitors_together_are_bounded_in_bytes() -> None:
    visitors = Visitors(Limits(total_bytes=1000))
    some = [visitors.welcome(None) for _ in range(3)]
    for one in some:
        one.keep(version(400, b""))
    some[0].begin("tab")
    visitors.trim()
    assert [visitors.of(one.key) is one for one in some] == [True, False, True]  # who has work stays
    assert not some[1].versions
