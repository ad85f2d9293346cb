"""A region that comes out as it was is painted once more, from fresh noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wordbrush import Editor, EditRequest, Settings
from wordbrush.diffedit import drowned
from wordbrush.evaluation.items import TruthItem
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.presets import PRESETS
from wordbrush.record.replay import settings_of
from wordbrush.result import EditResult

NOTE = "painted once more"


@pytest.fixture(scope="module")
def pocket() -> Editor:
    return Editor.from_pretrained("pocket")


@pytest.fixture(scope="module")
def empty() -> TruthItem:
    """Water that the inversion leaves empty, whoever is asked for."""
    return next(item for item in load_truth(default_bench(), "dev", limit=10) if item.id == "dev/addition/001")


def edited(editor: Editor, item: TruthItem, **switches: Any) -> EditResult:
    reference, query = item.texts["captions"]
    result: EditResult = editor.edit(item.picture, query=query, reference=reference, **switches)
    return result


def change(result: EditResult, item: TruthItem) -> float:
    within = result.mask.values >= 0.5
    return float(np.abs(np.asarray(result.image).astype(float) - item.picture)[within].mean())


def test_what_comes_out_as_it_was_is_painted_once_more_for_the_price_of_a_decode(
    pocket: Editor, empty: TruthItem
) -> None:
    once, again = (edited(pocket, empty, retry=retry) for retry in (False, True))
    assert change(once, empty) < 6.0 < 17.0 < change(again, empty)
    assert np.array_equal(once.cells.values, again.cells.values)
    decode = once.report.evaluations["decode"]
    assert (once.report.retried, again.report.retried) == (False, True)
    assert again.report.evaluations == {**once.report.evaluations, "decode": 2 * decode}
    assert any("nearly as it was: try" in note for note in once.report.warnings)
    assert [NOTE in note for note in again.report.warnings].count(True) == 1
    assert not any("try" in note for note in again.report.warnings)
    outside = again.mask.values == 0
    assert outside.mean() > 0.1
    assert np.array_equal(np.asarray(again.image)[outside], empty.picture[outside])


def test_it_is_the_same_beside_another_edit_and_from_its_record(pocket: Editor, empty: TruthItem) -> None:
    reference, query = empty.texts["captions"]
    alone = edited(pocket, empty)
    texts = ("a horse on water", query)
    requests = [EditRequest(query=text, reference=reference, picture=empty.picture) for text in texts]
    other, beside = pocket.edit_batch(requests)
    from_record = edited(pocket, empty, settings=settings_of(alone.provenance))
    for result in (beside, from_record):
        assert np.array_equal(np.asarray(alone.image), np.asarray(result.image))
    assert not np.array_equal(np.asarray(alone.image), np.asarray(other.image))


@pytest.mark.parametrize("switches", [{"ratio": 0.5}, {"encoding": "noise"}], ids=["shallow", "noised"])
def test_a_shallow_walk_and_a_noised_background_are_not_tried_again(
    pocket: Editor, empty: TruthItem, switches: dict[str, Any]
) -> None:
    plan = pocket.plan((128, 128), settings=Settings(**switches))
    done = edited(pocket, empty, **switches)
    assert done.report.evaluations.get("decode", 0) == plan.evaluations["decode"]


def test_equal_texts_under_a_mask_of_ones_own_are_painted_once(pocket: Editor, empty: TruthItem) -> None:
    mask: NDArray[np.uint8] = np.zeros((128, 128), np.uint8)
    mask[40:90, 40:90] = 255
    done = pocket.edit(empty.picture, query="water", reference="water", mask=mask)
    assert change(done, empty) < 6.0
    assert done.report.evaluations["decode"] == pocket.plan((128, 128), own_mask=True).evaluations["decode"]


def test_the_papers_presets_and_records_of_before_paint_once() -> None:
    assert Settings().retry and PRESETS["paper"]["retry"] is PRESETS["diffusers"]["retry"] is False
    recorded = {key: value for key, value in vars(Settings()).items() if key != "retry"}
    assert not Settings.recorded(recorded).retry


def test_noise_drowns_a_picture_where_alpha_is_below_a_quarter_of_sigma(pocket: Editor, empty: TruthItem) -> None:
    programs = pocket.open(empty.picture)
    told = {ratio: drowned(programs.levels(Settings(ratio=ratio))) for ratio in (0.0, 0.5, 0.7, 0.8, 1.0)}
    assert told == {0.0: False, 0.5: False, 0.7: False, 0.8: True, 1.0: True}
