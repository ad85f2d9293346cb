"""What a checkpoint says of itself: what its network predicts, its noise schedule, its native size; and who wins.

The order: the switch, what comes with the file, the configuration given, the default. Where two of them differ, the
user is told both and which one was taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wordbrush.diffusion.denoiser import Parametrisation
from wordbrush.errors import ModelError
from wordbrush.models.header import Header

__all__ = [
    "ASKED",
    "Claim",
    "claims_of_file",
    "known_kind",
    "resolution_of",
    "scheduler_claims",
    "settled",
    "zero_snr_of",
]

Claim = tuple[str, str]
"""A parametrisation, and who says so."""

ASKED = "asked for"
"""Who says so where the user does."""

_NAMES: Mapping[str, Parametrisation] = {
    **dict.fromkeys(("epsilon", "eps", "noise"), "epsilon"),
    **dict.fromkeys(("v_prediction", "v", "v_pred", "vpred", "velocity"), "v_prediction"),
    **dict.fromkeys(("sample", "x0", "x_start", "x0_prediction"), "sample"),
}
_KINDS = ("prediction_type", "parameterization", "parametrization", "parametrisation")
_MARKERS = ("v_pred", "vpred")
_ZERO_SNR = ("ztsnr", "zero_terminal_snr", "rescale_betas_zero_snr")
_LARGEST_TEXT = 1 << 20


def known_kind(word: Any) -> Parametrisation | None:
    """Return the parametrisation that a word means, as programs spell it, or None for no known one."""
    return _NAMES.get(str(word).strip().strip("\"'").lower().replace("-", "_").replace(" ", "_"))


def claims_of_file(path: Path, header: Header) -> tuple[Claim, ...]:
    """Return what comes with a single file says of its parametrisation, the strongest first.

    Marker keys that trainers and merges add (`v_pred`), the header's metadata (of modelspec and of trainers), a `.yaml`
    of the original program beside the file, and zero terminal SNR, at which epsilon prediction is undefined.
    """
    found: list[Claim] = []
    last = {name.rsplit(".", 1)[-1]: name for name in header.tensors}
    found += [("v_prediction", f"the key {last[name]} in it") for name in _MARKERS if name in last]
    for key, value in header.metadata.items():
        if kind := _of_metadata(key, value):
            found.append((kind, f"its metadata ({key}: {value[:60]})"))
    found += _of_yaml(path)
    if source := zero_snr_of(header):
        found.append(("v_prediction", f"its zero terminal SNR ({source})"))
    return tuple(found)


def _of_metadata(key: str, value: str) -> Parametrisation | None:
    name, text = re.split(r"[./]", key.lower())[-1], value.strip().lower()
    if name in _KINDS:
        return known_kind(value)
    if name in (*_MARKERS, "ss_v_parameterization", "v_parameterization"):
        if text in {"true", "1", "yes"}:
            return "v_prediction"
        return "epsilon" if text in {"false", "0", "no"} else None
    if name in {"architecture", "ss_base_model_version"}:
        if re.search(r"v2.*(768-v|_v$|-v$)|v2-768|v1_v$", text):
            return "v_prediction"
        return "epsilon" if re.search(r"v2-512|v2_512", text) else None
    return None


def _of_yaml(path: Path) -> list[Claim]:
    for beside in (path.with_suffix(".yaml"), path.with_suffix(".yml")):
        try:
            if not beside.is_file() or beside.stat().st_size > _LARGEST_TEXT:
                continue
            text = beside.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        said = re.search(r"^[^#\n]*?\bparameteri[sz]ation[\"']?\s*:\s*([\"']?\w+)", text, re.MULTILINE)
        # The original program's default, where its configuration is silent, is epsilon.
        kind = known_kind(said[1]) if said else "epsilon" if "LatentDiffusion" in text else None
        if kind:
            return [(kind, beside.name)]
    return []


def zero_snr_of(header: Header) -> str:
    """Return what in a file says that its noise schedule ends at zero terminal SNR, or ""."""
    last = {name.rsplit(".", 1)[-1] for name in header.tensors}
    for name in _ZERO_SNR:
        if name in last:
            return f"the key {name}"
    for key, value in header.metadata.items():
        name = re.split(r"[./]", key.lower())[-1].removeprefix("ss_")
        if name in _ZERO_SNR and value.strip().lower() in {"true", "1", "yes"}:
            return f"{key} in its metadata"
    return ""


def resolution_of(header: Header) -> int | None:
    """Return the native side in pixels that a file's metadata tells, a multiple of 64, or None."""
    for key in ("modelspec.resolution", "ss_resolution"):
        sides = [int(side) for side in re.findall(r"\d{2,5}", header.metadata.get(key, ""))][:2]
        if sides and all(64 <= side <= 4096 for side in sides):
            return max(64, round(math.sqrt(sides[0] * sides[-1]) / 64) * 64)
    return None


def scheduler_claims(config: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Return what the configuration of a scheduler says of the parametrisation.

    Zero terminal SNR comes first: `prediction_type` is written with its default by programs that were never asked.

    Raises:
        ModelError: the prediction type is none that is known.
    """
    found: list[Claim] = []
    betas = config.get("trained_betas")
    if config.get("rescale_betas_zero_snr"):
        found.append(("v_prediction", "zero terminal SNR (rescale_betas_zero_snr of the scheduler)"))
    elif betas is not None and len(betas) and float(betas[-1]) >= 0.9999:
        found.append(("v_prediction", "zero terminal SNR (trained_betas of the scheduler)"))
    kind = config.get("prediction_type")
    if kind is not None:
        if known_kind(kind) is None:
            raise ModelError(f"prediction type {kind!r} is not supported: epsilon, v_prediction and sample are")
        found.append((str(known_kind(kind)), "prediction_type of the scheduler"))
    return tuple(found)


def settled(claims: Sequence[Claim]) -> tuple[str | None, tuple[str, ...]]:
    """Return the parametrisation that the first claim says, None without any, and a note on those that differ."""
    if not claims:
        return None, ()
    kind, source = claims[0]
    others = [f"{other_source} says {other}" for other, other_source in claims[1:] if other != kind]
    # One who may differ without a conflict: x0 prediction is as defined at zero terminal SNR as v prediction.
    if kind == "sample":
        others = [text for text in others if "zero terminal SNR" not in text]
    if not others:
        return kind, ()
    by = "as asked for" if source == ASKED else f"as {source} says"
    return kind, (f"the network is taken to predict {kind}, {by}; {' and '.join(others)}",)
