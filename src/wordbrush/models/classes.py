"""Class labels in place of texts, by number or by name, for models that know a list of classes and no language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import torch

from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.errors import InputError
from wordbrush.models.language import refuse_clip_skip
from wordbrush.models.model import Canvas, Prompt
from wordbrush.models.words import check_prompt

__all__ = ["CLASS", "ClassText"]

CLASS = "class_labels"
"""The name of the class numbers in a conditioning, (batch,)."""

_NEAR = 3
_FOLDS: tuple[Callable[[str], str], ...] = (str, str.casefold)


class ClassText:
    """Turns labels into class numbers. The empty text is the class that stands for none.

    Args:
        names: of the classes, by number; a class may have several, with commas between ("tench, Tinca tinca").
        classes: how many there are; the number after the last stands for none.
        device: where the numbers are kept.
    """

    def __init__(self, names: Mapping[int, str], classes: int, device: torch.device) -> None:
        self.names, self.classes, self.device = dict(names), classes, device
        self._tables = [(fold, self._table(parts, fold)) for fold in _FOLDS for parts in (_whole, _single)]

    def encode(self, texts: Sequence[str], *, clip_skip: int = 0, canvas: Canvas | None = None) -> list[Prompt]:
        """Look each label up; these models take no canvas.

        Raises:
            InputError: a label is no text, unknown, or the name of several classes; near ones are named.
            SettingsError: `clip_skip` is not 0.
        """
        refuse_clip_skip(clip_skip)
        numbers = [self.number_of(check_prompt(text)) for text in texts]
        rows = [Conditioning({CLASS: torch.tensor([number], device=self.device)}) for number in numbers]
        return [Prompt(text, row) for text, row in zip(texts, rows, strict=True)]

    def number_of(self, text: str) -> int:
        """Return the class of a label: its number, its whole name or one of its names, in that order.

        Raises:
            InputError: it is unknown, or the name of several classes.
        """
        label = text.strip()
        if not label:
            return self.classes
        if label.isdecimal():
            if int(label) < self.classes:
                return int(label)
            raise InputError(f"class {label} is outside 0 to {self.classes - 1}")
        for fold, table in self._tables:
            found = table.get(fold(label), [])
            if len(found) == 1:
                return found[0]
            if found:
                every = ", ".join(f"{number} ({self.names[number]})" for number in found)
                raise InputError(f"{label!r} is the name of several classes: give the number, one of {every}")
        near = self._near(label)
        hint = f"; near it are {', '.join(near)}" if near else ""
        named = "a class's name or its number" if self.names else "the number of a class, as it has no names for them,"
        raise InputError(
            f"{label!r} is none of the {self.classes} classes of this model, which knows no other texts: give {named} "
            f"from 0 to {self.classes - 1}{hint}"
        )

    def _table(self, parts: Callable[[str], list[str]], fold: Callable[[str], str]) -> Mapping[str, list[int]]:
        table: defaultdict[str, list[int]] = defaultdict(list)
        for number, name in sorted(self.names.items()):
            for part in parts(name):
                if number not in table[fold(part)]:
                    table[fold(part)].append(number)
        return dict(table)

    def _near(self, label: str) -> list[str]:
        """Return names of classes like a label: those that share a word with it, then those spelt like it."""
        words = set(label.casefold().split())
        names = [name for name in self.names.values() if words & set(name.casefold().replace(",", " ").split())]
        folded = {part.casefold(): name for name in self.names.values() for part in _single(name)}
        shared = get_close_matches(label, names, n=_NEAR, cutoff=0.0)
        spelt = [folded[match] for match in get_close_matches(label.casefold(), folded, n=_NEAR)]
        return list(dict.fromkeys([*shared, *spelt]))[:_NEAR]


def _whole(name: str) -> list[str]:
    return [name.strip()]


def _single(name: str) -> list[str]:
    return [part.strip() for part in name.split(",")]
