"""The record: what goes into a file comes out of it, for every format, any text and any broken file."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

import wordbrush.record.provenance as provenance_module
from wordbrush.errors import OutputError, ProvenanceError
from wordbrush.picture.limits import ReadingLimits, limited
from wordbrush.record import containers
from wordbrush.record.provenance import (
    Provenance,
    encode_image,
    package_versions,
    parameters_line,
    read_provenance,
    save_image,
)

texts = settings(max_examples=40, derandomize=True, deadline=None)
GROWING = Path("/proc/self/maps")  # says 0 bytes, has thousands: as a file that grows while it is read
CARRIERS = (".png", ".jpg", ".webp", ".tif", ".avif")
EXACT = (".png", ".webp", ".tiff")
DIGEST = "0123456789abcdef" * 4
HARD = [
    "",
    "a zebra on grass",
    "two\nlines\r\nand\ttabs\x0b\x85\u2028\u2029",
    '"quotes" \'single\' back\\slash, comma: colon; <tag attr="x"> &amp; &#0; ]]> <!-- --> <?xpacket end="w"?>',
    "</wordbrush:record></x:xmpmeta><x:xmpmeta>",
    "\0NUL\0inside\0",
    "emoji 🦓👩‍👩‍👧‍👦 and زرافة على العشب \u202eRTL\u202c עברית 斑马",
    "lone surrogate \ud800 and noncharacter \uffff \ufffe",
    "🦓" * 2000,
    "\0" * 2000,
    "<&>\"'" * 400,
    "cat\nNegative prompt: dog\nSteps: 1, Seed: 2, Size: 3x3",
]


def record(**changes: Any) -> Provenance:
    base = Provenance(
        schema=1,
        wordbrush="0.1.0",
        input={"name": "horse.png", "sha256": DIGEST, "width": 640, "height": 480},
        model={
            "name": "pocket",
            "family": "sd",
            "source": "pocket",
            "revision": None,
            "sha256": DIGEST,
            "parametrisation": "v_prediction",
            "device": "cpu",
            "dtype": "float32",
            "loras": ("a.safetensors",),
        },
        query="a zebra on grass",
        reference="a horse on grass",
        negative="blurry",
        seed=2**63,
        preset="paper",
        settings={"steps": 50, "guidance": 7.5, "ratio": 0.8, "threshold": None, "antithetic": False, "tiny": 1e-300},
        mask={"source": "auto", "sha256": DIGEST, "area": 0.25, "given_include": {"sha256": DIGEST, "png": None}},
        packages={"wordbrush": "0.1.0"},
        notes=("animation: first of 12 frames used",),
    )
    return replace(base, **changes)


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# ---- the record itself


def test_json_round_trip_is_exact_and_ascii() -> None:
    for text in HARD:
        one = record(query=text, reference=text[::-1], negative=text)
        assert Provenance.from_json(one.to_json()) == one
        assert one.to_json().isascii()
        assert one.to_json().isprintable()
    assert json.loads(record().to_json())["settings"]["tiny"] == 1e-300
    assert record().to_json() == record(settings=dict(reversed(list(record().settings.items())))).to_json()


def test_the_record_is_a_copy() -> None:
    given_settings = {"steps": [50]}
    one = record(settings=given_settings)
    given_settings["steps"].append(3)
    assert one.settings == {"steps": [50]}
    assert one.model["loras"] == ["a.safetensors"]


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("newer", lambda r: r.update(schema=2), "newer"),
    ("older", lambda r: r.update(schema=0), "schema 0"),
    ("schema kind", lambda r: r.update(schema=True), "schema"),
    ("no schema", lambda r: r.pop("schema"), "schema"),
    ("no query", lambda r: r.pop("query"), "field query"),
    ("query kind", lambda r: r.update(query=3), "field query"),
    ("seed kind", lambda r: r.update(seed=1.5), "field seed"),
    ("seed size", lambda r: r.update(seed=2**64), "field seed"),
    ("no sha", lambda r: r["input"].pop("sha256"), r"input\.sha256"),
    ("bad sha", lambda r: r["input"].update(sha256="x"), r"input\.sha256"),
    ("width", lambda r: r["input"].update(width=0), r"input\.width"),
    ("name", lambda r: r["input"].update(name=["x"]), r"input\.name"),
    ("model kind", lambda r: r.update(model=[]), "field model"),
    ("model name", lambda r: r["model"].pop("name"), r"model\.name"),
    ("loras", lambda r: r["model"].update(loras="x"), r"model\.loras"),
    ("area", lambda r: r["mask"].update(area=1.01), r"mask\.area"),
    ("source", lambda r: r["mask"].update(source=[]), r"mask\.source"),
    ("settings", lambda r: r.update(settings=None), "field settings"),
    ("packages", lambda r: r["packages"].update(torch=2), r"packages\.torch"),
    ("notes", lambda r: r.update(notes=[1]), "field notes"),
    ("preset", lambda r: r.update(preset=1), "field preset"),
    ("withheld", lambda r: r.update(withheld="yes"), "field withheld"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_record_names_its_field(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    fields = json.loads(record().to_json())
    change(fields)
    with pytest.raises(ProvenanceError, match=message):
        Provenance.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"x"',
        "{",
        "{}",
        "NaN",
        "[" * 100_000,
        '{"schema":' + "9" * 5000 + "}",
        "\0",
        "x" * (9 << 20),
    ],
    ids=range(12),
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ProvenanceError):
        Provenance.from_json(text)


def test_values_that_are_not_json_are_refused_at_once() -> None:
    for value in (float("nan"), float("inf"), object(), {1, 2}, b"x"):
        with pytest.raises(ProvenanceError, match="settings"):
            record(settings={"steps": value})
    fields = record().to_json().replace("7.5", "1e999")
    with pytest.raises(ProvenanceError, match="settings"):
        Provenance.from_json(fields)


def test_unknown_fields_of_the_same_schema_are_ignored() -> None:
    fields = json.loads(record().to_json()) | {"extra": 1}
    assert Provenance.from_json(json.dumps(fields)) == record()


def test_package_versions() -> None:
    versions = package_versions()
    assert versions["wordbrush"]
    assert re.match(r"\d+\.\d+", versions["numpy"])
    versions["numpy"] = "changed"
    assert package_versions()["numpy"] != "changed"


# ---- the line for viewers


def _parsed(text: str) -> tuple[str, str, dict[str, str]]:
    """Read a `parameters` text as viewers do: last line a list, `Negative prompt:` starts the second part."""
    *lines, last = text.strip().split("\n")
    items = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    at = next((i for i, line in enumerate(lines) if line.startswith("Negative prompt:")), len(lines))
    negative = "\n".join(lines[at:]).removeprefix("Negative prompt:").strip()
    return "\n".join(lines[:at]), negative, {k: json.loads(v) if v[:1] == '"' else v for k, v in items}


def test_parameters_line() -> None:
    prompt, negative, items = _parsed(parameters_line(record(reference='a "horse", on: grass')))
    assert prompt == "a zebra on grass"
    assert negative == "blurry"
    assert items == {
        "Steps": "50",
        "Sampler": "DDIM",
        "CFG scale": "7.5",
        "Seed": str(2**63),
        "Size": "640x480",
        "Model hash": DIGEST[:10],
        "Model": "pocket",
        "Denoising strength": "0.8",
        "Mask area": "0.2500",
        "Preset": "paper",
        "Version": "wordbrush 0.1.0",
        "Source prompt": 'a "horse", on: grass',
    }
    flow = record(model={**record().model, "parametrisation": "flow", "sha256": None})
    assert "Sampler: Euler" in parameters_line(flow)
    second = replace(flow, settings={**flow.settings, "solver": "dpm2m"})
    assert "Sampler: DPM++ 2M" in parameters_line(second)
    assert "Model hash" not in parameters_line(flow)


def test_no_text_poses_as_another_line() -> None:
    for text in HARD:
        line = parameters_line(record(query=text, negative="n", reference=text))
        assert line.count("\n") == 2
        assert _parsed(line)[1] == "n"
        assert _parsed(line)[2]["Seed"] == str(2**63)
        line.encode()
    assert parameters_line(record(query="Negative prompt: x", negative="")).startswith('"Negative')


def test_parameters_line_is_bounded() -> None:
    long = {"query": "🦓" * 100_000, "negative": "\\" * 100_000, "reference": '"' * 100_000, "preset": "p" * 100_000}
    line = parameters_line(record(**long))
    assert len(line.encode()) <= 60 << 10
    assert len(line.encode("utf-16-be")) <= 60 << 10
    assert read_provenance(encode_image(picture(), ".jpg", record(**long))).query == long["query"]


# ---- files


@pytest.mark.parametrize("suffix", CARRIERS)
def test_hard_texts_round_trip_through_every_format(suffix: str) -> None:
    for text in HARD:
        one = record(query=text, reference=text[::-1], negative=text)
        data = encode_image(picture(), suffix, one)
        assert read_provenance(data) == one
        assert opened(data).size == (40, 30)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@texts
@given(query=st.text(max_size=200), negative=st.text(st.characters(), max_size=20))
def test_any_text_round_trips(suffix: str, query: str, negative: str) -> None:
    one = record(query=query, negative=negative)
    assert read_provenance(encode_image(picture(size=(4, 3)), suffix, one)) == one


@pytest.mark.parametrize("suffix", EXACT)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_lossless_formats_keep_every_pixel(suffix: str, mode: str) -> None:
    image = picture(mode)
    back = opened(encode_image(image, suffix, record()))
    assert np.array_equal(np.asarray(back.convert(mode)), np.asarray(image))


@pytest.mark.parametrize("suffix", [*CARRIERS, ".bmp", ".JPEG"])
def test_the_same_arguments_give_the_same_bytes(suffix: str) -> None:
    one = None if suffix == ".bmp" else record()
    assert encode_image(picture(), suffix, one) == encode_image(picture(), suffix, one)


def test_jpeg_is_good_and_without_subsampling() -> None:
    smooth = Image.linear_gradient("L").convert("RGB")
    back = opened(encode_image(smooth, ".jpg", record()))
    assert np.abs(np.asarray(back).astype(int) - np.asarray(smooth)).max() <= 3
    sampling = [component[1:3] for component in getattr(back, "layer")]  # noqa: B009 - untyped in Pillow
    assert sampling == [(1, 1)] * 3
    assert len(encode_image(picture(), ".jpg", None, quality=30)) < len(encode_image(picture(), ".jpg", None))


@pytest.mark.parametrize("suffix", CARRIERS)
def test_profile_is_written_and_nothing_else_of_the_input(suffix: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825)[1] = "SECRETGPS"
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        extra = {"comment": b"SECRETCOMMENT"} if kind == "JPEG" else {}
        text = PngInfo()
        text.add_text("Comment", "SECRETTEXT")
        picture().save(
            buffer,
            kind,
            exif=exif,
            icc_profile=profile,
            pnginfo=text,
            xmp=b"<x:xmpmeta>SECRETXMP</x:xmpmeta>",
            dpi=(300, 300),
            **extra,
        )
        source = opened(buffer.getvalue())
        for one in (record(), None):
            data = encode_image(source, suffix, one)
            back = opened(data)
            assert back.info["icc_profile"] == profile
            assert b"SECRET" not in data
            assert b"SECRET" not in repr(back.info).encode()
            assert 0x8825 not in back.getexif()
            assert ("xmp" in back.info) == (one is not None)
        source.info.pop("icc_profile")
        assert "icc_profile" not in opened(encode_image(source, suffix, record())).info


@pytest.mark.parametrize("suffix", CARRIERS)
@pytest.mark.parametrize(
    ("area", "kind"),
    [(0.25, "compositeWithTrainedAlgorithmicMedia"), (1, "trainedAlgorithmicMedia"), (0, None)],
)
def test_xmp_says_what_a_machine_made(suffix: str, area: float, kind: str | None) -> None:
    one = record(mask={**record().mask, "area": area}, wordbrush="0.1 <&\0\ud800>", query=HARD[3])
    info = opened(encode_image(picture(), suffix, one)).info
    packet = info["XML:com.adobe.xmp"] if suffix == ".png" else info["xmp"]
    packet = packet.encode() if isinstance(packet, str) else bytes(packet)
    tree = ElementTree.fromstring(packet.split(b"?>", 1)[1].rsplit(b"<?", 1)[0].decode())  # noqa: S314
    found = tree.findtext(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found == (kind and f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}")
    assert tree.findtext(".//{http://ns.adobe.com/xap/1.0/}CreatorTool") == "wordbrush 0.1 <& \ufffd>"
    assert (b"record" in packet) is (suffix != ".png")  # a PNG keeps it in chunks of its own


def test_parameters_lie_where_viewers_look() -> None:
    one = record(query="zèbre 斑马 🦓")
    assert opened(encode_image(picture(), ".png", one)).info["parameters"] == parameters_line(one)
    for suffix in (".jpg", ".webp", ".avif"):
        directory = opened(encode_image(picture(), suffix, one)).getexif().get_ifd(0x8769)
        assert directory[0x9286] == b"UNICODE\0" + parameters_line(one).encode("utf-16-be")
        assert directory[0x9000] == b"0232"


@pytest.mark.parametrize("suffix", CARRIERS)
def test_texts_can_be_withheld(suffix: str) -> None:
    one = record(query="QUERYWORD", reference="REFERENCEWORD", negative="NEGATIVEWORD", notes=("cut: QUERYWORD",))
    data = encode_image(picture(), suffix, one, include_prompt=False)
    for word in ("QUERYWORD", "REFERENCEWORD", "NEGATIVEWORD"):
        assert word.encode() not in data
        assert word.encode("utf-16-be") not in data
    back = read_provenance(data)
    assert back == one.without_texts()
    assert back.withheld
    assert not back.replayable
    assert one.replayable
    assert back.seed == one.seed
    assert "query" not in json.loads(back.to_json())
    assert Provenance.from_json(back.to_json()) == back


@pytest.mark.parametrize("suffix", CARRIERS)
@pytest.mark.parametrize("size", [30_000, 61_000, 200_000, 1_500_000])
def test_long_records_are_split_into_small_chunks(suffix: str, size: int) -> None:
    noise = base64.b64encode(np.random.default_rng(0).bytes(size)).decode()
    one = record(mask={**record().mask, "given_mask": {"sha256": DIGEST, "png": noise}})
    data = encode_image(picture(), suffix, one)
    assert read_provenance(data) == one
    assert opened(data).size == (40, 30)
    if suffix == ".png":
        assert max(len(text) for text in opened(data).info.values() if isinstance(text, str)) < 64 << 10
    if size > 100_000 and suffix in (".png", ".jpg"):
        cuts = [b"wordbrush.2", b"wordbrush.3"] if suffix == ".png" else [noise[150_000:150_020].encode()]
        for cut in cuts:
            with pytest.raises(ProvenanceError):
                read_provenance(data.replace(cut, b"x" * len(cut)))


def test_a_record_out_of_all_bounds_is_refused() -> None:
    with pytest.raises(OutputError, match="mask"):
        encode_image(picture(), ".png", record(mask={**record().mask, "png": "x" * (8 << 20)}))


def test_what_a_format_cannot_hold_is_refused() -> None:
    for suffix in (".jpg", ".jpeg", ".bmp"):
        for mode in ("RGBA", "LA"):
            with pytest.raises(OutputError, match=r"\.png or \.webp"):
                encode_image(picture(mode), suffix, None)
    with pytest.raises(OutputError, match="BMP"):
        encode_image(picture(), ".bmp", record())
    tagged = picture()
    tagged.info["icc_profile"] = b"profile"
    with pytest.raises(OutputError, match="profile"):
        encode_image(tagged, ".bmp", None)
    assert np.array_equal(np.asarray(opened(encode_image(picture(), ".bmp", None))), np.asarray(picture()))
    for suffix in ("", ".gif", ".txt", "png"):
        with pytest.raises(OutputError, match=r"\.png"):
            encode_image(picture(), suffix, None)
    for suffix in (".webp", ".jpg", ".avif"):
        with pytest.raises(OutputError, match="too large"):
            encode_image(Image.new("L", (70_000, 1)), suffix, None)
    for quality in (0, 101):
        with pytest.raises(OutputError, match="quality"):
            encode_image(picture(), ".jpg", None, quality=quality)
    with pytest.raises(OutputError, match="CMYK"):
        encode_image(Image.new("CMYK", (2, 2)), ".jpg", None)
    palette = Image.new("P", (2, 2))
    assert opened(encode_image(palette, ".png", None)).mode == "RGB"
    assert opened(encode_image(Image.new("1", (2, 2)), ".png", None)).mode == "L"


def test_save_and_read_files(tmp_path: Path) -> None:
    for suffix in CARRIERS:
        path = tmp_path / f"out{suffix.upper()}"
        save_image(picture(), path, record())
        assert read_provenance(path) == record()
        assert read_provenance(str(path)) == record()
        with pytest.raises(OutputError, match="exists"):
            save_image(picture(), path, record())
        save_image(picture(), path, None, force=True)
        with pytest.raises(ProvenanceError, match="no wordbrush record"):
            read_provenance(path)
    for wrong in (tmp_path, tmp_path / "missing.png", "a\0b", "/dev/zero"):
        with pytest.raises(ProvenanceError):
            read_provenance(wrong)


# ---- files made or changed by others


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_with(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def test_rewritten_text_chunks_are_read() -> None:
    text = record().to_json().encode()
    for chunk in (
        _chunk(b"tEXt", b"wordbrush\0" + text),
        _chunk(b"zTXt", b"wordbrush\0\0" + zlib.compress(text)),
        _chunk(b"iTXt", b"wordbrush\0\0\0en\0key\0" + text),
        _chunk(b"iTXt", b"wordbrush\0\1\0\0\0" + zlib.compress(text)),
    ):
        assert read_provenance(_png_with(_chunk(b"tEXt", b"Title\0x"), chunk)) == record()


def test_rewritten_xmp_is_read() -> None:
    text = record(query="<&>\"'").to_json()
    attribute = text.replace("&", "&amp;").replace("<", "&#60;").replace('"', "&#x22;")
    packet = f'<x:xmpmeta><rdf:Description\n  wordbrush:record="{attribute}"/></x:xmpmeta>'.encode()
    buffer = io.BytesIO()
    picture().save(buffer, "WEBP", xmp=packet)
    assert read_provenance(buffer.getvalue()).query == "<&>\"'"


def test_hostile_containers_end_in_a_provenance_error() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    part = _chunk(b"tEXt", b"wordbrush.3\0x")
    damaged = bytearray(_png_with(_chunk(b"tEXt", b"wordbrush\0" + record().to_json().encode())))
    damaged[damaged.index(b"zebra")] ^= 1
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 35 + 10) + b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 10
    wanting = containers.jpeg_segments("x", None, "y" * 100_000)[:500]
    for data in (
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        _png_with(),
        _png_with(_chunk(b"zTXt", b"wordbrush\0\0" + bomb)),
        _png_with(_chunk(b"iTXt", b"wordbrush\0\1\0\0\0" + bomb)),
        _png_with(_chunk(b"zTXt", b"wordbrush\0\0garbage")),
        _png_with(_chunk(b"tEXt", b"wordbrush")),
        _png_with(_chunk(b"tEXt", b"wordbrush\0\xff\xfe")),
        _png_with(_chunk(b"tEXt", b"wordbrushes\0" + record().to_json().encode())),
        _png_with(part),
        bytes(damaged),
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXtwordbrush\0",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\0\0" * 1000,
        b"\xff\xd8" + segment + b"\xff\xd9",
        b"\xff\xd8" + wanting + b"\xff\xd9",
        b"RIFF\0\0\0\0WEBPXMP \xff\xff\xff\xff<x",
        b"RIFF\0\0\0\0WEBP" + b"XMP \0\0\0\0" * 1000,
        b"II*\0" + b"<x:xmpmeta" * 100_000,
        b"II*\0" + b"<x:xmpmeta></x:xmpmeta>" * 100_000,
        b"\0\0\0\x1cftypavif" + b"<x:xmpmeta wordbrush:record='" * 30_000 + b"</x:xmpmeta>",
        b"II*\0<x:xmpmeta><wordbrush:record>{}</wordbrush:record></x:xmpmeta>",
    ):
        with pytest.raises(ProvenanceError):
            read_provenance(data)


@pytest.mark.parametrize("suffix", CARRIERS)
def test_cut_and_mutated_files_end_in_a_record_or_an_error(suffix: str) -> None:
    data = encode_image(picture(), suffix, record())
    rng = np.random.default_rng(1)
    mutants = [data[: len(data) * cut // 40] for cut in range(40)]
    for _ in range(200):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            changed[at] = rng.integers(0, 256)
        mutants.append(bytes(changed))
    for mutant in mutants:
        try:
            assert isinstance(read_provenance(mutant), Provenance)
        except ProvenanceError:
            continue


@pytest.mark.skipif(not GROWING.exists(), reason="needs a file that is longer than it says")
def test_a_file_that_is_longer_than_it_says_is_read_to_the_bound_only() -> None:
    assert GROWING.stat().st_size == 0
    with limited(ReadingLimits(size=20)), pytest.raises(ProvenanceError, match="the limit is"):
        read_provenance(GROWING)


def test_reading_decodes_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encode_image(picture(), suffix, record()) for suffix in CARRIERS]

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("Pillow was asked to open a file")

    monkeypatch.setattr(Image, "open", forbidden)
    assert all(read_provenance(data) == record() for data in files)
    assert provenance_module.SCHEMA_VERSION == 1


def test_without_texts_no_folder_is_told() -> None:
    lora = {"source": "/home/jo/loras/ink.safetensors", "sha256": "0" * 64, "scale": 1.0}
    model = {**record().model, "source": "/home/jo/models/mine", "loras": [lora]}
    private = record(model=model).without_texts()
    assert private.model["source"] == "mine"
    assert private.model["loras"][0]["source"] == "ink.safetensors"
    assert "jo/" not in private.to_json()
