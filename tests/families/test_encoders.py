"""Text encoders make room when memory is short: once, told, and come back for new texts; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.support import tiny
from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from wordbrush.editor import Editor
from wordbrush.errors import ResourceError
from wordbrush.models import Model, load_model
from wordbrush.models.checkpoint.offload import encoders_of
from wordbrush.models.checkpoint.parts import from_pipeline
from wordbrush.models.family import Origin, Parts
from wordbrush.models.registry import family_of_pipeline

LEFT = "out of memory: the text encoders left the device, and come back for new texts alone"
SETTINGS: dict[str, Any] = {"steps": 4, "maps": 1, "strength": 0.5, "resolution": SIDE, "ratio": 0.5}
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
REGION = np.zeros((SIDE, SIDE), bool)
REGION[8:24, 8:24] = True
ENCODERS = ("text_encoder", "text_encoder_2")


class Journal:
    """Notes where text encoders are brought and when networks run; the real modules do the rest.

    Args:
        parts: of a model.
        hungry: the parts that run out of memory while an encoder is on the device.
        never: they run out of memory in any case.
    """

    def __init__(self, parts: Parts, hungry: tuple[str, ...] = (), *, never: bool = False) -> None:
        self.lines: list[str] = []
        self.present = set(ENCODERS)
        for name in ENCODERS:
            self._watch(name, parts[name])
        for name in hungry:
            self._starve(parts[name].decoder if name == "vae" else parts[name], name, never)

    def _watch(self, name: str, encoder: nn.Module) -> None:
        move = encoder.to

        def to(place: Any) -> nn.Module:
            # Away and back are both the CPU here: the first goes by its name, as text, the second is the model's own.
            leaves = isinstance(place, str)
            (self.present.discard if leaves else self.present.add)(name)
            self.lines.append(f"{name} {'leaves' if leaves else 'comes'}")
            return move(place)

        encoder.to = to  # type: ignore[assignment, method-assign]

    def _starve(self, module: nn.Module, name: str, never: bool) -> None:
        def before(*_: Any) -> None:
            self.lines.append(name)
            if self.present or never:
                raise torch.OutOfMemoryError("CUDA out of memory")

        module.register_forward_pre_hook(before)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def built() -> Iterator[tuple[Model, Parts]]:
    """A tiny FLUX.1, whose encoders may leave as if it were on a device of its own, and its parts."""
    pipeline = ROWS["flux-1-dev"].build()
    family = family_of_pipeline(pipeline, "flux-1-dev")
    parts, device = from_pipeline(pipeline, family, "flux-1-dev")
    model = family.build(parts, Origin("m", "m", "", device))
    yield replace(model, encoders=encoders_of(parts, family, device)), parts


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_encoders_leave_before_anything_is_made_smaller_and_the_edit_is_the_same(
    part: str, built: tuple[Model, Parts]
) -> None:
    model, parts = built
    wanted = Editor(model).edit(PICTURE, "a red fox", "a dog", include=REGION, **SETTINGS)
    assert model.encoders is not None
    assert not model.encoders.released
    journal, editor = Journal(parts, (part,)), Editor(model)
    limit = editor.driver.batch_limit
    found = editor.edit(PICTURE, "a red fox", "a dog", include=REGION, **SETTINGS)
    lines = journal.take()
    assert lines[:4] == [part, "text_encoder leaves", "text_encoder_2 leaves", part]
    assert set(lines[4:]) <= {part}
    assert found.report.warnings == (*wanted.report.warnings, LEFT)
    assert found.image.tobytes() == wanted.image.tobytes()
    assert editor.driver.batch_limit == limit
    # Known texts bring nothing back; a new one does, each encoder for its own call, and it is told but once.
    again = editor.edit(PICTURE, "a red fox", "a dog", include=REGION, seed=1, **SETTINGS)
    assert set(journal.take()) == {part}
    assert LEFT not in again.report.warnings
    editor.edit(PICTURE, "a blue fox", "a dog", include=REGION, **SETTINGS)
    came = [line for line in journal.take() if line != part]
    assert came == [f"{name} {way}" for name in reversed(ENCODERS) for way in ("comes", "leaves")]


def test_an_encoder_that_fails_leaves_all_the_same(built: tuple[Model, Parts]) -> None:
    model, parts = built
    assert model.encoders is not None
    assert model.encoders.release()
    assert not model.encoders.release()
    journal = Journal(parts)

    def fail(*_: Any) -> None:
        raise ValueError("no")

    parts["text_encoder"].register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="no"):
        model.text.encode(["a dog"])
    assert journal.take()[-2:] == ["text_encoder comes", "text_encoder leaves"]


def test_where_even_that_is_too_little_the_error_names_the_ways_out(built: tuple[Model, Parts]) -> None:
    model, parts = built
    Journal(parts, ("transformer",), never=True)
    with pytest.raises(ResourceError, match=r"denoising network, even for one item alone.*--offload"):
        Editor(model).edit(PICTURE, "a red fox", "a dog", include=REGION, **SETTINGS)


def test_memory_that_runs_out_in_a_text_encoder_is_one_sentence(built: tuple[Model, Parts]) -> None:
    model, parts = built

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    parts["text_encoder"].register_forward_pre_hook(fail)
    with pytest.raises(ResourceError, match=r"out of memory in the text encoder.*--offload"):
        Editor(model).edit(PICTURE, "a red fox", **SETTINGS)


def test_networks_that_do_not_fit_together_come_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import UNet2DConditionModel

    tiny.write_folder(tmp_path / "sd1", "sd1")
    whole = load_model(tmp_path / "sd1", device="cpu")
    assert whole.encoders is None  # on the CPU nothing would be gained
    move, fails = UNet2DConditionModel.to, [True]

    def to(module: nn.Module, *places: Any) -> Any:
        if fails.pop() if fails else False:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(module, *places)

    monkeypatch.setattr(UNet2DConditionModel, "to", to)
    model = load_model(tmp_path / "sd1", device="cpu")
    assert model.notes == ("the networks do not fit on cpu together: they come one at a time (offload model)",)
    assert hasattr(model.denoiser.network.module, "_hf_hook")  # type: ignore[attr-defined]
    assert model.encoders is None
    x, level = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)), whole.schedule.level(0.5)
    text = whole.text.encode(["a dog"])[0].conditioning
    assert torch.equal(model.denoiser(x, level, text).eps, whole.denoiser(x, level, text).eps)
