"""Every golden case gives what was recorded; see `cases` for the table, `comparing` for what may differ where.

A change that is meant is recorded anew, with its reason: `python -m tests.golden.record --only NAME --why TEXT`.
"""

from __future__ import annotations

import os

import pytest

from tests.golden.cases import CASES
from tests.golden.comparing import differences, is_exact
from tests.golden.recording import RECORDED, Recording, record

EXACT_ONLY = "WORDBRUSH_GOLDEN_EXACT"
"""Set to 1, a machine that can only compare within tolerances fails: for those who must know that no byte changed."""

RUNS = [(name, 1) for name in CASES] + [(name, 2) for name, case in CASES.items() if case.model == "toy"]


@pytest.mark.parametrize(("name", "threads"), RUNS, ids=[f"{name}-{threads}" for name, threads in RUNS])
def test_a_case_gives_what_was_recorded(name: str, threads: int) -> None:
    recorded = Recording.load(name)
    made = record(CASES[name], threads=threads)
    lines = differences(made, recorded)
    exact = is_exact(made, recorded)
    if not exact and os.environ.get(EXACT_ONLY) == "1":
        here, there = made.facts["fingerprint"], recorded.facts["fingerprint"]
        lines += [f"another machine: {key} {here.get(key)} instead of {there.get(key)}" for key in there]
    told = "to the byte" if exact else "within tolerances, on another machine"
    assert not lines, "\n".join([f"{name}, {threads} threads, compared {told}:", *lines])


def test_every_case_is_recorded_and_nothing_else() -> None:
    found = {path.relative_to(RECORDED).with_suffix("").as_posix() for path in RECORDED.glob("*/*")}
    assert found == CASES.keys()
