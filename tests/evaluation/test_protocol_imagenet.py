"""FlexIT's query list and ImageNet's validation folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.protocols import HEADER, QUERIES, write_imagenet
from wordbrush.errors import InputError
from wordbrush.evaluation.protocols.imagenet import read_imagenet


def test_the_test_half_in_the_folders_of_the_wnids(tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path)
    protocol = read_imagenet(val, queries)
    assert [entry.id for entry in protocol.entries] == ["17", "520"]
    first = protocol.entries[0]
    assert first.picture == val / "n02000002" / "ILSVRC2012_val_00000001.JPEG"
    assert (first.query, first.reference) == ("a photo of a marsh hopper", "")
    assert (first.source, first.target) == (5, 2)
    # The classifier may answer with every target of the whole list, the other half's too.
    assert protocol.data["target_classes"] == [2, 5, 7]


def test_the_flat_folder_has_the_same_entries(tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path, flat=True)
    protocol = read_imagenet(val, queries, split="all", reference="caption", template="{}!")
    assert [entry.picture for entry in protocol.entries] == [
        val / f"ILSVRC2012_val_0000000{number}.JPEG" for number in (3, 1, 4)
    ]
    assert all(entry.picture.is_file() for entry in protocol.entries)
    assert (protocol.entries[0].reference, protocol.entries[0].query) == ("marsh hopper!", "hill hopper!")
    assert [e.id for e in read_imagenet(val, queries, split="dev").entries] == ["3741"]


def test_classes_may_be_given_by_number(tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path)
    first = read_imagenet(val, queries, reference="caption", template="{id}").entries[0]
    assert (first.query, first.reference) == ("2", "5")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1,../../etc/passwd,a,2,b,5,True", "leads out of"),
        ("1,/etc/passwd,a,2,b,5,True", "leads out of"),
        ("1,n02000001\\ILSVRC2012_val_00000003.JPEG,a,2,b,5,True", "leads out of"),
        ("1,C:/ILSVRC2012_val_00000003.JPEG,a,2,b,5,True", "leads out of"),
        ("1,n02000001/photo.JPEG,a,2,b,5,True", "is not like"),
        ("1,x/n02000001/ILSVRC2012_val_00000003.JPEG,a,2,b,5,True", "is not like"),
        ("1,n02000001/ILSVRC2012_val_00000003.JPEG,a,two,b,5,True", "source_id"),
        ("1,n02000001/ILSVRC2012_val_00000003.JPEG,a,2,b,1000,True", "target_id"),
        ("1,n02000001/ILSVRC2012_val_00000003.JPEG,a,2,b,5,yes", "is_test"),
        ("1,n02000001/ILSVRC2012_val_00000003.JPEG,a,2", "as many fields"),
        ("1,n02000001/ILSVRC2012_val_00000003.JPEG,a,2,b,5,True,more", "as many fields"),
        ('1,"n02000001', "CSV"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, told: str) -> None:
    val, queries = write_imagenet(tmp_path)
    queries.write_text("\n".join((HEADER, QUERIES[0], line)) + "\n")
    with pytest.raises(InputError, match=told) as caught:
        read_imagenet(val, queries)
    assert str(caught.value).startswith(f"{queries}: line 3")


def test_other_files_are_refused(tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        read_imagenet(val, tmp_path / "none.csv")
    with pytest.raises(InputError, match="no folder"):
        read_imagenet(tmp_path / "none", queries)
    for template in ("a photo", "{} or {id}"):
        with pytest.raises(InputError, match="template"):
            read_imagenet(val, queries, template=template)
    queries.write_text("path,label\nx,y\n")
    with pytest.raises(InputError, match="column source"):
        read_imagenet(val, queries)
    queries.write_text(HEADER + "\n")
    with pytest.raises(InputError, match="no query"):
        read_imagenet(val, queries)
    queries.write_text("\n".join((HEADER, QUERIES[1], QUERIES[1])) + "\n")
    with pytest.raises(InputError, match="17 is there twice"):
        read_imagenet(val, queries)


def test_the_development_kit_confirms_or_contradicts_the_wnids(tmp_path: Path) -> None:
    val, queries = write_imagenet(tmp_path, flat=True)
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("490\n1\n361\n361\n")  # pictures 3 and 4 share a class, picture 1 has another
    assert len(read_imagenet(val, queries, split="all", devkit=kit.parent).entries) == 3
    assert len(read_imagenet(val, queries, split="all", devkit=truth).entries) == 3
    truth.write_text("361\n1\n361\n361\n")
    with pytest.raises(InputError, match="puts it with n02000001"):
        read_imagenet(val, queries, devkit=kit.parent)
    truth.write_text("490\n1\n361\n362\n")
    with pytest.raises(InputError, match="entry 520"):
        read_imagenet(val, queries, devkit=kit.parent)
    truth.write_text("490\n1\n")
    with pytest.raises(InputError, match="lists no class"):
        read_imagenet(val, queries, devkit=kit.parent)
    truth.write_text("490\nx\n")
    with pytest.raises(InputError, match="line 2"):
        read_imagenet(val, queries, devkit=kit.parent)
    with pytest.raises(InputError, match="ground_truth"):
        read_imagenet(val, queries, devkit=tmp_path)
