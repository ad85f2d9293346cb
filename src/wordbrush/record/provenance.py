"""Provenance: the record of an edit, inside the picture: it can be repeated, and says that a machine made parts of it.

A saved picture carries

- the record: versioned JSON, see `Provenance` (where it lies in each format: `wordbrush.record.containers`);
- a `parameters` text as existing viewers of generated pictures read it: a PNG text chunk of this name, or the EXIF
  UserComment of JPEG, WebP and AVIF. It is for eyes: long texts are cut, line breaks become spaces;
- an XMP packet with the IPTC digital source type: a composite with parts made by a trained model, or a picture made
  by one when the mask covers everything; nothing when the mask is empty, as then nothing was made;
- the colour profile of the picture. Nothing of the input's own EXIF, XMP, comments or position is ever copied.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from wordbrush.errors import OutputError, ProvenanceError
from wordbrush.files import bounded_open, bounded_read, write_atomic
from wordbrush.picture.limits import reading_limits
from wordbrush.record import containers
from wordbrush.record.encode import FORMATS, encode_pixels
from wordbrush.record.rules import SCHEMA_VERSION, bare_name, checked, dumped, loaded, plain_line, quoted

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "SCHEMA_VERSION",
    "Provenance",
    "encode_image",
    "file_bytes",
    "package_versions",
    "parameters_line",
    "read_provenance",
    "save_image",
]

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_PACKAGES = ("wordbrush", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow", "safetensors", "peft")
_TEXTS = ("query", "reference", "negative")
_LATER = ("real_ratio", "threads")
"""Fields that the first records are without."""


@dataclass(frozen=True)
class Provenance:
    """The record of one edit. It holds no date: the same edit done again gives the same bytes.

    Mappings are copied to plain dicts and tuples in them to lists, as they come back from a file; treat them as
    read-only. Keys beyond those named here are kept.

    Attributes:
        schema: version of this layout, `SCHEMA_VERSION`.
        wordbrush: version of the program.
        input: name (or None), sha256, width, height of the input picture.
        model: name, family, source, revision, sha256, parametrisation, device, dtype (texts or None), loras (a list);
            where there are any, embeddings (a list) and given (a table: what it was loaded with).
        query: the text the picture should match.
        reference: the text it matched before.
        negative: the negative prompt.
        seed: of this item.
        preset: its name, or None.
        settings: every switch with its value.
        mask: source ("auto" or "user"), sha256, area in [0, 1]; given masks with their own sha256 and png (base64).
        packages: name to version.
        notes: how the input was read, in words for the user.
        real_ratio: the encoding ratio in whole steps of the grid, or None in a record of before it was told.
        threads: torch's threads on the CPU, on which the last bits depend, or None in a record of before it was told.
        withheld: the texts were left out on purpose: query, reference and negative are empty, a replay is impossible.

    Raises:
        ProvenanceError: a field is missing or of the wrong kind; the message names it.
    """

    schema: int
    wordbrush: str
    input: Mapping[str, Any]
    model: Mapping[str, Any]
    query: str
    reference: str
    negative: str
    seed: int
    preset: str | None
    settings: Mapping[str, Any]
    mask: Mapping[str, Any]
    packages: Mapping[str, str]
    notes: tuple[str, ...] = ()
    withheld: bool = False
    real_ratio: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in checked({**own, "notes": list(self.notes)}).items():
            object.__setattr__(self, name, tuple(value) if name == "notes" else value)

    @property
    def replayable(self) -> bool:
        """Whether the record says everything a replay needs (besides the input, the model and any big mask)."""
        return not self.withheld

    def without_texts(self) -> Provenance:
        """Return the record without the texts and notes (which may quote them), and with bare names for paths."""
        model = {**self.model, "source": bare_name(self.model["source"])}
        for kind in ("loras", "embeddings"):
            if kind in model:
                model[kind] = [
                    {**item, "source": bare_name(item.get("source"))} for item in model[kind] if isinstance(item, dict)
                ]
        if isinstance(given := model.get("given"), dict):
            model["given"] = {name: bare_name(value) for name, value in given.items()}
        return replace(self, model=model, query="", reference="", negative="", notes=(), withheld=True)

    def to_json(self) -> str:
        """Return one line of ASCII JSON with sorted keys: equal records give equal text."""
        fields = asdict(self)
        for name in _LATER:
            if fields[name] is None:
                del fields[name]
        if not fields.pop("withheld"):
            return dumped(fields)
        return dumped({**{name: value for name, value in fields.items() if name not in _TEXTS}, "withheld": True})

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Return the record `to_json` wrote. Fields this version does not know are ignored.

        Raises:
            ProvenanceError: not JSON, of a newer schema, or a field is missing or wrong; the message names it.
        """
        if len(text) > containers.MAX_RECORD:
            raise ProvenanceError(f"the record is longer than {containers.MAX_RECORD:,} characters")
        fields = loaded(text)
        if fields.setdefault("withheld", False) is True:
            fields.update(dict.fromkeys(_TEXTS, ""))
        fields.setdefault("notes", [])
        for name in _LATER:
            fields.setdefault(name, None)
        known = checked({name: value for name, value in fields.items() if name in cls.__dataclass_fields__})
        return cls(**known)


def parameters_line(provenance: Provenance) -> str:
    """Return the text other viewers know as `parameters`: prompt, negative prompt, then a list of `Name: value`.

    At most 60 KiB in UTF-8 and in UTF-16. Texts are cut at 4,000 characters; control characters, line breaks among
    them, become spaces, so that no text can pose as one of the other lines.
    """
    prompt, negative = plain_line(provenance.query), plain_line(provenance.negative)
    lines = [quoted(prompt) if prompt.startswith("Negative prompt:") else prompt]
    if negative:
        lines.append(f"Negative prompt: {negative}")
    items = [(name, plain_line(str(value), 200)) for name, value in _items(provenance) if value not in (None, "")]
    if provenance.reference:
        items.append(("Source prompt", plain_line(provenance.reference)))
    lines.append(", ".join(f"{name}: {quoted(value) if set(value) & set(',:') else value}" for name, value in items))
    return "\n".join(lines)


def _sampler(provenance: Provenance) -> str:
    if provenance.settings.get("solver") == "dpm2m":
        return "DPM++ 2M"
    return "Euler" if provenance.model["parametrisation"] == "flow" else "DDIM"


def _items(provenance: Provenance) -> list[tuple[str, Any]]:
    model, source, settings = provenance.model, provenance.input, provenance.settings
    return [
        ("Steps", settings.get("steps")),
        ("Sampler", _sampler(provenance)),
        ("CFG scale", settings.get("guidance")),
        ("Seed", provenance.seed),
        ("Size", f"{source['width']}x{source['height']}"),
        ("Model hash", (model["sha256"] or "")[:10]),
        ("Model", model["name"]),
        ("Denoising strength", settings.get("ratio")),
        ("Mask area", f"{provenance.mask['area']:.4f}"),
        ("Preset", provenance.preset),
        ("Version", f"wordbrush {provenance.wordbrush}"),
    ]


def encode_image(
    image: Image.Image,
    suffix: str,
    provenance: Provenance | None,
    quality: int = 95,
    include_prompt: bool = True,
) -> bytes:
    """Return the file content: the pixels, the colour profile in `image.info`, and the record if there is one.

    PNG, WebP and TIFF are lossless; JPEG is 4:4:4; the same arguments give the same bytes.

    Args:
        image: mode L, LA, RGB or RGBA (1 and P are widened); only `icc_profile` of its info is used.
        suffix: .png .webp .tif .tiff .jpg .jpeg .avif .bmp; decides the format.
        provenance: what to write into the file, or None for no metadata at all.
        quality: 1 ... 100, for JPEG and AVIF.
        include_prompt: write the texts; without them the record cannot be replayed.

    Raises:
        OutputError: unknown suffix, alpha into JPEG or BMP, a record or profile into BMP, a record too long, a picture
            too large for the format.
    """
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise OutputError(f"{suffix or 'a name without an ending'}: wordbrush writes {', '.join(FORMATS)}")
    if provenance is None:
        return encode_pixels(image, kind, quality, {})
    if kind == "BMP":
        raise OutputError("BMP cannot carry the record of what was done; save as .png, or leave the metadata out")
    return encode_pixels(image, kind, quality, _carried(provenance, kind, include_prompt))


def _carried(provenance: Provenance, kind: str, include_prompt: bool) -> dict[str, Any]:
    """Return what goes into a file of this kind besides pixels, as arguments of `encode_pixels`."""
    written = provenance if include_prompt else provenance.without_texts()
    record, creator = written.to_json(), _creator(written)
    if len(record) > containers.MAX_RECORD:
        raise OutputError(
            f"the record has {len(record):,} characters, more than {containers.MAX_RECORD:,}; the mask in it is too "
            "detailed: simplify it, or leave the metadata out"
        )
    source_type = _source_type(written, written.mask["area"] >= 1)
    if kind == "PNG":
        packet = containers.xmp_text(creator, source_type).decode()
        return {"texts": [("parameters", parameters_line(written)), *containers.record_parts(record)], "xmp": packet}
    if kind == "TIFF":
        return {"xmp": containers.xmp_text(creator, source_type, record)}
    comment = containers.user_comment(parameters_line(written))
    if kind == "JPEG":
        return {"exif": comment, "extra": containers.jpeg_segments(creator, source_type, record)}
    return {"exif": comment, "xmp": containers.xmp_text(creator, source_type, record)}


def _creator(provenance: Provenance) -> str:
    return plain_line(f"wordbrush {provenance.wordbrush}", 200)


def _source_type(provenance: Provenance, whole: bool) -> str | None:
    if whole:
        return _IPTC + "trainedAlgorithmicMedia"
    return _IPTC + "compositeWithTrainedAlgorithmicMedia" if provenance.mask["area"] > 0 else None


def save_image(
    image: Image.Image,
    path: str | Path,
    provenance: Provenance | None,
    *,
    force: bool = False,
    quality: int = 95,
    include_prompt: bool = True,
) -> None:
    """Write `encode_image` to `path` in one step; the ending of the name decides the format.

    Raises:
        OutputError: as `encode_image`; or the file exists (and not `force`) or cannot be written.
    """
    data = encode_image(image, Path(path).suffix, provenance, quality, include_prompt)
    write_atomic(path, data, force=force)


def file_bytes(source: str | Path | bytes) -> bytes:
    """Return the bytes of a file that may carry a record.

    Raises:
        ProvenanceError: no such file, or one of more bytes than `reading_limits` has.
    """
    limits = reading_limits()
    return bounded_read(source, limits.size, error=ProvenanceError, kind="picture", advice=limits.advice(1))


def read_provenance(source: str | Path | bytes, *, name: str | None = None) -> Provenance:
    """Return the record in a picture file, or in its bytes. No pixel is decoded.

    Args:
        source: the file, or its bytes.
        name: what messages call it; by default its path.

    Raises:
        ProvenanceError: no such file, not a picture format that can carry a record, no record in it, or a broken one.
    """
    name = name or ("these bytes" if isinstance(source, bytes) else str(source))
    with _seekable(source) as file:
        try:
            record = containers.find_record(file)
            if record is not None:
                return Provenance.from_json(record)
        except ProvenanceError as error:
            raise ProvenanceError(f"{name}: {error}") from error
    raise ProvenanceError(f"{name}: there is no wordbrush record in it; metadata may have been stripped on the way")


def _seekable(source: str | Path | bytes) -> AbstractContextManager[BinaryIO]:
    """Open a file to be read in places; what has no size, such as a pipe, is read to the limit first."""
    limits = reading_limits()
    try:
        sized = not isinstance(source, bytes) and Path(source).is_file() and Path(source).stat().st_size > 0
    except (OSError, ValueError):  # of which the reading tells
        sized = False
    if isinstance(source, bytes) or not sized:
        return BytesIO(file_bytes(source))
    return bounded_open(source, limits.size, error=ProvenanceError, kind="picture", advice=limits.advice(1))


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    versions = []
    for name in _PACKAGES:
        try:
            versions.append((name, version(name)))
        except PackageNotFoundError:
            if name == "wordbrush":
                versions.append((name, "unknown"))
    return tuple(versions)


def package_versions(further: str = "") -> dict[str, str]:
    """Return the installed versions of the packages that decide the result; `wordbrush` is always among them.

    Args:
        further: the package of the backend, where the networks are handed to one.
    """
    return {**dict(_versions()), **({further: version(further)} if further else {})}
