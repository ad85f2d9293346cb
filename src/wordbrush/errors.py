"""The one exception tree.

Every message says what was wrong, where, and what to do about it; `exit_code` is what the command line returns.

```
WordbrushError
├── SettingsError       2    a switch is out of range or contradicts another
├── InputError          3    what the user gave cannot be used
│   ├── PictureError         a picture cannot be read
│   ├── MaskError            a mask cannot be read or does not fit
│   └── ProvenanceError      a file carries no usable record, or its inputs are not the recorded ones
├── OutputError         3    a file cannot be written, or exists already
├── ModelError          4    a checkpoint is missing, unreadable or of an unknown kind
│   ├── UnsafeWeightsError   weights are stored as a pickle
│   └── NumericsError        the network gave a value that is not finite
├── ResourceError       5    out of memory after every fallback
└── Cancelled         130    the caller asked to stop
```
"""

__all__ = [
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
]


class WordbrushError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: int = 1


class SettingsError(WordbrushError, ValueError):
    """A switch is out of range or contradicts another."""

    exit_code = 2


class InputError(WordbrushError, ValueError):
    """What the user gave cannot be used."""

    exit_code = 3


class PictureError(InputError):
    """A picture cannot be read, or is refused before it is decoded."""


class MaskError(InputError):
    """A mask cannot be read, or its size does not fit."""


class ProvenanceError(InputError):
    """A file carries no usable record, or the recorded inputs are not those at hand."""


class OutputError(WordbrushError, OSError):
    """A file cannot be written, or it exists and overwriting was not asked for."""

    exit_code = 3


class ModelError(WordbrushError):
    """A checkpoint is missing, unreadable or of an unknown kind."""

    exit_code = 4


class UnsafeWeightsError(ModelError):
    """Weights are stored as a pickle, which can run code when opened; only safetensors are read."""


class NumericsError(ModelError):
    """A network gave a value that is not finite; the message names the stage and the step."""


class ResourceError(WordbrushError, MemoryError):
    """Memory ran out after every fallback was tried."""

    exit_code = 5


class Cancelled(WordbrushError):  # noqa: N818 - a decision of the caller, not a fault
    """Raised by an event callback to stop between two steps; the session stays usable."""

    exit_code = 130
