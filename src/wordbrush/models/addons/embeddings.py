"""Learnt embeddings (textual inversion): words of a user's own, each of one or several vectors, taught to a CLIP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.errors import ModelError
from wordbrush.models.addons.kinds import TEXT_WIDTHS, kind_of_file
from wordbrush.models.addons.tensors import AddOnFile
from wordbrush.models.checkpoint.digests import file_digest
from wordbrush.models.checkpoint.parts import translated
from wordbrush.models.checkpoint.quiet import losses, quiet
from wordbrush.models.family import Family, Parts
from wordbrush.models.model import EmbeddingIdentity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EmbeddingSource", "apply_embeddings", "learnt_words", "present_embeddings", "unused_embeddings"]

EmbeddingSource = str | Path | tuple[str | Path, str]
"""A safetensors file, or (file, word): the word that stands for it in texts, if not the one of the file."""

_A1111 = "emb_params"
_NAMELESS = frozenset({_A1111, "string_to_param.*", "string_to_param", "clip_l", "text_encoders_0", "*"})
"""Names of tensors that are no words: the file's name is the word then."""

_OF_XL = ("clip_g", "text_encoders_1")
_LONGEST = 100


@dataclass(frozen=True)
class _Embedding:
    """A file that fits, and its word."""

    file: AddOnFile
    token: str
    vectors: Tensor


def apply_embeddings(
    parts: Parts, family: Family, embeddings: Sequence[EmbeddingSource]
) -> tuple[tuple[EmbeddingIdentity, ...], tuple[str, ...]]:
    """Teach a model's tokenizer and text encoder the words of embeddings.

    CLIP's tokenizer reads small letters only, so a word is found in texts however it is written.

    Args:
        parts: loaded parts; tokenizer and text encoder are changed in place.
        family: whose parts they are.
        embeddings: in the order they are to be recorded.

    Returns:
        Who they are, in the same order, and what a user should know about how they were applied.

    Raises:
        UnsafeWeightsError: a file is a pickle.
        ModelError: a file is missing, damaged, no embedding or made for another model; its word is one that the model
            has already; or the family takes none.
    """
    if not embeddings:
        return (), ()
    if family.embeddings is None:
        raise ModelError(f"{family.card.title} take no embeddings here: leave them out")
    tokenizer, encoder = (parts[name] for name in family.embeddings)
    notes: list[str] = []
    read: list[_Embedding] = []
    identities: list[EmbeddingIdentity] = []
    for given in embeddings:
        source, word = given if isinstance(given, tuple) else (given, None)
        path = Path(source).expanduser()
        one = _read(path, word, tokenizer, encoder, notes)
        _check_among(one, read)
        read.append(one)
        identities.append(EmbeddingIdentity(str(source), file_digest(path), one.token))
    for one in read:
        notes += [f"{one.file.where}: {line}" for line in losses(_teach(one, tokenizer, encoder))]
    return tuple(identities), tuple(dict.fromkeys(notes))


def _read(path: Path, word: str | None, tokenizer: Any, encoder: Any, notes: list[str]) -> _Embedding:
    file = AddOnFile.open(path, "embedding")
    name = _tensor(file)
    if others := [other for other in file.header.tensors if other != name]:
        notes.append(f"{file.where}: besides its vectors it holds {len(others)} more, left out (first: {others[0]})")
    vectors, dtype = _vectors(file, name, encoder, int(tokenizer.model_max_length)), encoder.dtype
    if not bool(vectors.to(dtype).isfinite().all()):
        raise ModelError(f"{file.where}: tensor {name!r} leaves the range of {str(dtype).removeprefix('torch.')}")
    token = word or (path.stem if name in _NAMELESS else name)
    _check_word(file, token, tokenizer)
    for later in (f"{token.lower()}_{index}" for index in range(1, vectors.shape[0])):
        if later in tokenizer.get_vocab():
            raise ModelError(f"{file.where}: its further vectors would be called {later!r}, which is taken")
    return _Embedding(file, token, vectors)


def _tensor(file: AddOnFile) -> str:
    """Return the name of the tensor with the vectors."""
    names = list(file.header.tensors)
    if found := next((name for name in names if name.startswith(_OF_XL)), None):
        raise ModelError(f"{file.where} was made for Stable Diffusion XL ({found!r} is for its second text encoder)")
    kind = kind_of_file(file.header)
    if not kind.startswith("a learnt embedding"):
        raise ModelError(f"{file.where} is {kind or 'something else'}, and no learnt embedding")
    if _A1111 in names:
        return _A1111
    if len(names) > 1:
        raise ModelError(f"{file.where} holds {len(names)} tensors ({names[0]!r}, {names[1]!r}, ...): one is read")
    return names[0]


def _vectors(file: AddOnFile, name: str, encoder: Any, limit: int) -> Tensor:
    """Return the vectors (vector, width), float32."""
    value = file.get(name)
    rows = value.reshape(-1, value.shape[-1])
    width = int(encoder.get_input_embeddings().weight.shape[1])
    if rows.shape[1] != width:
        made = f": it was made for {TEXT_WIDTHS[rows.shape[1]]}" if rows.shape[1] in TEXT_WIDTHS else ""
        sizes = f"its vectors are {rows.shape[1]} wide, and {width} in it"
        raise ModelError(f"{file.where} does not fit this model: {sizes}{made}")
    if not 1 <= rows.shape[0] <= limit - 2:
        raise ModelError(f"{file.where} has {rows.shape[0]} vectors, and a text takes 1 to {limit - 2}")
    return rows


def _check_word(file: AddOnFile, token: str, tokenizer: Any) -> None:
    """Refuse a word that cannot be one, or that the tokenizer has already."""
    advice = f"name it otherwise, as in {file.path.name}:my-word"
    if not token.isprintable() or token != token.strip() or not 1 <= len(token) <= _LONGEST:
        raise ModelError(f"{file.where}: its word {token[:_LONGEST]!r} cannot be written in a text: {advice}")
    vocabulary = tokenizer.get_vocab()
    if any(known in vocabulary for known in (token, token.lower(), f"{token.lower()}</w>")):
        raise ModelError(f"{file.where}: the model has the word {token!r} already: {advice}")


def _check_among(one: _Embedding, others: Iterable[_Embedding]) -> None:
    """Refuse a word that is another's, or that is part of another's where it is to be spelt out."""
    for other in others:
        short, long = sorted((one, other), key=lambda embedding: len(embedding.token))
        within = short.token.lower() in long.token.lower() and short.vectors.shape[0] > 1
        if within or one.token.lower() == other.token.lower():
            names = f"{short.token!r} of {short.file.path.name} and {long.token!r} of {long.file.path.name}"
            raise ModelError(f"embeddings: the words {names} cannot be told apart: name one as in FILE:my-word")


def _teach(one: _Embedding, tokenizer: Any, encoder: Any) -> list[str]:
    """Let diffusers add a word, check that it is read as all of its vectors, and return what the libraries said."""
    from diffusers.loaders import TextualInversionLoaderMixin

    class Loader(TextualInversionLoaderMixin):  # type: ignore[misc]
        """The part of a pipeline that this needs."""

        hf_device_map = None
        components: dict[str, Any] = {}  # noqa: RUF012 - read only

    token = one.token.lower()
    with quiet() as heard, translated(f"{one.file.where} cannot be loaded"):
        loader = Loader()
        loader.load_textual_inversion(
            {token: one.vectors.to(encoder.dtype)}, token=token, tokenizer=tokenizer, text_encoder=encoder
        )
        encoder.eval().requires_grad_(False)
        found = tokenizer.tokenize(loader.maybe_convert_prompt(token, tokenizer))
    if len(found) != one.vectors.shape[0]:
        raise ModelError(f"{one.file.where}: the tokenizer does not take the word {one.token!r}: name it otherwise")
    return heard


def learnt_words(tokenizer: Any) -> set[str]:
    """Return the words of learnt embeddings that a tokenizer was taught, all pieces of those with several vectors."""
    return set(tokenizer.get_added_vocab()) - set(tokenizer.all_special_tokens)


def present_embeddings(parts: Parts, family: Family) -> tuple[EmbeddingIdentity, ...]:
    """Return the words that a pipeline was taught already; their files are not known, so they have no digest."""
    if family.embeddings is None:
        return ()
    added = sorted(learnt_words(parts[family.embeddings[0]]))
    later = {f"{token}_{index}" for token in added for index in range(1, len(added))}
    return tuple(EmbeddingIdentity(f"token {token}", "", token) for token in added if token not in later)


def unused_embeddings(embeddings: Iterable[EmbeddingIdentity], texts: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each embedding that was given as a file and that no text has the word of."""
    lowered = [text.lower() for text in texts]
    return tuple(
        f"no text has the word {one.token!r} of the embedding {Path(one.source).name}: it changes nothing"
        for one in embeddings
        if one.sha256 and not any(one.token.lower() in text for text in lowered)
    )
