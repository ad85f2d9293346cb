"""wordbrush: edit the part of a picture that words change, and only that part.

```python
import wordbrush as wb

editor = wb.Editor.from_pretrained("pocket")
result = editor.edit("horse.png", query="a zebra on grass", reference="a horse on grass")
result.save("zebra.png")
```

Public names are imported when they are first used, so that `import wordbrush` stays quick and without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wordbrush.batch.one import EditItem
    from wordbrush.batch.run import Batch, batch
    from wordbrush.batch.runner import BatchSummary
    from wordbrush.editor import Editor
    from wordbrush.engine.events import Event
    from wordbrush.errors import (
        Cancelled,
        InputError,
        MaskError,
        ModelError,
        NumericsError,
        OutputError,
        PictureError,
        ProvenanceError,
        ResourceError,
        SettingsError,
        UnsafeWeightsError,
        WordbrushError,
    )
    from wordbrush.evaluation.batch_report import BatchReport, batch_report
    from wordbrush.picture.picture import Picture
    from wordbrush.record.provenance import Provenance, read_provenance
    from wordbrush.region.mask import Mask
    from wordbrush.region.threshold import Contrast
    from wordbrush.request import EditRequest
    from wordbrush.result import EditResult
    from wordbrush.session import Session
    from wordbrush.settings import PRESETS, Settings

__version__ = "0.1.0"

_HOMES = {
    "batch.one": ("EditItem",),
    "batch.run": ("Batch",),
    "batch.runner": ("BatchSummary",),
    "region.threshold": ("Contrast",),
    "editor": ("Editor",),
    "errors": (
        "Cancelled",
        "InputError",
        "MaskError",
        "ModelError",
        "NumericsError",
        "OutputError",
        "PictureError",
        "ProvenanceError",
        "ResourceError",
        "SettingsError",
        "UnsafeWeightsError",
        "WordbrushError",
    ),
    "engine.events": ("Event",),
    "evaluation.batch_report": ("BatchReport", "batch_report"),
    "region.mask": ("Mask",),
    "picture.picture": ("Picture",),
    "record.provenance": ("Provenance", "read_provenance"),
    "request": ("EditRequest",),
    "result": ("EditResult",),
    "session": ("Session",),
    "settings": ("PRESETS", "Settings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Batch",
    "BatchReport",
    "BatchSummary",
    "Cancelled",
    "Contrast",
    "EditItem",
    "EditRequest",
    "EditResult",
    "Editor",
    "Event",
    "InputError",
    "Mask",
    "MaskError",
    "ModelError",
    "NumericsError",
    "OutputError",
    "Picture",
    "PictureError",
    "Provenance",
    "ProvenanceError",
    "ResourceError",
    "Session",
    "Settings",
    "SettingsError",
    "UnsafeWeightsError",
    "WordbrushError",
    "__version__",
    "batch",
    "batch_report",
    "read_provenance",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if name == "batch":  # a package that can be called
        return import_module("wordbrush.batch")
    if home is None:
        raise AttributeError(f"module 'wordbrush' has no attribute {name!r}")
    return getattr(import_module(f"wordbrush.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
