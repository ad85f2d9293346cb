"""Doing a recorded edit again with the recorded model, and writing what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.cli.loading import ModelChoice, load_editor
from wordbrush.cli.outputs import check_free
from wordbrush.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wordbrush.cli.terminal import Terminal
    from wordbrush.record.replay import Recorded

__all__ = ["Replay"]


@dataclass(frozen=True)
class Replay:
    """A recorded edit, ready to be done again; everything but the model has been checked."""

    file: Path
    recorded: Recorded
    output: Path
    force: bool

    @classmethod
    def of(
        cls, file: Path, source: Path | None, masks: Mapping[str, Path | None], output: Path | None, *, force: bool
    ) -> Replay:
        """Read the record and find what it needs.

        Raises:
            ProvenanceError: no record, texts withheld, or an input or mask that is not the recorded one.
            OutputError: the output exists already.
        """
        from wordbrush.record.replay import Recorded

        target = output or file.with_name(f"{file.stem}-replay{file.suffix}")
        check_free([str(target)], force=force)
        return cls(file, Recorded.find(file, source, masks), target, force)

    def run(
        self,
        terminal: Terminal,
        model: str | None = None,
        loras: tuple[tuple[str, float], ...] = (),
        *,
        allow_download: bool,
        device: str | None,
    ) -> dict[str, Any]:
        """Edit again, write the file, and say how it compares.

        Raises:
            ModelError: the recorded model is not at hand.
        """
        from wordbrush.files import write_atomic
        from wordbrush.record.provenance import encode_image

        recorded, model_then = self.recorded, self.recorded.record.model
        editor = load_editor(self._choice(terminal, model, loras, allow_download, device), terminal)
        same_weights = editor.model.identity.sha256 == model_then["sha256"]
        if not same_weights:
            terminal.warn(f"the weights of {model_then['name']} are not those of the record; the picture will differ")
        session = editor.open(recorded.picture, resolution=recorded.settings.resolution)
        with terminal.stages() as callback:
            result = session.edit(**recorded.arguments(), callback=callback)
        data = encode_image(result.image, self.file.suffix, result.provenance)
        write_atomic(self.output, data, force=self.force)
        return {
            "schema": 1,
            "command": "replay",
            "file": str(self.file),
            "output": str(self.output),
            "same_weights": same_weights,
            **recorded.compared(data, result.provenance),
        }

    def _choice(
        self,
        terminal: Terminal,
        model: str | None,
        loras: tuple[tuple[str, float], ...],
        allow_download: bool,
        device: str | None,
    ) -> ModelChoice:
        recorded = self.recorded.record.model
        source = model or recorded["source"]
        if source is None:
            raise ModelError("the record does not say where its model came from; give it with --model")
        return ModelChoice(
            source,
            None if model else recorded["revision"] or None,
            allow_download,
            device or _present(recorded["device"], terminal),
            recorded["dtype"],
            loras or self.recorded.loras,
        )


def _present(device: str | None, terminal: Terminal) -> str | None:
    """Return the recorded device, or None (the best there is) where this machine has no such thing."""
    from wordbrush.models.model import resolve_device

    try:
        resolve_device(device)
    except SettingsError:
        terminal.warn(f"the record was made on {device}, which is not here; other hardware rounds otherwise")
        return None
    return device
