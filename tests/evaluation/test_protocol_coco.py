"""BISON's annotations on COCO's val2014, and how far texts are apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.protocols import coco_name, write_coco
from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.coco import nearest_caption, read_coco
from wordbrush.evaluation.protocols.common import changed_words, words_of


def test_the_other_picture_is_edited_towards_the_caption(tmp_path: Path) -> None:
    pictures, bison, _ = write_coco(tmp_path)
    protocol = read_coco(pictures, bison)
    assert [entry.id for entry in protocol.entries] == ["11", "12"]
    # The order of the candidates says nothing: 7 < 42 and 300001 > 9, the true picture is the second and the first.
    assert [entry.picture.name for entry in protocol.entries] == [coco_name(7), coco_name(300001)]
    assert [entry.facts["true_file"] for entry in protocol.entries] == [coco_name(42), coco_name(9)]
    assert all(entry.picture.is_file() for entry in protocol.entries)
    assert [entry.reference for entry in protocol.entries] == ["", ""]
    assert protocol.entries[0].query == "two grey cats sleep on a red sofa"


def test_the_nearest_caption_is_the_reference_and_makes_the_subset(tmp_path: Path) -> None:
    pictures, bison, captions = write_coco(tmp_path)
    protocol = read_coco(pictures, bison, captions=captions, reference="caption")
    near, far = protocol.entries
    assert near.reference == "Two grey cats sleep on a blue sofa."
    assert near.facts["changed_words"] == pytest.approx(1 / 8)
    assert near.groups == {"changed words": "at most 25%"}
    assert far.groups == {"changed words": "more than 25%"}
    subset = read_coco(pictures, bison, captions=captions, max_changed=0.25)
    assert [(entry.id, entry.reference) for entry in subset.entries] == [("11", "")]
    assert subset.data != protocol.data


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("A cat on a mat.", "a cat, on a mat", 0.0),
        ("a cat on a mat", "a dog on a mat", 0.2),
        ("a cat on a mat", "a big cat on a mat", 1 / 6),
        ("a b c d", "b c d a", 0.5),
        ("one two", "three four", 1.0),
        ("", "one two", 1.0),
        ("", "...", 0.0),
        ("the dog's bone", "the dogs bone", 1 / 3),
    ],
)
def test_the_share_of_changed_words(first: str, second: str, share: float) -> None:
    assert changed_words(first, second) == pytest.approx(share)
    assert changed_words(second, first) == pytest.approx(share)


def test_words_are_lower_case_without_punctuation() -> None:
    assert words_of("The dog’s T-shirt: No. 7, naïve_Ünï!") == ["the", "dog’s", "t", "shirt", "no", "7", "naïve", "ünï"]


def test_the_first_of_equally_near_captions_is_taken() -> None:
    text, distance = nearest_caption("a red car", ["a blue car", "a red bus", "a tree"])
    assert text == "a blue car"
    assert distance == pytest.approx(1 / 3)


def _items(bison: Path) -> Any:
    return json.loads(bison.read_text())


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    pictures, bison, captions = write_coco(tmp_path)
    whole = _items(bison)

    def broken(change: Any, told: str) -> None:
        document = json.loads(json.dumps(whole))
        change(document["data"][1])
        bison.write_text(json.dumps(document))
        with pytest.raises(InputError, match=told) as caught:
            read_coco(pictures, bison)
        assert str(bison) in str(caught.value)

    broken(lambda item: item.pop("bison_id"), "item 1: bison_id is missing")
    broken(lambda item: item.update(bison_id=True), "bison_id is bool")
    broken(lambda item: item.update(bison_id=11), "11 is there twice")
    broken(lambda item: item.pop("caption"), "bison_id 12: caption is missing")
    broken(lambda item: item.update(image_candidates={}), "image_candidates is dict")
    broken(lambda item: item["image_candidates"].pop(), "two image_candidates")
    broken(lambda item: item.update(true_image_id=5), "one of them true_image_id 5")
    for name in ("../../etc/passwd", "/etc/passwd", "a\0b", "..\\..\\boot.ini", ""):
        broken(
            lambda item, name=name: item["image_candidates"][1].update(image_filename=name), "bison_id 12.*leads out"
        )
        broken(
            lambda item, name=name: item["image_candidates"][0].update(image_filename=name), "bison_id 12.*leads out"
        )
    bison.write_text('{"data": [')
    with pytest.raises(InputError, match="not valid JSON"):
        read_coco(pictures, bison)
    bison.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not valid JSON"):
        read_coco(pictures, bison)
    bison.write_text('{"data": []}')
    with pytest.raises(InputError, match="no query"):
        read_coco(pictures, bison)
    bison.write_text(json.dumps(whole))
    for keywords in ({"reference": "caption"}, {"max_changed": 0.25}):
        with pytest.raises(InputError, match="--captions"):
            read_coco(pictures, bison, **keywords)
    captions.write_text('{"annotations": [{"image_id": 7, "id": 1, "caption": "cats"}]}')
    with pytest.raises(InputError, match="no caption of picture 300001"):
        read_coco(pictures, bison, captions=captions)
    captions.write_text('{"annotations": [{"image_id": "7", "id": 1, "caption": "cats"}]}')
    with pytest.raises(InputError, match="annotation 0: image_id is str"):
        read_coco(pictures, bison, captions=captions)
