"""Arguments of other kinds than declared: numbers of numpy are taken, the rest is refused before the network runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import wordbrush as wb
from tests.support import toy
from wordbrush.errors import InputError, MaskError, PictureError, SettingsError, WordbrushError
from wordbrush.models.devices import resolve_device
from wordbrush.values import worded

PICTURE = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
QUICK: dict[str, Any] = {"steps": 3, "maps": 1, "strength": 0.5}


@pytest.fixture
def editor() -> wb.Editor:
    return wb.Editor(toy.model())


Call = Callable[..., Any]


def calls(editor: wb.Editor) -> dict[str, Call]:
    """Every call that takes a text and a seed, with one request of its own."""
    session = editor.open(PICTURE)

    def batch(query: Any = "a zebra", reference: Any = "a horse", **more: Any) -> Any:
        own = {name: more.pop(name) for name in ("seed", "negative", "mask", "include", "exclude") if name in more}
        request = wb.EditRequest(picture=PICTURE, query=query, reference=reference, **own)
        return editor.edit_batch([request], **QUICK, **more)

    return {
        "edit": lambda query="a zebra", reference="a horse", **more: editor.edit(
            PICTURE, query, reference, **QUICK, **more
        ),
        "session": lambda query="a zebra", reference="a horse", **more: session.edit(query, reference, **QUICK, **more),
        "batch": batch,
        "contrast": lambda query="a zebra", reference="a horse", **more: session.contrast(
            query, reference, **QUICK, **more
        ),
        "mask": lambda query="a zebra", reference="a horse", **more: session.mask(query, reference, **QUICK, **more),
        "known": lambda query="a zebra", reference="a horse", **more: session.known_contrast(query, reference, **more),
        "trajectory": lambda query="a horse", **more: session.trajectory(query, **more),
        "reconstruction": lambda query="a horse", **more: session.reconstruction(query, **more),
    }


SEEDED = ("edit", "session", "batch", "contrast", "mask", "known")
EDITS = ("edit", "session", "batch")


def refused(editor: wb.Editor, error: type[WordbrushError], call: Call) -> None:
    with pytest.raises(error) as raised:
        call()
    assert len(str(raised.value)) < 600
    assert editor.driver.rows == 0


@pytest.mark.parametrize("seed", [np.uint16(3), np.int64(3), np.array(3), torch.tensor(3)], ids=lambda seed: type(seed))
def test_whole_numbers_of_numpy_and_torch_are_seeds(editor: wb.Editor, seed: Any) -> None:
    result = editor.edit(PICTURE, "a zebra", "a horse", seed=seed, **QUICK)
    assert isinstance(result, wb.EditResult)
    assert (result.report.seed, type(result.provenance.seed)) == (3, int)
    seeds: Any = np.array([4, 3])
    several = editor.edit(PICTURE, "a zebra", "a horse", seed=seeds, **QUICK)
    assert [one.report.seed for one in several] == [4, 3]
    assert several[1].provenance == result.provenance


@pytest.mark.parametrize(
    "seed",
    [True, np.bool_(False), "7", 2.0, np.float32(2), None, -1, np.int8(-4), 2**63, 2**200, 10**5000, b"7", {"a": 1}],
    ids=lambda seed: worded(seed)[:20],
)
@pytest.mark.parametrize("name", SEEDED)
def test_other_seeds_are_refused(editor: wb.Editor, name: str, seed: Any) -> None:
    refused(editor, SettingsError, lambda: calls(editor)[name](seed=seed))


def test_a_negative_seed_is_told_what_to_do_instead(editor: wb.Editor) -> None:
    with pytest.raises(SettingsError, match=r"secrets\.randbelow"):
        editor.edit(PICTURE, "a zebra", seed=-1)
    with pytest.raises(SettingsError, match="'2'"):
        editor.edit(PICTURE, "a zebra", seed=[1, "2"])  # type: ignore[list-item]


@pytest.mark.parametrize("text", [None, 7, 1.5, b"a zebra", ("a", None), "a \ud800", "\udcff", object(), {"a": "b"}])
@pytest.mark.parametrize("name", [*SEEDED, "trajectory", "reconstruction"])
def test_what_is_no_text_is_refused(editor: wb.Editor, name: str, text: Any) -> None:
    refused(editor, InputError, lambda: calls(editor)[name](text))
    if name in SEEDED and not isinstance(text, tuple):
        refused(editor, InputError, lambda: calls(editor)[name](reference=text))
    if name in EDITS:
        refused(editor, InputError, lambda: calls(editor)[name](negative=text))


@pytest.mark.parametrize(
    "mask",
    [7, 0.5, True, object(), [[1, 0], [0, 1]], {}, torch.ones(4, 4), "missing.png", np.ones((2, 2, 7)), np.array("a")],
    ids=lambda mask: type(mask).__name__,
)
@pytest.mark.parametrize("name", EDITS)
def test_what_is_no_mask_is_refused(editor: wb.Editor, name: str, mask: Any) -> None:
    for kind in ("mask", "include", "exclude"):
        refused(editor, MaskError, lambda: calls(editor)[name](**{kind: mask}))  # noqa: B023 - called at once


@pytest.mark.parametrize(
    "picture", [None, 7, [], {}, bytearray(b"x"), torch.ones(3, 4, 4), np.ones((4, 4)), "a\0b.png", "\ud800.png", b""]
)
def test_what_is_no_picture_is_refused(editor: wb.Editor, picture: Any) -> None:
    refused(editor, PictureError, lambda: editor.edit(picture, "a zebra"))
    refused(editor, PictureError, lambda: editor.open(picture))
    refused(editor, PictureError, lambda: editor.edit_batch([wb.EditRequest(picture=picture, query="a zebra")]))


def test_numbers_of_numpy_are_settings(editor: wb.Editor) -> None:
    made = wb.Settings(
        steps=np.int64(7), ratio=np.float32(0.5), antithetic=np.bool_(True), strength=np.array([0.25, 0.5]),  # type: ignore[arg-type]
        threshold=np.float64(0.25), contrast_seed=np.uint8(5), grow=torch.tensor(-2), sign=np.str_("signed"),  # type: ignore[arg-type]
    )  # fmt: skip
    assert made == wb.Settings(
        steps=7, ratio=0.5, antithetic=True, strength=(0.25, 0.5), threshold=0.25, contrast_seed=5, grow=-2,
        sign="signed",
    )  # fmt: skip
    assert {type(value) for value in vars(made).values()} <= {int, float, bool, str, tuple, type(None)}
    assert {type(value) for value in made.strength} == {float}
    assert editor.edit(PICTURE, "a zebra", steps=np.int32(3), maps=np.int8(1)).provenance.settings["steps"] == 3


@pytest.mark.parametrize(
    "switches",
    [
        {"steps": 3.0}, {"steps": np.float32(3)}, {"steps": "3"}, {"steps": True}, {"steps": 10**5000},
        {"ratio": "0.5"}, {"ratio": float("nan")}, {"ratio": np.array([0.1, 0.2])}, {"ratio": 1j},
        {"rule": ["fixed"]}, {"rule": 5}, {"rule": None}, {"antithetic": 1}, {"antithetic": "yes"}, {"strength": {}},
        {"strength": [None]}, {"strength": np.ones((2, 2))}, {"unheard_of": 1}, {"preset": 5}, {"preset": ["fast"]},
        {"settings": {"steps": 3}}, {"settings": "fast"}, {"settings": wb.Settings(), "unheard_of": 1},
        {"settings": wb.Settings(), "preset": 5}, {"callback": "tell me"}, {"resolution": "64"}, {"clip_skip": 99},
    ],
    ids=lambda switches: " ".join(switches) if isinstance(switches, dict) else "",
)  # fmt: skip
def test_other_settings_are_refused(editor: wb.Editor, switches: dict[str, Any]) -> None:
    session = editor.open(PICTURE)
    refused(editor, SettingsError, lambda: editor.edit(PICTURE, "a zebra", **switches))
    refused(editor, SettingsError, lambda: session.contrast("a zebra", **switches))
    refused(editor, SettingsError, lambda: editor.edit_batch([], **switches))


def test_requests_are_checked_alone_and_before_any_of_them_runs(editor: wb.Editor) -> None:
    good = wb.EditRequest(picture=PICTURE, query="a zebra", seed=np.int64(3))  # type: ignore[arg-type]
    bad: list[tuple[dict[str, Any], type[WordbrushError]]] = [
        ({"query": None}, InputError), ({"seed": -1}, SettingsError), ({"mask": 5}, MaskError),
        ({"settings": {}, "picture": 5}, PictureError), ({"settings": "fast"}, SettingsError),
    ]  # fmt: skip
    every = [wb.EditRequest(**{"picture": PICTURE, "query": "a zebra", **change}) for change, _ in bad]
    for request, (_, error) in zip(every, bad, strict=True):
        refused(editor, error, lambda: editor.edit_batch([good, request], **QUICK))  # noqa: B023 - called at once
    found = editor.edit_batch([*every, good], on_error="return", **QUICK)
    assert [type(one) for one in found] == [*(error for _, error in bad), wb.EditResult]


def test_arguments_of_the_editor_itself(editor: wb.Editor) -> None:
    some: Any
    for some in (None, "abc", [1], 5):
        refused(editor, SettingsError, lambda: editor.edit_batch(some))  # noqa: B023 - called at once
    refused(editor, SettingsError, lambda: editor.edit_batch([], on_error="ignore"))  # type: ignore[call-overload]
    for some in (0, -3, "4", 1.5, True):
        refused(editor, SettingsError, lambda: wb.Editor(editor.model, batch_limit=some))  # noqa: B023 - called at once
    for some in ("64", 10**9, 64.5):
        refused(editor, SettingsError, lambda: editor.open(PICTURE, resolution=some))  # noqa: B023 - called at once
    for some in (None, 5, (1, 2, 3), "ab", (1.5, 2)):
        refused(editor, SettingsError, lambda: editor.plan(some))  # noqa: B023 - called at once
    refused(editor, SettingsError, lambda: editor.open(PICTURE, memory_limit="much"))  # type: ignore[arg-type]
    refused(editor, SettingsError, lambda: editor.open(PICTURE).trajectory(settings={"steps": 3}))  # type: ignore[arg-type]
    one = editor.edit_batch((r for r in [wb.EditRequest(picture=PICTURE, query="a zebra")]), **QUICK)  # type: ignore[call-overload]
    assert len(one) == 1


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "meta:0", "gpu", "", "cuda:77", 1.5, [], "xpu"])
def test_devices_that_do_not_compute_here(device: Any) -> None:
    with pytest.raises(SettingsError, match="device"):
        resolve_device(device)
    assert resolve_device("cpu") == torch.device("cpu")
