"""COCO by the paper's protocol: BISON's queries (Hu et al. 2019) on COCO val2014.

Each BISON item has a caption, the picture it belongs to and a similar picture that it does not describe. That second
picture, the distractor, is edited towards the caption. `bison_annotations.cocoval2014.json` holds
`{"info": {...}, "data": [{"bison_id", "caption", "true_image_id", "image_candidates": [{"image_id", "image_filename"},
{...}]}, ...]}`; `captions_val2014.json` is COCO's own file of captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.common import (
    Entry,
    Protocol,
    ReferenceKind,
    changed_words,
    check_identities,
    inside,
    need,
    read_json,
    words_of,
)
from wordbrush.models.checkpoint.digests import file_digest

__all__ = ["CLOSE", "nearest_caption", "read_captions", "read_coco"]

CLOSE: Final = 0.25
"""Largest share of changed words of the paper's subset of near queries."""


def read_coco(
    pictures: Path,
    annotations: Path,
    *,
    captions: Path | None = None,
    reference: ReferenceKind = "empty",
    max_changed: float | None = None,
) -> Protocol:
    """Read BISON's queries.

    Args:
        pictures: COCO's folder `val2014`, with COCO_val2014_000000000042.jpg and so on.
        annotations: `bison_annotations.cocoval2014.json`.
        captions: COCO's `captions_val2014.json`; needed for captions as references and for the near queries.
        reference: `empty`, or `caption`: of the distractor's captions the one nearest to the query.
        max_changed: keep only queries whose `changed_words` from the nearest caption are at most this share.

    Raises:
        InputError: a file or folder is missing, or an item is not as it should be; the message names it.
    """
    if not pictures.is_dir():
        raise InputError(f"{pictures}: this is no folder; give COCO's val2014")
    if captions is None and (reference == "caption" or max_changed is not None):
        raise InputError("captions as references and the near queries need COCO's captions_val2014.json (--captions)")
    document = need(read_json(annotations, "BISON's annotations"), dict, f"{annotations}: the document")
    items = need(document.get("data"), list, f"{annotations}: data")
    known = read_captions(captions) if captions is not None else {}
    entries = [_entry(item, index, annotations, pictures, captions, known) for index, item in enumerate(items)]
    check_identities(entries, annotations)
    if max_changed is not None:
        entries = [entry for entry in entries if entry.facts["changed_words"] <= max_changed]
    if not entries:
        raise InputError(f"{annotations}: no query is left" if items else f"{annotations}: there is no query in it")
    if reference == "empty":
        entries = [_without_reference(entry) for entry in entries]
    data = {
        "annotations_sha256": file_digest(annotations),
        "captions_sha256": file_digest(captions) if captions is not None else None,
        "reference": reference,
        "max_changed": max_changed,
    }
    return Protocol("coco", tuple(entries), data)


def read_captions(path: Path) -> dict[int, list[str]]:
    """Read COCO's captions, in the order of their ids, by picture.

    Raises:
        InputError: the file is missing or is not COCO's file of captions.
    """
    document = need(read_json(path, "COCO's captions"), dict, f"{path}: the document")
    captions: dict[int, list[tuple[int, str]]] = {}
    for index, item in enumerate(need(document.get("annotations"), list, f"{path}: annotations")):
        where = f"{path}: annotation {index}"
        row = need(item, dict, where)
        image = need(row.get("image_id"), int, f"{where}: image_id")
        number = need(row.get("id"), int, f"{where}: id")
        captions.setdefault(image, []).append((number, need(row.get("caption"), str, f"{where}: caption").strip()))
    return {image: [text for _, text in sorted(texts)] for image, texts in captions.items()}


def nearest_caption(query: str, captions: Sequence[str]) -> tuple[str, float]:
    """Return the caption nearest to the query by `changed_words`, the first of equally near ones, and its distance."""
    words = words_of(query)
    ranked = [(changed_words(words, words_of(text)), index) for index, text in enumerate(captions)]
    distance, index = min(ranked)
    return captions[index], distance


def _entry(
    item: Any,
    index: int,
    annotations: Path,
    pictures: Path,
    captions: Path | None,
    known: Mapping[int, Sequence[str]],
) -> Entry:
    where = f"{annotations}: item {index}"
    row = need(item, dict, where)
    number = need(row.get("bison_id"), int, f"{where}: bison_id")
    where = f"{annotations}: bison_id {number}"
    query = need(row.get("caption"), str, f"{where}: caption").strip()
    true = need(row.get("true_image_id"), int, f"{where}: true_image_id")
    candidates = need(row.get("image_candidates"), list, f"{where}: image_candidates")
    files = [_candidate(candidate, where) for candidate in candidates]
    if len(files) != 2 or sum(image == true for image, _ in files) != 1:
        raise InputError(f"{where}: it should have two image_candidates, one of them true_image_id {true}")
    (image, name), (_, true_name) = sorted(files, key=lambda file: file[0] == true)
    groups, facts, reference = {}, {"image_id": image, "true_image_id": true, "true_file": true_name}, ""
    inside(pictures, true_name, where)
    if captions is not None:
        if not known.get(image):
            raise InputError(f"{where}: {captions} has no caption of picture {image}")
        reference, distance = nearest_caption(query, known[image])
        facts["changed_words"] = distance
        near = distance <= CLOSE
        groups["changed words"] = f"at most {CLOSE:.0%}" if near else f"more than {CLOSE:.0%}"
    return Entry(str(number), inside(pictures, name, where), query, reference, groups=groups, facts=facts)


def _candidate(value: Any, where: str) -> tuple[int, str]:
    row = need(value, dict, f"{where}: a candidate")
    image = need(row.get("image_id"), int, f"{where}: image_id")
    return image, need(row.get("image_filename", f"COCO_val2014_{image:012d}.jpg"), str, f"{where}: image_filename")


def _without_reference(entry: Entry) -> Entry:
    return Entry(entry.id, entry.picture, entry.query, groups=entry.groups, facts=entry.facts)
