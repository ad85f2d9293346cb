"""Which files an input may name."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from wordbrush.errors import InputError
from wordbrush.web.gate.uploads import Uploads, fence


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    (tmp_path / "home" / "key").mkdir(parents=True)
    (tmp_path / "home" / "key" / "fox.png").write_bytes(b"fox")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "home-2").mkdir()
    (tmp_path / "home-2" / "fox.png").write_bytes(b"secret")
    (tmp_path / "home" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "home" / "folder").symlink_to(tmp_path / "home-2")
    return Uploads(tmp_path / "home", 10)


OTHERS = (
    "secret.png", "home-2/fox.png", "home/link.png", "home/folder/fox.png", "home/../secret.png", "home", "home/key",
    "home/key/none.png", "home/key/fox.png/..", "home/key/fox.png\0",
)  # fmt: skip
ADDRESSES = ("http://x/a.png", "HTTPS://x/a.png", "file:///etc/passwd", "data:image/png;base64,AA", "ftp://x", "x1+y:z")


def test_files_of_the_folder_are_taken(uploads: Uploads) -> None:
    place = str(uploads.folder / "key" / "fox.png")
    assert uploads.read(place).data == b"fox"
    assert uploads.read(place).name == "fox.png"
    assert uploads.read(place, "../a\nfox.png").name == "afox.png"
    assert uploads.decode(place).data == b"fox"


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_file_is_taken(uploads: Uploads, name: str) -> None:
    with pytest.raises(InputError, match="no such upload") as caught:
        uploads.place(f"{uploads.folder.parent}/{name}")
    assert str(uploads.folder) not in str(caught.value)


@pytest.mark.parametrize("text", ["", ".", "fox.png", "key/fox.png", "/etc/passwd", "/dev/zero", "x" * 5000, "//x/y"])
def test_nothing_outside_is_taken(uploads: Uploads, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(uploads.folder)
    with pytest.raises(InputError, match="no such upload"):
        uploads.place(text)


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_are_refused(uploads: Uploads, text: str) -> None:
    with pytest.raises(InputError, match="no URL inputs"):
        uploads.place(text)


def test_sizes_are_bounded(uploads: Uploads) -> None:
    big = uploads.folder / "big.png"
    big.write_bytes(bytes(11))
    with pytest.raises(InputError, match=r"^big\.png: .* the limit is"):
        uploads.read(str(big))
    whole = "data:image/png;base64," + base64.b64encode(bytes(10)).decode()
    assert uploads.decode(whole).data == bytes(10)
    for count in (13, 10_000):
        with pytest.raises(InputError, match="larger than the limit"):
            uploads.decode("data:image/png;base64," + base64.b64encode(bytes(count)).decode())


@pytest.mark.parametrize("text", ["data:,x", "data:image/png,x", "data:text/html;base64,AA", "data:image/png;base64,A"])
def test_broken_data_addresses_are_refused(uploads: Uploads, text: str) -> None:
    with pytest.raises(InputError, match="data address"):
        uploads.decode(text)


def test_a_fenced_component_moves_and_fetches_nothing(uploads: Uploads) -> None:
    part: Any = gr.File(render=False)
    fence(part, uploads)
    place = str(uploads.folder / "key" / "fox.png")
    assert asyncio.run(part.async_move_resource_to_block_cache(place)) == place
    assert part.temp_files == {place}
    for text in (*ADDRESSES, "/etc/passwd", f"{uploads.folder.parent}/secret.png"):
        with pytest.raises(gr.Error, match="upload"):
            asyncio.run(part.async_move_resource_to_block_cache(text))
    assert asyncio.run(part.async_move_resource_to_block_cache(None)) is None
