"""The GPU benchmark, tried on the CPU: its parts run, tell what they find, and fail without the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from benchmarks.gpu import parts
from benchmarks.gpu.__main__ import LIMITS, Run, one_part
from benchmarks.gpu.probes import Case
from wordbrush.speed.compiled import Compiled


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Parts change switches of their whole process, which is theirs alone otherwise."""
    with patch.object(Compiled.__init__, "__defaults__", ("eager",)), torch.random.fork_rng(devices=[]):
        yield


def ran(name: str, tmp_path: Path) -> dict[str, Any]:
    """Run a part; return its facts as they stand in its file."""
    one_part(name, "cpu", tmp_path / "facts.json", tmp_path / "turn")
    facts: dict[str, Any] = json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert facts["status"] == "done", facts
    assert "traceback" not in str(facts)
    return facts


def test_every_part_has_a_limit() -> None:
    assert list(parts.PARTS) == list(LIMITS)


def test_float32_is_the_cpus_and_bfloat16_is_near(tmp_path: Path) -> None:
    facts = ran("precision", tmp_path)
    same, near = facts["float32"], facts["bfloat16"]
    assert same["mask_iou"] == 1.0
    assert (same["levels_max"], same["repeats"]) == (0, 0)
    assert same["background_is_the_input"] is near["background_is_the_input"] is True
    assert 0.1 < near["mask_area"] < 0.5
    assert near["mask_iou"] > 0.95
    assert 0 < near["levels_mean"] < 2
    assert same["evaluations"] > same["calls"] > 0


def test_several_edits_share_calls(tmp_path: Path) -> None:
    facts = ran("many", tmp_path)
    one, two = facts["1 at once, joined"], facts["2 at once, joined"]
    assert two["rows"] == 2 * one["rows"]
    assert two["calls"] == one["calls"]


def test_waits_are_counted(tmp_path: Path) -> None:
    facts = ran("waiting", tmp_path)
    assert facts["trace"]["counts"]["aten::_local_scalar_dense"] > facts["calls"] > 0
    assert facts["trace"]["device_ms"] == {}


def test_a_family_gives_the_same_edits_and_a_compiled_pass_the_same_numbers(tmp_path: Path) -> None:
    edits = ran("families", tmp_path)["flux-1-dev"]
    assert edits["first"]["levels_max"] == edits["second"]["levels_max"] == 0
    passes = ran("forwards-bfloat16", tmp_path)
    assert passes["finite"]
    assert max(passes["channels_last_error"], passes["compiled_error"]) < 0.02
    assert passes["kinds"] == 1


def test_what_fails_is_told_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> None:
        case.tell(before=1)
        with case.trying("first"):
            int("no kernel")
        with case.trying("second") as found:
            found["seconds"] = 2
        raise MemoryError("all gone")

    monkeypatch.setitem(parts.PARTS, "memory", broken)
    facts = one_part("memory", "cpu", tmp_path / "facts.json", None)
    assert facts == json.loads((tmp_path / "facts.json").read_text("utf-8"))
    assert facts["status"] == "MemoryError: all gone"
    assert facts["first"]["error"].startswith("ValueError: invalid literal")
    assert 'int("no kernel")' in facts["first"]["traceback"]
    assert (facts["before"], facts["second"]["seconds"]) == (1, 2)


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended_and_told(tmp_path: Path) -> None:
    found = Run(["machine", "memory"], "cpu", tmp_path / "gpu.json", 1.0).watch()
    assert found == json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    for facts in found["parts"].values():
        assert facts["status"] == "done" or "over 1 s" in str(facts) or "ended by itself with" in facts["status"]
