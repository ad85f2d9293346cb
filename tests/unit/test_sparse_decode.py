"""Edits with a sparse decode: what is recorded and used when, that bounds hold, and that the outside is untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support import tiny, toy
from tests.support.closed_forms import stable_diffusion
from wordbrush.diffusion.ask import Ask
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.diffusion.faults import Notes
from wordbrush.editor import Editor
from wordbrush.engine.driver import Driver
from wordbrush.engine.outcome import Run
from wordbrush.request import EditRequest
from wordbrush.result import Finished
from wordbrush.session import Session
from wordbrush.settings import Settings
from wordbrush.speed.sparse import SparseDecode

TEXTS = ("a zebra on grass", "a horse on grass")
EXAMPLES = Path(__file__).parents[2] / "examples"
WHOLE = 1000
"""So many steps that the first alone is computed whole."""


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.from_pretrained(tiny.pipeline("sd1"))


@pytest.fixture(scope="module")
def session(editor: Editor) -> Session:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return editor.open(Image.fromarray(pixels), resolution=32)


def square(first: int, last: int) -> Image.Image:
    mask = np.zeros((32, 32), np.uint8)
    mask[first:last, first:last] = 255
    return Image.fromarray(mask)


SMALL = square(10, 18)


def request(session: Session, sparse: int, mask: Image.Image, **switches: Any) -> EditRequest:
    settings = Settings(sparse=sparse, edges="cells", **{"steps": 6, **switches})
    return EditRequest(picture=session.picture, query=TEXTS[0], reference=TEXTS[1], mask=mask, settings=settings)


def painted(run: Run[Finished], number: int) -> torch.Tensor:
    """Return the latent of an item."""
    latent = run.outcomes[number].result().painted.latent
    assert latent is not None
    return latent


def latent(session: Session, sparse: int, mask: Image.Image = SMALL, **switches: Any) -> tuple[torch.Tensor, Any]:
    """Return the painted latent and the run of one edit."""
    run = session.driver.run([session.item(request(session, sparse, mask, **switches))])
    return painted(run, 0), run


def test_refreshed_at_every_step_or_off_it_is_the_dense_decode(session: Session) -> None:
    dense, run = latent(session, 0)
    assert run.notes == ()
    assert torch.equal(latent(session, 1)[0], dense)
    assert not torch.equal(latent(session, WHOLE)[0], dense)


def test_the_outside_is_the_picture_and_the_error_falls_with_the_refresh(session: Session) -> None:
    dense, z0 = latent(session, 0)[0], session.latent()
    inside = (dense != z0).any(dim=1, keepdim=True)
    assert 0 < inside.float().mean() < 0.15
    errors = []
    for every in (WHOLE, 2):
        sparse, run = latent(session, every)
        assert run.notes == ()
        assert torch.equal(torch.where(inside, z0, sparse), z0)
        errors.append(float((sparse - dense).norm()))
    assert 0 < errors[1] < errors[0]


@pytest.mark.parametrize("name", ["pocket", "pocket-flow"])
def test_on_a_trained_model_the_error_is_small_beside_what_the_edit_changes(name: str) -> None:
    editor, drawn = Editor.from_pretrained(name, device="cpu"), np.zeros((128, 128), np.uint8)
    drawn[40:80, 40:80] = 255
    session, mask = editor.open(EXAMPLES / "horse.png"), Image.fromarray(drawn)
    dense, half, most = (latent(session, every, mask, steps=12)[0] for every in (0, 2, WHOLE))
    change = (dense - session.latent()).norm()
    errors = [float((sparse - dense).norm() / change) for sparse in (half, most)]
    assert 0 < 2 * errors[0] < errors[1] < 0.5, errors


def test_an_edit_is_the_same_whatever_its_session_did_before_and_whatever_the_batch_limit(
    editor: Editor, session: Session
) -> None:
    first, _ = latent(session, 2)
    latent(session, WHOLE, square(4, 12))
    assert torch.equal(latent(session, 2)[0], first)
    one = Editor(editor.model, batch_limit=1).open(session.picture, resolution=32)
    assert torch.allclose(latent(one, 2)[0], first, atol=5e-4)  # dense ones are 2e-4 apart


def test_items_of_a_joined_batch_are_sparse_each_by_itself(editor: Editor, session: Session) -> None:
    driver = Driver(editor.model, join=True)
    joined = Session(driver, session.picture, resolution=32)
    kinds = ((WHOLE, SMALL), (WHOLE, square(4, 12)), (0, SMALL))
    run = driver.run([joined.item(request(joined, every, mask)) for every, mask in kinds])
    alone = [latent(session, WHOLE)[0], latent(session, WHOLE, square(4, 12))[0], latent(session, 0)[0]]
    for number, expected in enumerate(alone):
        assert torch.allclose(painted(run, number), expected, atol=1e-4)


def test_settings_are_recorded_and_edits_name_them_in_their_warnings(session: Session) -> None:
    result = session.edit(*TEXTS, mask=square(0, 30), sparse=WHOLE, steps=6)
    assert any("and not 1% to 60%" in warning for warning in result.report.warnings)
    assert result.provenance.settings["sparse"] == WHOLE
    noised = session.edit(*TEXTS, mask=SMALL, sparse=WHOLE, steps=6, encoding="noise")
    assert "the decode is not sparse, because nothing was inverted" in noised.report.warnings
    with pytest.raises(Exception, match="sparse -1 is outside 0"):
        Settings(sparse=-1)


def test_networks_without_boxes_are_decoded_whole_and_that_is_said() -> None:
    picture = Image.fromarray(np.full((32, 32, 3), 128, np.uint8))
    session = toy.editor().open(picture)
    dense = session.edit("light left", "dark left")
    sparse = session.edit("light left", "dark left", sparse=2)
    assert np.array_equal(np.asarray(dense.image), np.asarray(sparse.image))
    assert "the decode is not sparse, because this network is computed as a whole" in sparse.report.warnings


def ask(stage: Any, step: int, time: int, *, seed: int = 0) -> Ask:
    region = torch.zeros(1, 1, 16, 16)
    region[..., 5:8, 5:8] = 1
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    text = Conditioning({"text": torch.zeros(1, 1)})
    place = {"stage": stage, "step": step, "steps": 3 if stage == "invert" else 5, "region": region}
    return Ask(x, stable_diffusion().at_label(time), text, **place)


def test_records_keep_to_their_bound_and_reach_no_further_than_the_inversion() -> None:
    module, notes = tiny.unet(), Notes()

    def answered(decode: SparseDecode, one: Ask) -> Any:
        with decode(one), torch.no_grad():
            return module(one.x, one.level.time, encoder_hidden_states=torch.ones(1, 5, 32), return_dict=False)[0]

    free = SparseDecode(module, WHOLE, 1 << 30, notes)
    for step, time in enumerate((1, 301, 601), 1):
        answered(free, ask("invert", step, time))
    assert notes.texts == ()
    each = free.held // 3
    for step, time, count in ((1, 601, 0), (2, 801, 0), (2, 601, 1), (3, 450, 2), (4, 301, 3), (5, 1, 4)):
        answered(free, ask("decode", step, time))  # the first step, and one above all records, are computed whole
        assert free.sparse == count

    tight = SparseDecode(module, WHOLE, 2 * each + 8, notes)
    for step, time in enumerate((1, 301, 601), 1):
        answered(tight, ask("invert", step, time))
    assert tight.held == 2 * each
    assert notes.take() == ("sparse decode: sparse_memory holds 2 of 3 levels, means stand for the others",)
    answered(tight, ask("decode", 2, 301))
    assert tight.sparse == 1

    none = SparseDecode(module, WHOLE, each, notes)
    answered(none, ask("invert", 1, 1))
    assert not none.able
    assert none.held == 0
    assert notes.take()[0].endswith("because sparse_memory must hold 2 levels, and one takes 1 MiB")

    between = [answered(free, ask("decode", 2, time)) for time in (301, 450, 600)]
    whole = answered(SparseDecode(module, 1, 1, notes), ask("decode", 2, 450))
    assert float((between[1] - whole).norm() / whole.norm()) < 0.05
