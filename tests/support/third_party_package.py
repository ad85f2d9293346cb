"""Packages of others, as an installer leaves them: a module, and a dist-info folder that names its entry point."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HALVES", "install"]

HALVES = Path(__file__).parent / "third_party" / "wordbrush_halves.py"
"""A whole family in one file; it knows this package's public names and nothing of its tests."""


def install(site: Path, module: str, code: str, entry: str) -> Path:
    """Install a module with one entry point of the group `wordbrush.families` into a folder; returns the folder.

    Args:
        site: becomes a folder for the module search path.
        module: name of the module.
        code: its text.
        entry: the entry point, `name = module:OBJECT`.
    """
    about = site / f"{module}-1.0.dist-info"
    about.mkdir(parents=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[wordbrush.families]\n{entry}\n")
    return site
