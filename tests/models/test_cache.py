"""Caches that `models fetch` did not fill, and names that are nowhere: what is there is said, and used if it can be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.hub import COMMIT, serve
from wordbrush.errors import ModelError
from wordbrush.models import load_model
from wordbrush.models.checkpoint.sources import fetch_vocabulary
from wordbrush.models.families.stable_diffusion_file import _cached_tokenizer

REPOSITORY = "someone/baked"
ONE, TWO = "ab12" * 10, "cd34" * 10


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, seen from an empty folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cache" / "models--someone--baked"


def bake(source: Path, cache: Path, commit: str) -> Path:
    """Lay a checkpoint into the cache by its commit, as images of containers do: no branch names it."""
    return Path(shutil.copytree(source, cache / "snapshots" / commit))


def name_branch(cache: Path, text: str, branch: str = "main") -> None:
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / branch).write_text(text)


def offline(revision: str | None = None) -> str:
    """Return what is said of the repository without a network."""
    with pytest.raises(ModelError) as caught:
        load_model(REPOSITORY, revision=revision, local_files_only=True)
    return str(caught.value)


@pytest.mark.usefixtures("closed_network")
@pytest.mark.parametrize("local_files_only", [False, True])
def test_the_only_revision_is_used_and_named(checkpoints: Path, cache: Path, local_files_only: bool) -> None:
    bake(checkpoints / "sd2", cache, ONE)
    name_branch(cache, TWO, "fp16")
    model = load_model(REPOSITORY, local_files_only=local_files_only)
    assert model.identity.revision == ONE
    assert model.notes == (
        "someone/baked: the cache names no revision main; the one that it holds is used, ab12ab12ab12",
    )
    assert load_model(REPOSITORY, revision=ONE).notes == ()


@pytest.mark.usefixtures("closed_network")
def test_several_revisions_are_listed_and_can_be_named_in_short(checkpoints: Path, cache: Path) -> None:
    for commit in (ONE, TWO):
        bake(checkpoints / "sd1", cache, commit)
    said = offline()
    assert "ab12ab12ab12, cd34cd34cd34: say --revision (revision=)" in said
    assert load_model(REPOSITORY, revision="cd34cd34cd34").identity.revision == TWO
    assert "ab12ab12ab12" in offline("ffff")
    assert "ab12ab12ab12" in offline("v2")


@pytest.mark.usefixtures("closed_network")
def test_a_branch_with_a_line_break_is_read(checkpoints: Path, cache: Path) -> None:
    for commit in (ONE, TWO):
        bake(checkpoints / "sd1", cache, commit)
    name_branch(cache, f"{TWO}\n")
    model = load_model(REPOSITORY)
    assert (model.identity.revision, model.notes) == (TWO, ())


@pytest.mark.usefixtures("closed_network")
def test_a_branch_to_what_is_not_there_is_not_replaced_silently(checkpoints: Path, cache: Path) -> None:
    bake(checkpoints / "sd1", cache, ONE)
    name_branch(cache, TWO)
    assert "revision ab12ab12ab12: say --revision" in offline()


@pytest.mark.usefixtures("closed_network")
def test_what_a_cache_holds_instead_is_said(cache: Path, tmp_path: Path) -> None:
    assert "nor is there a folder someone/baked here" in offline()
    (cache / "blobs").mkdir(parents=True)
    (cache / "blobs" / "0123.incomplete").write_bytes(b"half")
    assert "a download into the cache was broken off" in offline()
    snapshot = cache / "snapshots" / ONE
    snapshot.mkdir(parents=True)
    (snapshot / "vocab.json").write_text("{}")
    assert "the cache holds only vocab.json of it, and no model_index.json" in offline()
    (snapshot / "v1-5-pruned.safetensors").write_bytes(b"")
    assert f"give that file itself, {snapshot / 'v1-5-pruned.safetensors'}" in offline()
    (snapshot / "model_index.json").symlink_to(tmp_path / "gone")
    assert "model_index.json is a link to a file that is gone" in offline()


@pytest.mark.usefixtures("closed_network")
def test_a_link_to_nothing_in_a_revision_is_named(checkpoints: Path, cache: Path, tmp_path: Path) -> None:
    snapshot = bake(checkpoints / "sd1", cache, ONE)
    weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "gone")
    said = offline()
    assert "only in part" in said
    assert "unet/diffusion_pytorch_model.safetensors is a link to a file that is gone" in said


@pytest.mark.usefixtures("closed_network")
@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("models/dreamer", ("no folder or file 'models/dreamer' here", "there is dreamers", "nor is there a cached")),
        ("./models/dreamer", ("no folder or file", "there is dreamers")),
        ("models/dreamer/", ("no folder or file", "dreamers")),
        ("../elsewhere/x", ("there is no folder '../elsewhere' either",)),
        ("~/nowhere-at-all/x", ("no folder or file '~/nowhere-at-all/x' here",)),
        ("a/b/c", ("no folder 'a/b' either",)),
        ("models\\dreamers", ("written with /",)),
        ("models/dreamers.safetensors", ("no folder or file", "there is dreamers")),
        ("stabilityai/dreamer", ("nor is there a folder stabilityai/dreamer here", "wordbrush models fetch")),
        ("dreamers", ("no model 'dreamers'", "a hub id")),
    ],
)
def test_a_mistyped_path_is_not_taken_for_a_hub_id(source: str, parts: tuple[str, ...]) -> None:
    Path("models/dreamers").mkdir(parents=True)
    with pytest.raises(ModelError) as caught:
        load_model(source, local_files_only=True)
    for part in parts:
        assert part in str(caught.value)
    assert ("models fetch" in str(caught.value)) == source.startswith("stabilityai")


@pytest.mark.usefixtures("closed_network")
def test_a_cached_model_whose_owner_is_also_a_folder_here_is_found(checkpoints: Path, cache: Path) -> None:
    Path("someone").mkdir()
    bake(checkpoints / "sd1", cache, ONE)
    name_branch(cache, ONE)
    assert load_model(REPOSITORY).identity.revision == ONE


@pytest.mark.parametrize("inner", ["", "tokenizer/"])
def test_a_vocabulary_is_fetched_by_itself(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    """And a single file then finds it, if it is CLIP's."""
    folder = tmp_path / "repository"
    (folder / inner).mkdir(parents=True)
    table = {f"token{i}": i for i in range(49_406)} | {"<|startoftext|>": 49_406, "<|endoftext|>": 49_407}
    (folder / inner / "vocab.json").write_text(json.dumps(table))
    (folder / inner / "merges.txt").write_text("#version: 0.2\n")
    for name in ("pytorch_model.bin", "model.safetensors", "README.md", "other.json"):
        (folder / name).write_bytes(b"not to be fetched")
    assert _cached_tokenizer() is None
    with serve("openai/clip", folder) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        found = fetch_vocabulary("openai/clip", "main")
        assert sorted(hub.fetched) == [f"{inner}merges.txt", f"{inner}vocab.json"]
        (folder / inner / "merges.txt").unlink()
        with pytest.raises(ModelError, match=r"holds no vocab\.json with merges\.txt"):
            fetch_vocabulary("openai/clip", COMMIT)
        with pytest.raises(ModelError, match="no repository 'openai/other'"):
            fetch_vocabulary("openai/other", "main")
    cached = _cached_tokenizer()
    assert cached is not None
    assert cached.resolve() == found.resolve()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="network"):
        fetch_vocabulary("openai/clip", "main")


def test_a_damaged_vocabulary_in_the_cache_is_passed_over(cache: Path, tmp_path: Path) -> None:
    for index, content in enumerate((b"{", b"[]", b"\xff")):
        folder = cache / "snapshots" / f"{index}{index}"
        folder.mkdir(parents=True)
        (folder / "vocab.json").write_bytes(content)
        (folder / "merges.txt").write_text("")
    gone = cache / "snapshots" / "link"
    gone.mkdir()
    (gone / "vocab.json").symlink_to(tmp_path / "gone")
    assert _cached_tokenizer() is None
