"""`wordbrush doctor`: is this machine ready, and with what.

Checks import what they look at themselves: a library that cannot be imported is a finding, not the end of the report.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from wordbrush.cli.commands.doctor import DoctorCommand
from wordbrush.cli.terminal import one_line, print_json, print_text
from wordbrush.errors import WordbrushError

__all__ = ["check_versions", "doctor", "examine"]

OK, WARN, FAIL = "ok", "warning", "FAILED"
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow", "scipy", "accelerate", "peft")


def doctor(command: DoctorCommand) -> None:
    """Run every check and print the findings.

    Raises:
        Exit: a check failed; with code 4 where it is the model, else 1.
    """
    checks = examine()
    failed = [check for check in checks if check["status"] == FAIL]
    if command.json:
        print_json({"schema": 1, "command": "doctor", "healthy": not failed, "checks": checks})
    else:
        for check in checks:
            print_text(f"{check['status']:<8} {check['name']:<12} {one_line(check['detail'])}")
    if failed:
        raise typer.Exit(4 if failed[0]["name"] == "pocket" else 1)


def examine() -> list[dict[str, str]]:
    """Run every check; each returns its name, `ok`, `warning` or `FAILED`, and what was found."""
    checks: dict[str, Callable[[], tuple[str, str]]] = {
        "python": _python,
        "packages": _packages,
        "versions": _versions,
        "devices": _devices,
        "threads": _threads,
        "memory": _memory,
        "cache": _cache,
        "families": _families,
        "pocket": _pocket,
    }
    report = []
    for name, check in checks.items():
        try:
            status, detail = check()
        except (WordbrushError, ImportError, OSError, RuntimeError) as error:
            status, detail = FAIL, f"{type(error).__name__}: {error}"
        report.append({"name": name, "status": status, "detail": detail})
    return report


def _python() -> tuple[str, str]:
    return OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"


def _packages() -> tuple[str, str]:
    return OK, ", ".join(f"{name} {_version(name) or 'not installed'}" for name in ("wordbrush", *PACKAGES))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> tuple[str, str]:
    problems = check_versions(importlib.metadata.requires("wordbrush") or ())
    if problems:
        return FAIL, "; ".join(problems)
    pins = _repository_pins()
    drift = [f"{name} {_version(name)} (pinned {pin})" for name, pin in pins.items() if _drifted(name, pin)]
    if drift:
        return WARN, "differs from constraints.txt: " + ", ".join(drift)
    return OK, "every requirement is met" + (", as pinned in constraints.txt" if pins else "")


def check_versions(requirements: list[str] | tuple[str, ...]) -> list[str]:
    """Return one line for each requirement that is missing or of a version out of bounds; extras are not looked at."""
    from packaging.requirements import Requirement

    problems = []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        installed = _version(requirement.name)
        if installed is None:
            problems.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(installed, prereleases=True):
            problems.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    return problems


def _repository_pins() -> dict[str, str]:
    """Return the versions pinned in constraints.txt where the package runs from its repository, else nothing."""
    path = Path(__file__).resolve().parents[3] / "constraints.txt"
    if not path.is_file():
        return {}
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)$", path.read_text("utf-8"), flags=re.MULTILINE))


def _drifted(name: str, pin: str) -> bool:
    installed = _version(name)
    return installed is not None and installed.partition("+")[0] != pin


def _devices() -> tuple[str, str]:
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        devices += [f"cuda:{i} {card.name} ({card.total_memory / 2**30:.0f} GiB)" for i, card in enumerate(cards)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return OK, ", ".join(devices)


def _threads() -> tuple[str, str]:
    import torch

    return OK, f"torch uses {torch.get_num_threads()} of {os.cpu_count()} processors"


def _memory() -> tuple[str, str]:
    import psutil

    memory = psutil.virtual_memory()
    free = memory.available / 2**30
    return (OK if free >= 1.5 else WARN), f"{free:.1f} GiB free of {memory.total / 2**30:.1f} GiB"


def _cache() -> tuple[str, str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    return OK, f"{folder} ({'exists' if folder.is_dir() else 'not made yet'}); weights fetched from the hub live there"


def _families() -> tuple[str, str]:
    """Tell the families of models that can be used: that the libraries here have the classes that each names."""
    from wordbrush.models.registry import broken, families

    problems = list(broken())
    specs = [(family.name, part, spec) for family in families() for part, spec in family.parts.items() if spec.classes]
    libraries = {spec.library for _, _, spec in specs}
    here = {library: set(dir(importlib.import_module(library))) for library in libraries}  # takes a second each
    for name, part, spec in specs:
        if not here[spec.library] & set(spec.classes):
            problems.append(f"{name}: {spec.library} here has no {spec.classes[0]} ({part})")
    if problems:
        return WARN, "; ".join(problems)
    return OK, f"{', '.join(family.name for family in families())}: every class they name is here"


def _pocket() -> tuple[str, str]:
    import torch

    from wordbrush.models import load_model

    model = load_model("pocket")
    prompt = model.text.encode(["a horse on grass"], clip_skip=0)[0]
    side = model.resolution // model.codec.factor
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((1, model.codec.channels, side, side), generator=generator).to(model.device)
    with torch.inference_mode():
        prediction: Any = model.denoiser(noise, model.schedule.level(0.5), prompt.conditioning)
    if not bool(torch.isfinite(prediction.eps).all()):
        return FAIL, "one evaluation gave values that are not finite"
    return OK, f"loads and evaluates; weights sha256 {model.identity.sha256[:16]}…"
