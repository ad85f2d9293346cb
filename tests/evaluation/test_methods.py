"""The baselines against what is known of them: closed forms, the editor itself, and each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support import tiny, toy
from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.solvers import decode
from wordbrush.editor import Editor
from wordbrush.errors import InputError
from wordbrush.evaluation import walks
from wordbrush.evaluation.items import MethodRequest, Outcome
from wordbrush.evaluation.methods import METHODS, ilvr
from wordbrush.evaluation.walks import Trial
from wordbrush.region.mask import Mask
from wordbrush.region.region import Region
from wordbrush.session import Session
from wordbrush.settings import Settings

Bytes = NDArray[np.uint8]

DARK, HALF = "dark left, dark right", "dark left, light right"
PLAIN: dict[str, Any] = {"strength": 0.5, "solver": "ddim", "spacing": "model", "ratio_axis": "grid"}
PLAIN |= {"inversion_stride": 1, "guidance_low": 0.0, "guidance_every": 1, "ring": 0.0, "rim": 0.0}
"""One strength, no ring, and walks without savings, whose costs and results follow from steps and ratio alone."""
QUICK = Settings(steps=10, ratio=0.6, maps=2, threshold=0.5, **PLAIN)
FEW = QUICK.changed(steps=5)
SIDE = 32
MASKED = ["diffedit", "oracle_mask", "mask_without_encode", "blend_x0"]
FREE = ["sdedit", "encode_decode", "ilvr"]


def scene(side: int = SIDE, seed: int = 0) -> Bytes:
    """A dark picture with a little texture."""
    return (64 + np.random.default_rng(seed).integers(-12, 13, (side, side, 3))).astype(np.uint8)


def request_of(picture: Bytes, query: str = HALF, reference: str = DARK, seed: int = 0) -> MethodRequest:
    region = np.zeros(picture.shape[:2], bool)
    region[:, picture.shape[1] // 2 :] = True
    return MethodRequest(picture, query, reference, seed=seed, region=region, retrieved=255 - picture)


def run(name: str, request: MethodRequest, settings: Settings = QUICK, editor: Editor | None = None) -> Outcome:
    """Run a method on a session of its own."""
    chosen = editor or toy.editor(SIDE)
    return METHODS[name](chosen, chosen.open(request.picture, resolution=SIDE), request, settings)


def distance(one: Bytes, other: Bytes) -> float:
    return float(np.abs(one.astype(float) - other).max())


@pytest.fixture(scope="module")
def small() -> Editor:
    """Tiny random components: a real UNet, autoencoder and text encoder."""
    return Editor.from_pretrained(tiny.pipeline())


# What every method owes.


def test_the_registry_holds_the_baselines_of_the_paper() -> None:
    known = {"copy", "mask", "retrieve", *MASKED, *FREE, "ilvr_2", "ilvr_8"}
    assert set(METHODS) == known


@pytest.mark.parametrize("name", sorted(METHODS))
def test_results_have_the_size_of_the_picture_and_depend_on_the_seed_alone(name: str) -> None:
    picture = scene(37)[:, :29].copy()
    first, again = (run(name, request_of(picture, seed=3)) for _ in range(2))
    assert first.image.shape == picture.shape
    assert first.image.dtype == np.uint8
    assert np.array_equal(first.image, again.image)
    assert first.mask is None or (first.mask.shape == picture.shape[:2] and 0 <= first.mask.min() <= 1)
    assert first.seconds is not None and first.seconds > 0.0


@pytest.mark.parametrize("name", ["sdedit", "mask_without_encode", "ilvr"])
def test_another_seed_is_another_noise(name: str) -> None:
    one, other = (run(name, request_of(scene(), seed=seed)) for seed in (0, 1))
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_evaluations_are_those_that_a_fresh_session_runs(name: str, guidance: float) -> None:
    editor = toy.editor(SIDE)
    settings = QUICK.changed(guidance=guidance)
    outcome = run(name, request_of(scene()), settings, editor)
    assert outcome.evaluations == editor.driver.rows
    down = 6 * (1 if guidance == 1.0 else 2)
    expected = {"copy": 0, "retrieve": 0, "sdedit": down, "encode_decode": 6 + down, "oracle_mask": 6 + down}
    expected |= {"diffedit": 4 + 6 + down, "blend_x0": 4 + 6 + down, "mask_without_encode": 4 + down, "mask": 4}
    assert outcome.evaluations == expected.get(name, 10 * (1 if guidance == 1.0 else 2))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_evaluations_of_the_default_walks_are_those_that_run(name: str, guidance: float) -> None:
    editor = toy.editor(SIDE)
    outcome = run(name, request_of(scene()), Settings(guidance=guidance), editor)
    assert outcome.evaluations == editor.driver.rows
    # Up 9 levels two by two; down them one by one, with guidance in every second of the 7 above position .25.
    contrast, up, down = 4, 5, 9 + (0 if guidance == 1.0 else 4)
    expected = {"copy": 0, "retrieve": 0, "sdedit": down, "encode_decode": up + down, "oracle_mask": up + down}
    expected |= {"diffedit": contrast + up + down, "blend_x0": contrast + up + down, "mask": contrast}
    expected |= {"mask_without_encode": contrast + down}
    assert outcome.evaluations == expected.get(name, down + 1)


@pytest.mark.parametrize("name", MASKED)
def test_evaluations_do_not_fall_where_a_session_knows_the_answer(name: str) -> None:
    editor, request = toy.editor(SIDE), request_of(scene())
    session = editor.open(request.picture)
    first, second = (METHODS[name](editor, session, request, QUICK) for _ in range(2))
    assert first.evaluations == second.evaluations > 0
    assert first.seconds is not None
    assert second.seconds is None


def test_the_plan_and_the_ledger_agree_on_full_diffedit() -> None:
    settings = QUICK.changed(strength=(0.5, 0.7), solver="ddim", fixed_point=1, inversion_guidance=2.0, guidance=3.0)
    editor, request = toy.editor(SIDE), request_of(scene())
    plan = editor.plan((32, 32), settings=settings).evaluations
    report = editor.edit(request.picture, request.query, request.reference, settings=settings).report
    assert sum(plan.values()) == sum(report.evaluations.values())
    assert run("diffedit", request, settings).evaluations == sum(plan.values())
    assert run("oracle_mask", request, settings).evaluations == plan["invert"] + plan["decode"]


@pytest.mark.parametrize("name", MASKED)
def test_an_empty_mask_or_ratio_changes_nothing_and_costs_no_walk(name: str) -> None:
    picture = scene()
    still = run(name, replace(request_of(picture, DARK, DARK), region=np.zeros((32, 32), bool)))
    assert np.array_equal(still.image, picture)
    assert still.evaluations == 0
    shallow = run(name, request_of(picture), QUICK.changed(ratio=0.0))
    assert np.array_equal(shallow.image, picture)
    assert shallow.evaluations == (0 if name == "oracle_mask" else 4)


@pytest.mark.parametrize("name", MASKED)
def test_outside_the_mask_are_the_bytes_of_the_input(name: str, small: Editor) -> None:
    picture = scene(seed=2)
    for editor, texts in ((toy.editor(SIDE), (HALF, DARK)), (small, ("a red car", "a dog"))):
        outcome = run(name, request_of(picture, *texts), QUICK, editor)
        assert outcome.mask is not None
        outside = outcome.mask == 0
        assert 0.05 < outside.mean() < 0.95
        assert np.array_equal(outcome.image[outside], picture[outside])
        assert not np.array_equal(outcome.image[~outside], picture[~outside])


# Copy and retrieve.


def test_copy_and_retrieve() -> None:
    request = request_of(scene())
    assert np.array_equal(run("copy", request).image, request.picture)
    assert np.array_equal(run("retrieve", request).image, 255 - request.picture)


@pytest.mark.parametrize(("name", "field"), [("retrieve", "retrieved"), ("oracle_mask", "region")])
def test_methods_that_need_the_truth_say_so_where_there_is_none(name: str, field: str) -> None:
    without: dict[str, Any] = {field: None}
    with pytest.raises(InputError, match=f"{name}: the request carries no"):
        run(name, replace(request_of(scene()), **without))


# Without a mask.


@pytest.mark.parametrize("name", ["sdedit", "encode_decode"])
def test_ratio_zero_is_the_round_trip_of_the_autoencoder(name: str, small: Editor) -> None:
    session = small.open(scene(), resolution=SIDE)
    trip = Trial(small, session, request_of(scene()), QUICK).image(session.latent())
    outcome = run(name, request_of(scene(), "a red car", "a dog"), QUICK.changed(ratio=0.0), small)
    assert np.array_equal(outcome.image, trip)
    assert outcome.evaluations == 0


def test_encode_decode_under_the_empty_text_reconstructs() -> None:
    settings = Settings(steps=50, ratio=0.8, guidance=1.0, fixed_point=3, **PLAIN)
    exact = run("encode_decode", request_of(scene(), "", ""), settings)
    assert distance(exact.image, scene()) <= 1
    assert distance(run("encode_decode", request_of(scene(), HALF, ""), settings).image, scene()) > 30


def test_sdedit_is_the_decode_of_the_noised_latent(small: Editor) -> None:
    request = request_of(scene(), "a red car", seed=5)
    session, settings = small.open(request.picture, resolution=SIDE), FEW.changed(guidance=4.0)
    z0, levels = session.latent(), session.levels(settings)
    alpha, sigma = levels[-1].scales(z0)
    x = alpha * z0 + sigma * noise.normal(5, "encoding", 0, z0.shape[1:])[None]
    empty, query = (small.driver.prompt(text).conditioning for text in ("", request.query))
    walk = decode(guided(query, empty, 4.0), x, levels)
    expected = Trial(small, session, request, settings).image(drive(walk, small.model.denoiser))
    assert np.array_equal(run("sdedit", request, settings, small).image, expected)


def test_sdedit_from_full_noise_hardly_knows_the_picture() -> None:
    settings = Settings(steps=50, ratio=1.0, guidance=1.0)
    light = (scene().astype(int) + 100).astype(np.uint8)
    one, other = (run("sdedit", request_of(picture), settings).image for picture in (scene(), light))
    alpha = float(toy.TRAINED.grid(50)[-1].alpha)
    # The decode multiplies a difference at x_T by SPREAD, over an x_T whose spread is 1.
    assert distance(one, other) <= 100 * alpha * toy.SPREAD + 2 < 5
    near = [run("sdedit", request_of(picture), settings.changed(ratio=0.3)).image for picture in (scene(), light)]
    assert distance(near[0], near[1]) > 25


# Low frequencies of the input.


def test_the_low_pass_keeps_constants_and_with_factor_one_everything() -> None:
    x = torch.randn(1, 4, 9, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(walks.low_pass(x, 1), x)
    flat = torch.full((1, 4, 9, 10), 2.5)
    torch.testing.assert_close(walks.low_pass(flat, 4), flat)
    assert walks.low_pass(x, 4).std() < 0.5 * x.std()
    block = x[..., :8, :8]
    torch.testing.assert_close(walks.low_pass(block, 8), block.mean((-2, -1), True).expand_as(block))


def test_ilvr_with_factor_one_and_ratio_zero_is_the_input_latent(small: Editor) -> None:
    session, settings = small.open(scene(), resolution=SIDE), QUICK.changed(ratio=0.0)
    trial = Trial(small, session, request_of(scene(), "a red car"), settings)
    found = ilvr(trial, factor=1)
    assert distance(found.image, trial.image(session.latent())) <= 1
    assert found.evaluations == 20


def test_ilvr_with_factor_one_is_sdedit_but_for_the_draw(small: Editor) -> None:
    request, settings = request_of(scene(), "a red car", seed=2), QUICK.changed(ratio=0.5)
    session = small.open(request.picture, resolution=SIDE)
    trial, z0 = Trial(small, session, request, settings), session.latent()
    x = walks.noised(z0, noise.normal(2, "ilvr", 5, z0.shape[1:])[None], session.levels(settings)[-1])
    expected = trial.image(drive(trial.decode(x), small.model.denoiser))
    assert distance(ilvr(trial, factor=1).image, expected) <= 1


def test_ilvr_keeps_the_low_frequencies_that_were_asked_for() -> None:
    picture = scene()
    session = toy.editor(SIDE).open(picture)
    wanted = torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1

    def gap(factor: int, ratio: float) -> float:
        trial = Trial(toy.editor(SIDE), session, request_of(picture), QUICK.changed(ratio=ratio))
        outcome = ilvr(trial, factor=factor)
        found = torch.tensor(outcome.image).permute(2, 0, 1)[None] / 127.5 - 1
        return float(walks.low_pass(found - wanted, 8).abs().max())

    # The low-pass is no projection: the flanks of its blocks leave a little of what it put right.
    assert gap(8, 0.0) < 0.05
    assert gap(2, 0.0) < 0.01
    assert gap(8, 0.0) < gap(8, 0.5) < gap(8, 1.0)


# Masks.


def test_diffedit_is_what_the_editor_gives(small: Editor) -> None:
    request = request_of(scene(), "a red car", "a dog", seed=4)
    chosen = FEW.changed(resolution=SIDE)
    result = small.edit(request.picture, request.query, request.reference, seed=4, settings=chosen)
    outcome = run("diffedit", request, FEW, small)
    assert np.array_equal(outcome.image, np.asarray(result.image))
    assert outcome.mask is not None and np.array_equal(outcome.mask, result.mask.values)
    assert outcome.contrast is not None and result.contrast is not None
    assert np.array_equal(outcome.contrast, result.contrast.raw)


def test_the_oracle_mask_is_an_edit_within_the_true_region(small: Editor) -> None:
    request = request_of(scene(), "a red car", "a dog")
    result: Any = small.open(request.picture, resolution=SIDE).edit(
        request.query, request.reference, mask=request.region, settings=FEW
    )
    outcome = run("oracle_mask", request, FEW, small)
    assert np.array_equal(outcome.image, np.asarray(result.image))
    assert outcome.mask is not None and request.region is not None
    assert np.array_equal(outcome.mask > 0.5, request.region)
    assert outcome.contrast is None


@pytest.mark.parametrize("seam", [{}, {"ring": 1.0, "rim": 4.0}])
def test_blending_x0_under_a_full_mask_is_diffedit(small: Editor, seam: dict[str, float]) -> None:
    settings = FEW.changed(rule="quantile", threshold=0.0, grow=64, guidance=3.0)
    for solver in ("ddim", "dpm2m"):
        chosen = settings.changed(solver=solver, **seam)
        request = request_of(scene(), "a red car", "a dog")
        blended, full = (run(name, request, chosen, small) for name in ("blend_x0", "diffedit"))
        assert blended.mask is not None and (blended.mask == 1).all()
        assert np.array_equal(blended.image, full.image)


def test_blended_estimates_lead_to_the_known_latent_outside_the_mask() -> None:
    editor = toy.editor(SIDE)
    session = editor.open(scene())
    z0, cells = session.latent(), np.zeros((32, 32), np.float32)
    cells[:, 16:] = 1.0
    x = session.trajectory(settings=QUICK)[-1]
    trial = Trial(editor, session, request_of(scene()), QUICK)
    region = Region(Mask(cells), Mask(cells))
    walk = trial.decode(x, region=region, wrap=lambda estimate: walks.blended_x0(estimate, z0))
    found = drive(walk, editor.model.denoiser)
    torch.testing.assert_close(found[..., :16], z0[..., :16], rtol=0, atol=1e-6)
    assert float((found - z0)[..., 16:].mean()) > 0.2


def test_a_mask_without_encoding_holds_the_outside_to_one_noised_path() -> None:
    picture = scene()
    request = request_of(picture)
    found = run("mask_without_encode", request, QUICK.changed(edges="cells"))
    free = run("sdedit", request, QUICK)
    # The toy's words act on each half alone, so inside its mask this is SDEdit, from the same noise.
    assert np.array_equal(found.image[:, 16:], free.image[:, 16:])
    assert np.array_equal(found.image[:, :16], picture[:, :16])
    assert not np.array_equal(free.image[:, :16], picture[:, :16])


def test_a_mask_without_encoding_is_the_editor_with_a_noised_background(small: Editor) -> None:
    request, settings = request_of(scene(), "a red car", "a dog"), Settings(steps=5, threshold=0.5)
    found = run("mask_without_encode", request, settings, small)
    result = small.open(request.picture, resolution=SIDE).edit(
        request.query, request.reference, seed=request.seed, settings=settings.changed(encoding="noise")
    )
    assert np.array_equal(found.image, np.asarray(result.image))
    assert found.mask is not None and np.array_equal(found.mask, result.mask.values)


def test_masked_baselines_free_the_ring_and_move_the_seam_as_the_editor_does(small: Editor) -> None:
    request = request_of(scene())
    unlike = request_of(scene(), "a red car", "a dog")
    plain, freed = (run("blend_x0", unlike, FEW.changed(edges="cells", ring=ring), small) for ring in (0.0, 1.0))
    assert plain.mask is not None and freed.mask is not None
    assert 0.0 < plain.mask.mean() < 1.0
    assert np.array_equal(plain.mask, freed.mask)  # cells have no contour that could move
    assert not np.array_equal(plain.image, freed.image)
    wider = {name: run(name, request, QUICK.changed(edges="contour", rim=4.0)) for name in ("blend_x0", "diffedit")}
    narrow = run("blend_x0", request, QUICK.changed(edges="contour"))
    assert narrow.mask is not None and wider["blend_x0"].mask is not None and wider["diffedit"].mask is not None
    assert wider["blend_x0"].mask.sum() > narrow.mask.sum()
    assert np.abs(wider["blend_x0"].mask - wider["diffedit"].mask).mean() < 0.02


def test_settings_reach_the_methods() -> None:
    request = request_of(scene())
    plain = {name: run(name, request).image for name in ("sdedit", "encode_decode", "ilvr", "blend_x0")}
    changes: list[dict[str, Any]] = [{"ratio": 0.3}, {"guidance": 2.0}, {"steps": 7}, {"solver": "dpm2m"}]
    for change in changes:
        for name, image in plain.items():
            assert not np.array_equal(run(name, request, QUICK.changed(**change)).image, image), (name, change)


@pytest.mark.slow
def test_pocket_changes_more_of_the_picture_without_a_mask() -> None:
    from tests.support.heldout import items

    item = next(iter(items("object")))
    editor = Editor.from_pretrained("pocket")
    settings = Settings(steps=5, maps=1, **PLAIN)
    request = MethodRequest(item.picture, item.query, item.reference, region=item.region)
    session: Session = editor.open(request.picture)
    outside = ~item.region

    def change(name: str) -> float:
        found = METHODS[name](editor, session, request, settings).image
        return float(np.abs(found.astype(float) - item.picture)[outside].mean())

    kept = change("oracle_mask")
    assert kept < 1.0
    assert kept < change("encode_decode") < change("sdedit")


def test_mask_alone_finds_what_the_edit_would_and_runs_no_more_than_the_contrast() -> None:
    request = request_of(scene())
    alone, edited = run("mask", request), run("diffedit", request)
    assert alone.mask is not None
    assert edited.mask is not None
    np.testing.assert_array_equal(alone.mask, edited.mask)
    np.testing.assert_array_equal(alone.image, request.picture)
    assert alone.evaluations == 2 * QUICK.maps
