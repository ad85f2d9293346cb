from __future__ import annotations

import pytest

from wordbrush.errors import InputError
from wordbrush.texts import check_text, text_notes

ELSEWHERE = [
    ("a (striped zebra:1.25) in mud", "(striped zebra:1.25)"),
    ("(blue eyes:0.7), portrait", "(blue eyes:0.7)"),
    ("(1girl:1.2)", "(1girl:1.2)"),
    ("a (cat: 1.1) sits", "(cat: 1.1)"),
    ("a (big (red) car:1.3)", "car:1.3)"),
    ("a (room4:1.3), (red (car)):1.1", "(room4:1.3)"),
    ("((best quality)), a fox", "((best quality))"),
    ("(((masterpiece))) of a fox", "masterpiece"),
    ("a fox on [snow]", "[snow]"),
    ("a [fox:wolf:0.35] on snow", "[fox:wolf:0.35]"),
    ("a [red|blue] car", "[red|blue]"),
    ("a {red|green|blue} ball", "{red|green|blue}"),
    ("a {{{fluffy}}} cat", "{fluffy}"),
    ("a fox BREAK snow, night", "BREAK"),
    ("snow,\nBREAK\na fox", "BREAK"),
    ("a lion AND a tiger", "AND"),
    ("a fox, <lora:ink-wash_v2:1>", "<lora:ink-wash_v2:1>"),
    ("<LORA:a:0.5:0.2> a fox", "<LORA:a:0.5:0.2>"),
    ("<lyco:style:1.0> a fox", "<lyco:style:1.0>"),
    ("a fox <hypernet:anime:0.6>", "<hypernet:anime:0.6>"),
    ("embedding:EasyNegative, a fox", "embedding:EasyNegative"),
    ("a very fluffy++ fox", "fluffy++"),
    ("a fluffy--, grey fox", "fluffy--"),
    ("a (grey fox)1.4 on snow", "(grey fox)1.4"),
    ("a (grey fox)+ on snow", "(grey fox)+"),
    ("a __colour__ fox", "__colour__"),
    ("a __animals/wild*__ at night", "__animals/wild*__"),
    ("a fox on snow --ar 3:2", "--ar 3:2"),
    ("a fox on snow --v 6.1 --stylize 250", "--stylize 250"),
    ("a fox on snow —ar 16:9", "—ar 16:9"),
    ("a fox::2 snow::1", "fox::2"),
    ("/imagine prompt: a fox", "/imagine"),
    (r"a fox \(animal\)", "\\\\("),
    ('("a fox", "a wolf").blend(1, 0.5)', ".blend("),
]

ORDINARY = [
    "a dog (brown)", "a dog (brown, with a white spot) on grass", "a photo in 16:9", "16:9 photo", "a photo (16:9)",
    "a frame (4:3) on a wall", "a clock (at 10:30)", "a clock showing 10:30:15", "a verse (John 3:16)",
    "portrait: an old man, smiling", "a menu: soup, bread, wine", "a dog - brown and white - on grass",
    "a dog -- brown and white -- on grass", "a dog — brown — on grass", "a well-known black-and-white dog",
    "a brand new sandcastle and a grandstand", "SAND AND SEA, a poster", "a poster that says ROCK AND ROLL",
    'a sign that reads "BREAK"', "a sign saying BREAK on a door", "COFFEE BREAK, a neon sign", "a LAND ROVER in SAND",
    "AN OLD DOG AND A CAT", "a cat & a dog + a bird", "a C++ book", "Notepad for 2+2", "A+ school report",
    "5 > 3 and 2 < 4", "I <3 NY, a T-shirt", "a happy :) face", "a sad :(( face", "a face :-((", "so what?!",
    "f/1.8, 35mm lens", "a lens (f/1.8)", "version 2 (beta)", "a plan (version: 2)", "snake_case on a screen",
    "the quoted [sic] word", "a text with a footnote [1]", "and so on [...]", "a man's best friend, the dog's tail",
    "“a zebra” on grass", "¿un perro?", "一只斑马在草地上", "草の上のシマウマ",
    "зебра на траве", "zèbre; herbe", "🦓",
    "C:\\pictures\\dog", "a dog/cat hybrid", "a ratio of 1:1.5", "5'10\" tall", "no. 5", "and", "break", "#1 dog!",
    "https://example.org/a:80", "e.g. a dog (or cat): running", "a street at 50.0 km/h", "Ben & Jerry's", "7", "é",
    "a break and a lunch", "Q: what? A: a dog", "100% cotton", "a zebra 🦓 on grass", "a*b", "*dog*",
    "a team of 3-4 dogs", "2 dogs (1 black)", "dogs (2)", "an XS--XL shirt",
]  # fmt: skip


@pytest.mark.parametrize(("text", "piece"), ELSEWHERE)
def test_syntax_of_other_programs_is_told_once_and_quoted(text: str, piece: str) -> None:
    (note,) = text_notes({"query": text})
    assert note.startswith("query: ")
    assert piece in note
    assert "other programs" in note


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_sentences_raise_no_note(text: str) -> None:
    assert text_notes({"query": text, "reference": text, "negative": text}) == ()


def test_what_there_is_instead_is_named() -> None:
    assert "--lora" in text_notes({"query": "a fox <lora:ink:0.5>"})[0]
    assert "--lora" not in text_notes({"query": "a (fox:1.2)"})[0]
    assert "--embedding" in text_notes({"negative": "embedding:bad-hands-5"})[0]


@pytest.mark.parametrize("text", [",,,,", " , ", "...", "!?", "---", "()", "*", "_", "\t\n.", "，。", "$"])
def test_a_text_without_a_word_is_told(text: str) -> None:
    (note,) = text_notes({"reference": text})
    assert note.startswith("reference: there is no word in ")


def test_an_empty_query_is_told_and_other_empty_texts_are_usual() -> None:
    assert text_notes({"query": "", "reference": "", "negative": " "}) == (
        "query: the text is empty, so nothing says what the picture should show",
    )
    assert len(text_notes({"query": " \t\u3000"})) == 1


def test_a_note_stays_short() -> None:
    many = " ".join(f"(word{letter * 30}:1.3)" for letter in "abcdefgh")
    (note,) = text_notes({"query": many})
    assert "and 4 more" in note
    assert len(note) < 300


def test_a_long_text_of_brackets_is_read_at_once() -> None:
    for piece in ("(", "((", "[", "{", "__a", "(a:", "<lora:", "a::", "--", '"', "\\("):
        assert isinstance(text_notes({"query": piece * (20_000 // len(piece))}), tuple)


@pytest.mark.parametrize("text", ["a \udcff", "\ud83e", "x\udfffy"])
def test_halves_of_characters_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="the negative is not Unicode text at character") as raised:
        check_text(text, "negative")
    assert str(raised.value).isascii()


@pytest.mark.parametrize("text", [None, 5, b"a zebra", ["a zebra"], 1.5])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="the query is not text but"):
        check_text(text, "query")
