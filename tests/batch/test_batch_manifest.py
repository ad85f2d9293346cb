"""Manifests: every kind of source gives its rows; one that cannot be read says so by its line, and the rest goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.support.batches import write_pictures
from wordbrush.batch.manifest import Manifest, ManifestRow
from wordbrush.errors import InputError


def rows(source: Any, **keywords: Any) -> list[ManifestRow]:
    return list(Manifest(source, **keywords).rows())


def told(source: Any) -> list[tuple[int, Any]]:
    """Numbers with values, or with the error."""
    return [(row.number, row.error or dict(row.values)) for row in rows(source)]


def test_a_folder_a_pattern_and_one_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 3)
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "deep").mkdir()
    write_pictures(tmp_path / "in" / "deep", 1)
    names = [row.values["picture"] for row in rows(tmp_path / "in")]
    assert names == ["p000.png", "p001.png", "p002.png"]
    for pattern, found in (("p00[12]*", ["p001.png", "p002.png"]), ("**/*.png", ["deep/p000.png", *names])):
        manifest = Manifest(f"{tmp_path}/in/{pattern}")
        assert [row.values["picture"] for row in manifest.rows()] == found
        assert (Path(manifest.folder) / found[0]).is_file()
    one = Manifest(tmp_path / "in" / "p000.png")
    assert ([row.values for row in one.rows()], one.folder) == ([{"picture": "p000.png"}], f"{tmp_path}/in/")


def test_results_are_no_sources(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 2)
    write_pictures(tmp_path / "in" / "out", 2)
    assert len(rows(f"{tmp_path}/in/**/*.png", out=tmp_path / "in" / "out")) == 2
    with pytest.raises(InputError, match="folder of their own"):
        rows(tmp_path / "in", out=tmp_path / "in")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        '\ufeff{"picture": "a.png", "query": "caf\u00e9", "seed": 3, "extra": {"deep": [1]}, "none": null, "no": ""}',
        "",
        '{"picture": "b.png"',
        '["no object"]',
        '{"picture": "a", "picture": "b"}',
        '{"x": ' + "[" * 100_000 + "}",
        '{"picture": "\\ud800"}',
        '{"picture": "c.png"}',
    ]
    path.write_bytes("\r\n".join(lines).encode() + b"\n" + b'{"picture": "\xff.png"}\n{"picture": "d.png"}')
    found = dict(told(path))
    assert found[1] == {"picture": "a.png", "query": "café", "seed": 3, "extra": {"deep": [1]}}
    assert 2 not in found
    assert "not JSON" in found[3]
    assert found[4] == "the line is not a JSON object"
    assert "'picture' stands twice" in found[5]
    assert "nested too deeply" in found[6] or "not JSON" in found[6]
    assert found[7] == found[9] == "the cell picture is not UTF-8"
    assert (found[8], found[10]) == ({"picture": "c.png"}, {"picture": "d.png"})


def test_a_line_without_end_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"picture": "a.png"}\n' + "x" * (9 << 20) + '\n{"picture": "b.png"}\n')
    assert told(path) == [
        (1, {"picture": "a.png"}),
        (2, "the line has more than 4 MiB"),
        (3, {"picture": "b.png"}),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_in_every_encoding_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    lines = ["", "picture;query;;breed", 'a.png;"a zebra; ""big""', 'on grass";x;Irish', ""]
    lines += ["b.png;;;", "c.png;1;2;3;4", "d.png"]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode(encoding))
    assert told(path) == [
        (3, {"picture": "a.png", "query": 'a zebra; "big"\r\non grass', "column 3": "x", "breed": "Irish"}),
        (6, {"picture": "b.png"}),
        (7, "the line has 5 cells for 4 columns"),
        (8, {"picture": "d.png"}),
    ]


def test_csv_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("picture,query,picture\na,b,c\n")
    with pytest.raises(InputError, match="'picture' stands twice"):
        rows(path)
    path.write_text("\n\n")
    with pytest.raises(InputError, match="no line with names"):
        rows(path)
    path.write_bytes(b"picture,query\na.png,\xe9\nb.png,ok\nc.png," + b"x" * 200_000 + b"\nd.png,ok\n")
    found = dict(told(path))
    assert found[2] == "the cell query is not UTF-8"
    assert "no CSV" in found[4]
    assert (found[3], found[5]) == ({"picture": "b.png", "query": "ok"}, {"picture": "d.png", "query": "ok"})


def test_tables_with_tabs_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("picture\tquery\na.png\tone, two; three\n")
    assert told(tmp_path / "m.tsv") == [(2, {"picture": "a.png", "query": "one, two; three"})]
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    values = [{"picture": f"{n}.png", "seed": n, "ratio": None if n else 0.5, "bbox": {"x": n}} for n in range(2500)]
    parquet.write_table(arrow.Table.from_pylist(values), tmp_path / "m.parquet")
    found = told(tmp_path / "m.parquet")
    assert len(found) == 2500
    assert found[0] == (1, {"picture": "0.png", "seed": 0, "ratio": 0.5, "bbox": {"x": 0}})
    assert found[2499] == (2500, {"picture": "2499.png", "seed": 2499, "bbox": {"x": 2499}})
    (tmp_path / "m.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"m\.parquet.*Parquet"):
        rows(tmp_path / "m.parquet")


def test_parquet_without_its_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'wordbrush\[batch\]'"):
        rows(tmp_path / "m.parquet")


def test_urls(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/batch/m.jsonl", b'{"picture": "a.png"}\n')
    memory.pipe("/batch/a.png", write_pictures(tmp_path, 1)[0].read_bytes())
    manifest = Manifest("memory://batch/m.jsonl")
    assert [row.values for row in manifest.rows()] == [{"picture": "a.png"}]
    assert manifest.folder == "memory://batch/"
    for source in ("memory://batch", "memory://batch/*.png"):
        folder = Manifest(source)
        assert [row.values for row in folder.rows()] == [{"picture": "a.png"}], source
        assert folder.folder == "memory://batch/"
    write_pictures(tmp_path / "more", 1)
    for source in (f"file://{tmp_path}/more", f"file://{tmp_path}/more/*.png"):
        assert [row.values for row in Manifest(source).rows()] == [{"picture": "p000.png"}], source
    with pytest.raises(InputError, match=r"there is no manifest memory://batch/n\.csv"):
        rows("memory://batch/n.csv")
    with pytest.raises(InputError, match="nosuch://"):
        rows("nosuch://bucket/m.csv")
    with pytest.raises(InputError, match="sftp:// needs a driver that is not installed"):
        rows("sftp://host/m.csv")


def test_rows_in_python() -> None:
    given: list[Any] = [{"picture": "a.png", "mask": None}, "no row"]
    assert told(given) == [(1, {"picture": "a.png"}), (2, "a row is a mapping, not str")]
    assert rows(given)[0].place == "row 1"
    for wrong in (7, b"x", {"picture": "a"}, iter(given)):
        with pytest.raises(InputError, match="a batch takes"):
            Manifest(wrong)


def test_sources_that_are_none(tmp_path: Path) -> None:
    for source, part in (
        (tmp_path / "none", "there is no folder, pattern"),
        (tmp_path, "no pictures here"),
        (tmp_path / "*.png", "no pictures here"),
        (tmp_path / "none.csv", "there is no manifest"),
        (tmp_path / "words.txt", "a batch takes"),
    ):
        with pytest.raises(InputError, match=part):
            rows(source)


def test_ten_thousand_rows_are_not_held(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"picture": f"{n}.png", "query": "x" * 200}) + "\n" for n in range(10_000)))
    tracemalloc.start()
    assert sum(1 for _ in Manifest(path).rows()) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000, peak
