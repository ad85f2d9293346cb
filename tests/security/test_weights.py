"""Weights that must not be opened, and headers that must not be believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import tiny
from wordbrush.errors import ModelError, UnsafeWeightsError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.models.checkpoint.weights import MAX_HEADER_BYTES, read_header


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with quiet():
        return tiny.write_folder(tmp_path_factory.mktemp("safe") / "m")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


def payload(canary: Path, kind: str) -> bytes:
    """A file with the payload: a plain pickle, or what torch.save writes (a zip, or its older form)."""
    if kind.startswith("pickle"):
        return pickle.dumps({"weight": Payload(canary)}, protocol=int(kind[-1]))
    buffer = io.BytesIO()
    torch.save({"weight": Payload(canary)}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


KINDS = ("pickle2", "pickle4", "pickle5", "zip", "legacy")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def test_the_payload_works(canary: Path) -> None:
    """Or the tests below would prove nothing."""
    pickle.loads(payload(canary, "pickle4"))  # noqa: S301 - our own harmless payload
    assert canary.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.pth", "m.bin", "m.pkl", "m.npz", "M.CKPT", "m.safetensors", "m"])
def test_single_file_pickle_is_refused_unopened(tmp_path: Path, canary: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(payload(canary, kind))
    with pytest.raises(UnsafeWeightsError, match=name):
        load_model(tmp_path / name)
    assert not canary.exists()


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("kind", KINDS)
def test_folder_with_a_pickled_component_is_refused_unopened(
    folder: Path, tmp_path: Path, canary: Path, component: str, kind: str
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    stem = "pytorch_model" if component == "text_encoder" else "diffusion_pytorch_model"
    for path in (tmp_path / "m" / component).glob("*.safetensors"):
        path.unlink()
    (tmp_path / "m" / component / f"{stem}.bin").write_bytes(payload(canary, kind))
    with pytest.raises(UnsafeWeightsError, match=rf"{component}/{stem}\.bin"):
        load_model(tmp_path / "m")
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_folder_with_a_renamed_pickle_is_refused_unopened(
    folder: Path, tmp_path: Path, canary: Path, kind: str
) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(payload(canary, kind))
    with pytest.raises(UnsafeWeightsError, match="whatever its name says"):
        load_model(tmp_path / "m")
    assert not canary.exists()


def test_a_pickle_beside_the_weights_is_left_alone(folder: Path, tmp_path: Path, canary: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "unet" / "diffusion_pytorch_model.bin").write_bytes(payload(canary, "zip"))
    assert load_model(tmp_path / "m").identity.name == "m"
    assert not canary.exists()


def test_shards_cannot_lead_out_of_the_folder(folder: Path, tmp_path: Path, canary: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    unet = tmp_path / "m" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    for name in ("../../evil.safetensors", "evil.bin", "/etc/passwd"):
        table = {"metadata": {}, "weight_map": {"conv_in.weight": name}}
        (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(table))
        (tmp_path / "evil.safetensors").write_bytes(payload(canary, "zip"))
        (unet / "evil.bin").write_bytes(payload(canary, "zip"))
        with pytest.raises(ModelError, match="not a safetensors file beside it"):
            load_model(tmp_path / "m")
    assert not canary.exists()


def test_remote_code_named_in_a_configuration_is_not_run(folder: Path, tmp_path: Path, canary: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    code = f"import os\nos.system(\"touch '{canary}'\")\nclass Model: pass\n"
    for component in ("unet", "text_encoder", "tokenizer"):
        (tmp_path / "m" / component / "evil.py").write_text(code)
        name = "tokenizer_config.json" if component == "tokenizer" else "config.json"
        path = tmp_path / "m" / component / name
        maps = {"AutoModel": "evil.Model", "AutoConfig": "evil.Model", "AutoTokenizer": ["evil.Model", None]}
        path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": maps}))
    load_model(tmp_path / "m")
    assert not canary.exists()


def written(path: Path, table: dict[str, Any] | bytes, data: bytes = b"\0" * 16) -> Path:
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(begin: int = 0, end: int = 16, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BAD_HEADERS: dict[str, tuple[Any, str]] = {
    "overlap": ({"a": entry(0, 16), "b": entry(8, 16, (2,))}, "'a' and 'b' overlap"),
    "same range": ({"a": entry(), "b": entry()}, "overlap"),
    "out of range": ({"a": entry(0, 32, (8,))}, "'a' ends at byte 32 of 16"),
    "wrong size": ({"a": entry(0, 16, (5,))}, "'a'.*do not hold"),
    "backwards": ({"a": entry(16, 0)}, "'a'"),
    "negative": ({"a": entry(-16, 0)}, "not whole numbers"),
    "huge": ({"a": entry(0, 1 << 70, (1 << 68,))}, "not whole numbers"),
    "fractions": ({"a": {**entry(), "shape": [4.0]}}, "not whole numbers"),
    "truth value": ({"a": {**entry(), "shape": [True, 4]}}, "not whole numbers"),
    "unknown dtype": ({"a": entry(dtype="F128")}, "'a' has the unknown dtype 'F128'"),
    "dtype a list": ({"a": {**entry(), "dtype": ["F32"]}}, "unknown dtype"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [4]}}, "'a' is not described"),
    "not a table": ({"a": 3}, "'a' is not described"),
    "metadata": ({"__metadata__": {"x": 1}, "a": entry()}, "__metadata__"),
    "not JSON": (b"{nonsense}", "not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', "not valid JSON"),
    "deep": (b'{"a":' * 50_000, "not valid JSON"),
    "key twice": (b'{"a": 1, "a": 2}', "'a' twice"),
    "key twice inside": (b'{"a": {"dtype": "F32", "dtype": "F16"}}', "'dtype' twice"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_malformed_header_is_refused_naming_file_and_tensor(tmp_path: Path, case: str) -> None:
    table, message = BAD_HEADERS[case]
    with pytest.raises(ModelError, match=message) as caught:
        read_header(written(tmp_path / "bad.safetensors", table))
    assert "bad.safetensors" in str(caught.value)


def test_sound_headers_are_read(tmp_path: Path) -> None:
    table = {"__metadata__": {"k": "v"}, "b": entry(8, 16, (2,)), "a": entry(0, 8, (2,)), "e": entry(8, 8, (0, 3))}
    header = read_header(written(tmp_path / "good.safetensors", table))
    assert header.metadata == {"k": "v"}
    assert header.tensors["b"].shape == (2,)
    # A header whose length reads as a pickle's first bytes (0x80 0x02) is none.
    padded = json.dumps({"a": entry()}).encode().ljust(0x0280)
    assert list(read_header(written(tmp_path / "padded.safetensors", padded)).tensors) == ["a"]


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    table = {f"t{i}": entry(0, 0, (0,)) for i in range(200_000)}
    with pytest.raises(ModelError, match="200000 tensors"):
        read_header(written(tmp_path / "many.safetensors", table))


def test_too_long_a_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
    with pytest.raises(ModelError, match="accepted"):
        read_header(path)


@pytest.mark.parametrize("length", [0, 1, 8, 9, 200])
def test_cut_files_are_refused(folder: Path, tmp_path: Path, length: int) -> None:
    whole = (folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for data in (whole[:length], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"cut\.safetensors"):
            read_header(path)


def test_archives_of_other_kinds_are_not_weights(tmp_path: Path) -> None:
    path = tmp_path / "archive.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(UnsafeWeightsError, match="zip"):
        read_header(path)
    path.write_bytes(b"GIF89a" * 10)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_header(path)


@pytest.mark.parametrize(
    ("file", "value"), [("unet/diffusion_pytorch_model", torch.nan), ("text_encoder/model", torch.inf)]
)
def test_weights_that_are_not_finite_are_named(folder: Path, tmp_path: Path, file: str, value: float) -> None:
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / f"{file}.safetensors"
    state = load_file(path)
    name = next(key for key in state if key.endswith("to_q.weight") or "q_proj.weight" in key)
    state[name].view(-1)[5] = value
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"{file.split('/')[0]}.*{name.removeprefix('text_model.')}.*NaN"):
        load_model(tmp_path / "m")


def test_digest_does_not_depend_on_order_and_notices_a_changed_file(folder: Path, tmp_path: Path) -> None:
    from wordbrush.models.checkpoint.digests import digest_files

    files = {name: folder / name / "diffusion_pytorch_model.safetensors" for name in ("unet", "vae")}
    assert digest_files(files) == digest_files(dict(reversed(files.items())))
    shutil.copytree(folder, tmp_path / "m")
    before = load_model(tmp_path / "m").identity.sha256
    assert before == load_model(folder).identity.sha256
    path = tmp_path / "m" / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["decoder.conv_in.bias"][0] += 1
    save_file(state, path, metadata={"format": "pt"})
    assert load_model(tmp_path / "m").identity.sha256 != before
