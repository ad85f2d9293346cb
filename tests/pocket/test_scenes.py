"""Scenes: the same every time, described truly, and with true regions that hold to the pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pocket.sprites import DrawnArtwork
from training.pocket.artwork import FluentArtwork, fetch, recolour
from training.pocket.backdrop import backdrop
from training.pocket.captions import captions, size_word
from training.pocket.edits import KINDS, EditKind, sample_edit
from training.pocket.render import SIZE, render, true_region
from training.pocket.scenes import Change, Scene, caption, counterfactual, sample_scene, stream_of
from training.pocket.words import COLOURS, GROUND_PHRASES, GROUNDS, NOUN_FILES, NOUNS, RECOLOURABLE

ART = DrawnArtwork()


def scene_with(count: int, start: int = 0) -> Scene:
    return sample_scene(start, "train", count)


def test_the_same_number_gives_the_same_scene_and_the_same_bytes() -> None:
    for index in range(10):
        first, second = sample_scene(index, "train"), sample_scene(index, "train")
        assert first == second
        assert np.array_equal(render(first, ART).picture, render(second, ART).picture)


def test_other_numbers_give_other_scenes() -> None:
    assert len({sample_scene(index, "train") for index in range(200)}) == 200


def test_streams_are_disjoint_and_counterfactuals_stay_in_theirs() -> None:
    train = {sample_scene(index, "train").seed for index in range(500)}
    held = {sample_scene(index, "heldout").seed for index in range(500)}
    assert not train & held
    assert {stream_of(seed) for seed in train} == {"train"}
    assert {stream_of(seed) for seed in held} == {"heldout"}
    for kind in KINDS:
        edit = sample_edit(kind, 3)
        assert stream_of(edit.other.seed) == "heldout"


def test_every_word_of_the_world_is_drawn_sometime() -> None:
    scenes = [sample_scene(index, "train") for index in range(1500)]
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.noun for thing in things} == set(NOUNS)
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    assert {thing.colour for thing in things if thing.colour} == set(COLOURS)
    single = sum(len(scene.things) == 1 for scene in scenes) / len(scenes)
    assert 0.7 < single < 0.8


@pytest.mark.parametrize("count", [0, 1, 2])
def test_captions_name_what_is_drawn_and_nothing_else(count: int) -> None:
    for index in range(60):
        scene = sample_scene(index, "train", count)
        for text in captions(scene):
            words = text.split()
            assert [word for word in words if word in NOUNS] == [thing.noun for thing in scene.things]
            assert ("night" in words) <= (scene.time == "night")
            for other in set(GROUNDS) - {scene.ground}:
                assert GROUND_PHRASES[other].split()[-1] not in words
        assert caption(scene).endswith("at night") == (scene.time == "night")


def test_colour_words_name_the_colour_of_their_own_object() -> None:
    scene = replace(scene_with(1), things=(replace(scene_with(1).things[0], noun="car", colour="purple"),))
    assert caption(replace(scene, ground="road", time="day")) == "a purple car on a road"


def test_articles_follow_the_next_word() -> None:
    thing = replace(scene_with(1).things[0], noun="owl", colour=None)
    assert thing.phrase() == "an owl"


def test_things_with_colours_are_exactly_the_recolourable_ones() -> None:
    for index in range(200):
        for thing in sample_scene(index, "train").things:
            assert (thing.colour is not None) == (thing.noun in RECOLOURABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_true_region_no_pixel_changes(kind: EditKind) -> None:
    for index in range(25):
        edit = sample_edit(kind, index)
        region = true_region(edit.scene, edit.other, ART)
        before, after = render(edit.scene, ART).picture, render(edit.other, ART).picture
        assert np.array_equal(before[~region], after[~region])
        assert region.any()
        assert not region.all()


@pytest.mark.parametrize("kind", ["ground", "time"])
def test_objects_survive_a_change_of_ground_or_time(kind: EditKind) -> None:
    edit = sample_edit(kind, 1)
    region = true_region(edit.scene, edit.other, ART)
    silhouette = render(edit.scene, ART).silhouettes[0]
    assert (silhouette & ~region).sum() > 0.8 * silhouette.sum()  # all but its soft edge
    assert region[:8].all()


def test_a_colour_change_leaves_the_shadow_alone() -> None:
    edit = sample_edit("colour", 0)
    drawn = render(edit.scene, ART)
    region = true_region(edit.scene, edit.other, ART)
    assert np.array_equal(region, drawn.silhouettes[0])
    assert (drawn.shadows[0] & ~region).any()


def test_removal_and_addition_undo_each_other() -> None:
    empty = scene_with(0)
    filled = counterfactual(empty, Change("addition", "zebra"))
    assert [thing.noun for thing in filled.things] == ["zebra"]
    assert counterfactual(filled, Change("removal")) == empty


def test_one_of_two_objects_is_swapped_in_its_place() -> None:
    scene = scene_with(2, 4)
    fresh = next(noun for noun in NOUNS if noun not in RECOLOURABLE and noun not in {t.noun for t in scene.things})
    other = counterfactual(scene, Change("object", fresh, 1))
    assert other.things[0] == scene.things[0]
    assert (other.things[1].noun, other.things[1].x) == (fresh, scene.things[1].x)
    assert not true_region(scene, other, ART)[:, : SIZE // 5].any()


def test_a_swap_covers_the_old_and_the_new_silhouette() -> None:
    edit = sample_edit("object", 2)
    region = true_region(edit.scene, edit.other, ART)
    for drawn in (render(edit.scene, ART), render(edit.other, ART)):
        assert not (drawn.silhouettes[0] & ~region).any()
        assert not (drawn.shadows[0] & ~region).any()


@pytest.mark.parametrize(
    "change",
    [
        Change("removal", index=1),
        Change("removal", index=-1),
        Change("colour", "red"),
        Change("ground", "grass"),
        Change("time", "day"),
    ],
)
def test_changes_that_do_not_apply_are_refused(change: Change) -> None:
    thing = replace(scene_with(1).things[0], noun="zebra", colour=None)
    scene = replace(scene_with(1), things=(thing,), ground="grass", time="day")
    with pytest.raises(ValueError, match=r"zebra|nothing|index"):
        counterfactual(scene, change)


def test_backdrops_are_smooth_except_at_edges() -> None:
    for ground in GROUNDS:
        empty = backdrop(ground, "day", 0.5, 11, SIZE)
        steps = np.abs(np.diff(empty, axis=1)).max(-1)
        assert np.quantile(steps, 0.9) < 0.03, ground


def test_recolouring_keeps_shape_and_moves_hue() -> None:
    sprite = ART.sprite("car", "red")
    made = recolour(sprite, "blue")
    assert made.getchannel("A").tobytes() == sprite.getchannel("A").tobytes()
    hue = np.asarray(made.convert("RGB").convert("HSV"))[..., 0][made.height // 2, made.width // 2]
    assert abs(int(hue) / 255 - 0.59) < 0.05


def test_grey_sprites_cannot_be_recoloured() -> None:
    grey = Image.new("RGBA", (8, 8), (90, 90, 90, 255))
    assert recolour(grey, "blue").tobytes() == grey.tobytes()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_long_captions_name_colour_size_place_ground_and_time(count: int) -> None:
    for index in range(60):
        scene = sample_scene(index, "train", count)
        for text in captions(scene)[-2:]:
            words = text.split()
            assert ("night" in words) != ("day" in words)
            assert ("night" in words) == (scene.time == "night")
            assert GROUND_PHRASES[scene.ground].split()[-1] in words
            assert [word for word in words if word in COLOURS] == [t.colour for t in scene.things if t.colour]
            assert [w for w in words if w in {"small", "big", "huge"}] == [size_word(t) for t in scene.things]
            assert [w for w in words if w in {"left", "middle", "right"}] == [[], ["middle"], ["left", "right"]][count]


def test_the_plain_captions_of_the_first_model_are_kept() -> None:
    scene = sample_scene(7, "train", 2)
    assert captions(scene)[:2] == [caption(scene)] * 2
    one = replace(scene_with(1), ground="road", time="night")
    red = replace(one, things=(replace(one.things[0], noun="car", colour="red", size=0.6),))
    assert captions(red) == [
        "a red car on a road at night",
        "a red car on a road at night",
        "a photo of a red car standing on a road at night",
        "a road with a red car at night",
        "a car on a road at night",
        "a photo of a red car",
        "a big red car in the middle standing on a road at night",
        "a photo of a road at night with a big red car in the middle",
    ]


def test_sprites_of_ones_own_are_taken_where_the_artwork_would_lie(tmp_path: Path) -> None:
    assets = tmp_path / "art" / "package" / "assets"
    assets.mkdir(parents=True)
    for noun, name in NOUN_FILES.items():
        framed = Image.new("RGBA", (200, 200))
        framed.paste(ART.sprite(noun), (40, 30))
        framed.save(assets / f"{name}.webp", lossless=True)
    artwork = FluentArtwork(fetch(tmp_path))  # nothing is fetched
    assert not (tmp_path / "npm").exists()
    for noun in NOUNS:
        own, read = ART.sprite(noun), artwork.sprite(noun)
        assert read.width / read.height == pytest.approx(own.width / own.height, rel=0.02)
    assert render(scene_with(2), artwork).silhouettes[1].any()
    (assets / f"{NOUN_FILES['zebra']}.webp").unlink()
    with pytest.raises(FileNotFoundError, match="zebra"):
        FluentArtwork(assets)
