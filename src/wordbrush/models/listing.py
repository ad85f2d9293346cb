"""Which models are on this machine, and what their folders say of them; nothing is downloaded, no weight is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from wordbrush.models.checkpoint.layout import INDEX
from wordbrush.models.checkpoint.sources import BUILT_IN

__all__ = ["at_hand", "card_text", "licence_field"]

MAX_CARD = 200_000
"""Characters of a model card that are read."""


def at_hand() -> list[dict[str, Any]]:
    """Return the models on this machine, as name, revision, bytes and where: the shipped ones, then the cache."""
    here = {name: folder for name, folder in BUILT_IN.items() if (folder / INDEX).is_file()}
    sizes = {name: sum(f.stat().st_size for f in folder.rglob("*.safetensors")) for name, folder in here.items()}
    shipped = [{"name": name, "revision": "", "bytes": size, "where": "shipped"} for name, size in sizes.items()]
    return [*shipped, *_cached()]


def _cached() -> list[dict[str, Any]]:
    """Return the models in diffusers layout that the Hugging Face cache holds, by name; reads only the folder."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError):
        return []
    entries = [
        {"name": repo.repo_id, "revision": version.commit_hash, "bytes": version.size_on_disk, "where": "cache"}
        for repo in cache.repos
        if repo.repo_type == "model"
        for version in repo.revisions
        if any(file.file_name == INDEX for file in version.files)
    ]
    return sorted(entries, key=lambda entry: (entry["name"], entry["revision"]))


def card_text(path: Path) -> str:
    """Return the model card, the README.md of a model's folder, or "" where there is none."""
    file = path / "README.md"
    if not file.is_file():
        return ""
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(MAX_CARD)


def licence_field(card: str) -> str:
    """Return what the front matter of a model card says of the licence, its name where it has one, or ""."""
    front = re.match(r"\s*---\s*\n(.*?)\n---", card, re.DOTALL)
    lines = front[1] if front else ""
    said = dict(re.findall(r"^(license|license_name):[ \t]*['\"]?([^'\"\n#]+)", lines, re.MULTILINE))
    return str(said.get("license_name") or said.get("license") or "").strip()
