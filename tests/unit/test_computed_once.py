"""What a session and the driver do not do twice: encode the picture, encode a text, call the network for asks that fit
into one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.support import tiny, toy
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.models import load_model
from wordbrush.request import EditRequest

TEXTS = ("dark left, light right", "light left", "light left, light right")
REFERENCE = "dark left, dark right"
QUICK: dict[str, Any] = {"steps": 4, "ratio": 0.75, "maps": 2, "threshold": 0.3}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[Any]]:
    """Return what lists the first argument of every call of a method from then on."""

    def count(owner: Any, name: str) -> list[Any]:
        calls, method = list[Any](), getattr(owner, name)

        def called(first: Any, *others: Any, **more: Any) -> Any:
            calls.append(first)
            return method(first, *others, **more)

        monkeypatch.setattr(owner, name, called)
        return calls

    return count


def test_three_edits_encode_the_picture_once_and_each_text_once(counted: Callable[[Any, str], list[Any]]) -> None:
    model = load_model(tiny.pipeline("sd1"))
    vae, text = model.codec.autoencoder, model.text  # type: ignore[attr-defined] # the autoencoder's codec
    encoded, decoded, read = counted(vae, "encode"), counted(vae, "decode"), counted(text, "encode")
    session = Editor(model).open(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    for query in ("a red car", "a blue cat", "a red car"):
        session.edit(query, "a dog", negative="snow", mask=np.ones((64, 64), np.uint8) * 255, **QUICK)
    session.contrast("a horse", "a dog", **QUICK)
    assert [len(encoded), len(decoded)] == [1, 3]
    assert sorted(texts[0] for texts in read) == ["", "a blue cat", "a dog", "a horse", "a red car", "snow"]


def calls_of(editor: Editor, requests: list[EditRequest]) -> int:
    before = editor.driver.calls
    editor.edit_batch(requests)
    return editor.driver.calls - before


def test_on_a_device_that_joins_all_maps_of_an_edit_are_one_call_and_ride_with_the_walks_of_others() -> None:
    """Of one edit, 3 strengths x 2 texts are 6 rows of one call, not of one a text. While that call is
    made, an edit of the same picture with a mask goes up the noise, for both: its calls are all that the two take."""
    joined = Editor(toy.model())
    joined.driver = Driver(joined.model, join=True, batch_limit=16)
    alone = Editor(toy.model())
    picture = np.full((32, 32, 3), 64, np.uint8)
    found = EditRequest(picture=picture, query=TEXTS[0], reference=REFERENCE)
    given = replace(found, mask=np.pad(np.full((16, 16), 255, np.uint8), 8))
    assert calls_of(alone, [found]) - calls_of(joined, [found]) == 1
    walks = calls_of(joined, [given])
    assert calls_of(joined, [found]) == walks + 1
    assert calls_of(joined, [found, given]) == walks


def test_rows_of_unlike_stages_stand_in_one_call(counted: Callable[[Any, str], list[Any]]) -> None:
    """The maps of one picture and the first step up of another: 4 rows and 1 in the first call of the network."""
    model = toy.model()
    seen: list[int] = []

    def denoise(x: Tensor, *others: Any, **more: Any) -> Any:
        seen.append(len(x))
        return model.denoiser(x, *others, **more)

    editor = Editor(replace(model, denoiser=denoise))
    editor.driver = Driver(editor.model, join=True, batch_limit=16)
    found = EditRequest(picture=np.full((32, 32, 3), 64, np.uint8), query=TEXTS[0], reference=REFERENCE)
    editor.edit_batch([found, replace(found, mask=np.full((32, 32), 255, np.uint8))])
    assert seen[0] == 5
