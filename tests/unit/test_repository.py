"""The repository's own promises: versions pinned, documents that hold together, the wheel's content."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from wordbrush.models.checkpoint.sources import BUILT_IN

ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in entries), "only name==version, no addresses"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in entries)}


def test_every_dependency_is_pinned_the_indirect_ones_too() -> None:
    """Walk what is installed from the runtime requirements and the extras on: each has its line."""
    table = project()["project"]
    extras = table["optional-dependencies"]
    named = [text for extra in ("batch", "lora", "eval", "web", "mcp", "dev") for text in extras[extra]]
    todo = [Requirement(text) for text in [*table["dependencies"], *named]]
    seen: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        if name.startswith(("nvidia-", "cuda-", "triton")):  # come with one build of torch only, which pins them itself
            continue
        assert name in pins(), f"{name} is missing in constraints.txt"
        todo += [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    assert pins()["torch"] == "2.13.0"


def test_pins_meet_the_bounds_users_get() -> None:
    table = project()["project"]
    extras = table["optional-dependencies"]
    named = [text for extra in ("batch", "lora", "openvino", "eval", "web", "mcp") for text in extras[extra]]
    for text in [*table["dependencies"], *named]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), text


def test_documents_link_to_what_exists() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_real_commands_and_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    text = "".join(page.read_text("utf-8") for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"))
    assert set(re.findall(r"^make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets
    wanted = "demo ui test test-fast browser lint types bench pocket pictures clean help"
    assert set(wanted.split()) <= targets


def test_the_citation_names_the_paper_and_us() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["authors"] == [{"name": "The wordbrush authors"}]
    assert citation["version"] == project()["project"]["version"]
    paper = citation["references"][0]
    assert [a["family-names"] for a in paper["authors"]] == ["Couairon", "Verbeek", "Schwenk", "Cord"]
    assert paper["year"] == 2023
    assert "2210.11427" in paper["identifiers"][0]["value"]


def test_the_shipped_models_leave_the_wheel_below_120_mb() -> None:
    files = [file for folder in BUILT_IN.values() for file in folder.rglob("*") if file.is_file()]
    assert {"pocket", "pocket_flow"} <= {file.parent.parent.name for file in files}
    assert sum(file.stat().st_size for file in files) < 110e6  # the code and the samples are 2 MB


def test_the_samples_travel_in_the_wheel() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"examples": "wordbrush/examples"}
    assert (ROOT / "examples" / "examples.json").is_file()
