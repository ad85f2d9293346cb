"""Hub ids: the cache first, the network only where it is allowed, and no more files than are needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, Hub, serve
from wordbrush.errors import ModelError, SettingsError, UnsafeWeightsError
from wordbrush.models import load_model

REPOSITORY = "someone/tiny-diffusion"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the tiny checkpoint and, as real repositories have, much that is not needed."""
    folder = tmp_path / "repository"
    shutil.copytree(checkpoints / "sd1", folder)
    for name in (
        "README.md",
        "v1-5-pruned.ckpt",
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/run.py",
        "safety_checker/model.safetensors",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not to be fetched")
    with serve(REPOSITORY, folder) as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def put_in_cache(source: Path, cache: Path, revision: str = "main") -> Path:
    """Lay a checkpoint into the cache as the hub client would."""
    repository = cache / f"models--{REPOSITORY.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(COMMIT)
    return Path(shutil.copytree(source, repository / "snapshots" / COMMIT))


@pytest.mark.usefixtures("closed_network")
@pytest.mark.parametrize("revision", [None, "main", COMMIT])
@pytest.mark.parametrize("local_files_only", [False, True])
def test_cached_repository_needs_no_network(
    checkpoints: Path, cache: Path, revision: str | None, local_files_only: bool
) -> None:
    put_in_cache(checkpoints / "sd1", cache)
    identity = load_model(REPOSITORY, revision=revision, local_files_only=local_files_only).identity
    assert (identity.name, identity.source, identity.revision) == (REPOSITORY, REPOSITORY, COMMIT)
    assert identity.sha256 == load_model(checkpoints / "sd1").identity.sha256


@pytest.mark.usefixtures("closed_network")
def test_offline_and_not_cached_fails_at_once(checkpoints: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = time.monotonic()
    with pytest.raises(ModelError, match=rf"{REPOSITORY} at revision main is not in the local hub cache"):
        load_model(REPOSITORY, local_files_only=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        load_model(REPOSITORY)
    put_in_cache(checkpoints / "sd1", cache)
    with pytest.raises(ModelError, match="revision v2"):
        load_model(REPOSITORY, revision="v2")
    assert time.monotonic() - begin < 2


def test_offline_error_is_quick_in_a_fresh_process(tmp_path: Path) -> None:
    """No network library is even asked: sockets are closed, and torch is not needed to say no."""
    code = (
        "import socket, sys\n"
        "class Refusing(socket.socket):\n"
        "    def __init__(self, *a, **k): raise SystemExit('socket')\n"
        "socket.socket = Refusing\n"
        "from wordbrush.errors import ModelError\n"
        "from wordbrush.models import load_model\n"
        "try: load_model('someone/missing')\n"
        "except ModelError: sys.exit(7 if 'torch' not in sys.modules else 8)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
    assert done.returncode == 7
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("closed_network")
def test_cached_in_part_and_offline_names_the_missing_file(checkpoints: Path, cache: Path) -> None:
    folder = put_in_cache(checkpoints / "sd1", cache)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"only in part .*vae/diffusion_pytorch_model\.safetensors"):
        load_model(REPOSITORY, local_files_only=True)


def test_only_what_is_needed_is_fetched_and_once(
    hub: Hub, checkpoints: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    identity = load_model(REPOSITORY).identity
    assert identity.revision == COMMIT
    assert identity.sha256 == load_model(checkpoints / "sd1").identity.sha256
    own = {path.relative_to(checkpoints / "sd1").as_posix() for path in (checkpoints / "sd1").rglob("*.*")}
    assert sorted(hub.fetched) == sorted(own)
    assert all(name.endswith((".safetensors", ".json", ".txt")) for name in hub.fetched)
    asked = hub.requests
    assert load_model(REPOSITORY).identity == identity
    assert load_model(REPOSITORY, revision=COMMIT).identity == identity
    assert hub.requests == asked
    assert capfd.readouterr() == ("", "")


def test_repository_of_pickles_is_refused_before_anything_is_fetched(hub: Hub) -> None:
    (hub.folder / "text_encoder" / "model.safetensors").rename(hub.folder / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(UnsafeWeightsError, match=r"text_encoder/pytorch_model\.bin"):
        load_model(REPOSITORY)
    assert hub.fetched == []


def test_repository_of_another_kind_is_refused_when_its_index_is_read(hub: Hub) -> None:
    path = hub.folder / "model_index.json"
    second = {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **second}))
    with pytest.raises(ModelError, match="XL"):
        load_model(REPOSITORY)
    assert hub.fetched == ["model_index.json"]


def test_unknown_revision_and_unknown_repository(hub: Hub) -> None:
    with pytest.raises(ModelError, match="no revision 'v9'"):
        load_model(REPOSITORY, revision="v9")
    with pytest.raises(ModelError, match="no repository 'someone/else'"):
        load_model("someone/else")
    assert hub.fetched == []


def test_a_cache_in_part_is_completed(hub: Hub, cache: Path) -> None:
    load_model(REPOSITORY)
    hub.fetched.clear()
    (snapshot,) = (cache / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots").iterdir()
    path = snapshot / "vae" / "diffusion_pytorch_model.safetensors"
    path.resolve().unlink()
    path.unlink()
    load_model(REPOSITORY)
    assert hub.fetched == ["vae/diffusion_pytorch_model.safetensors"]


def test_no_network_at_all_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(ModelError, match="could not be fetched"):
        load_model(REPOSITORY)
    assert time.monotonic() - begin < 5


@pytest.mark.usefixtures("closed_network")
@pytest.mark.parametrize(
    "source",
    ["nowhere", "./nowhere", "no/such/folder", "missing.safetensors", "../a/b", "https://huggingface.co/a/b", ""],
)
def test_what_is_neither_path_nor_hub_id(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if source == "":
        (tmp_path / "loose.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load_model(source)


def test_revision_is_for_hub_ids(checkpoints: Path) -> None:
    with pytest.raises(SettingsError, match="revision 'main'"):
        load_model(checkpoints / "sd1", revision="main")
