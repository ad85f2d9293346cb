"""Prompts: templates, the pocket's words, lists in files; and pictures made of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from wordbrush.editor import Editor
from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation.protocols.common import changed_words
from wordbrush.evaluation.protocols.generation import Generation, generate
from wordbrush.evaluation.protocols.prompts import (
    POCKET_KINDS,
    paper_pairs,
    pocket_pairs,
    prompt_protocol,
    read_pairs,
)
from wordbrush.evaluation.truth import facts_from_json


@pytest.fixture(scope="module")
def pocket() -> Editor:
    return Editor.from_pretrained("pocket")


def test_the_papers_templates_give_360_texts_with_one_element_swapped() -> None:
    pairs = paper_pairs()
    assert len({pair.reference for pair in pairs}) == 360
    assert {pair.element for pair in pairs} == {"animal", "accessory", "clothes", "action", "place"}
    for pair in pairs:
        assert pair.query != pair.reference
        assert pair.query.split(" of ")[0] == pair.reference.split(" of ")[0]
        assert 0 < changed_words(pair.reference, pair.query) < 0.5
    assert paper_pairs() == pairs
    assert paper_pairs(1) != pairs


def test_the_pocket_knows_its_words_and_its_facts_say_what_the_texts_say(pocket: Editor) -> None:
    known = set(pocket.model.words)
    pairs = pocket_pairs(pocket.model.words)
    assert len(pairs) == 240
    assert [pair.element for pair in pairs[:5]] == [*POCKET_KINDS, "object"]
    assert pairs[:8] == pocket_pairs(pocket.model.words, each=2)
    for pair in pairs:
        assert set(f"{pair.reference} {pair.query}".split()) <= known
        before, after = facts_from_json(pair.facts["before"]), facts_from_json(pair.facts["after"])
        changed = {
            "object": before.things["middle"].noun != after.things["middle"].noun,
            "colour": before.things["middle"].noun == after.things["middle"].noun
            and before.things["middle"].colour != after.things["middle"].colour,
            "ground": before.ground != after.ground,
            "time": before.time != after.time,
        }
        assert [kind for kind in POCKET_KINDS if changed[kind]] == [pair.element]
        assert ("night" in pair.query) == (after.time == "night")
        for text, facts in ((pair.reference, before), (pair.query, after)):
            assert facts.things["middle"].noun in text
            assert (facts.things["middle"].colour or "") in text
    with pytest.raises(InputError, match="does not know 'zebra'"):
        pocket_pairs(known - {"zebra"})


def test_a_list_of_captions_phrases_and_replacements(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(
        "1 <> A photo of a small boat at sea. <> small boat <> a whale\n\n"
        "A dog in a garden <> in a garden <> on a beach\n"
        "3 <> an owl <> an owl <> a fox\n"
    )
    assert [(pair.reference, pair.query) for pair in read_pairs(path)] == [
        ("A photo of a small boat at sea.", "A photo of a whale at sea."),
        ("A dog in a garden", "A dog on a beach"),
        ("an owl", "a fox"),
    ]
    for line, told in (
        ("a <> b", "is not like"),
        ("a dog <> cat <> fox", "'cat' is not in"),
        ("a <> a <> ", "not like"),
    ):
        path.write_text(f"a dog <> dog <> cat\n{line}\n")
        with pytest.raises(InputError, match=f"line 2.*{told}"):
            read_pairs(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no prompt"):
        read_pairs(path)


def test_the_entries_and_their_references(tmp_path: Path) -> None:
    pairs = paper_pairs()[:3]
    told = prompt_protocol(pairs, "paper", tmp_path, reference="caption", seed=0)
    silent = prompt_protocol(pairs, "paper", tmp_path, reference="empty", seed=0)
    assert [entry.reference for entry in told.entries] == [pair.reference for pair in pairs]
    assert [entry.reference for entry in silent.entries] == ["", "", ""]
    assert [entry.picture.name for entry in told.entries] == ["0000.png", "0001.png", "0002.png"]
    assert told.data != silent.data


def test_pictures_depend_on_text_name_and_seed_only(pocket: Editor) -> None:
    how = Generation(steps=3)
    first = generate(pocket, "a zebra on grass", "a", how)
    assert first.shape == (128, 128, 3)
    assert np.array_equal(first, generate(pocket, "a zebra on grass", "a", how))
    others = [
        generate(pocket, "a zebra on snow", "a", how),
        generate(pocket, "a zebra on grass", "b", how),
        generate(pocket, "a zebra on grass", "a", Generation(steps=3, seed=1)),
    ]
    for one, other in itertools.combinations([first, *others], 2):
        assert not np.array_equal(one, other)


def test_a_picture_shows_its_ground(pocket: Editor) -> None:
    how = Generation(steps=8)
    snow, grass = (generate(pocket, text, "a", how).mean(axis=(0, 1)) for text in ("snow", "grass"))
    assert snow.min() > 150
    assert grass[1] > grass[0]
    assert grass[1] > grass[2]
    with pytest.raises(SettingsError):
        Generation(steps=0)
