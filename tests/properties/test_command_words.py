"""The command of an edit, read back by the real command line, is that edit, and no word of it could be left out."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import hypothesis
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from wordbrush.cli.app import app
from wordbrush.cli.commands.edit import EditCommand
from wordbrush.notation import edit_command, shell, switches
from wordbrush.settings import MAX_SEED, PRESETS, Settings

COMMAND = typer.main.get_command(app)
HINTS = get_type_hints(Settings)
FIELDS = {item.name: item for item in dataclasses.fields(Settings)}
NAMES = st.sampled_from(sorted(FIELDS))
AWKWARD = ["", "-", "--", "-o", "--to", "--seed=1", "-1", "it's", '"', "a\nb", "\\", "$HOME", "!!", "Ünïcödé 馬"]
TEXTS = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)
FILES = st.one_of(st.none(), TEXTS)
OUTPUTS = TEXTS.map(lambda text: text.replace("/", "") + "o.png")


def values_of(name: str, rule: str) -> st.SearchStrategy[Any]:
    """Return values that the switch can take."""
    hint, (low, high) = HINTS[name], FIELDS[name].metadata["range"]
    kinds = get_args(hint) or (hint,)
    if get_origin(hint) is Literal:
        return st.sampled_from(kinds)
    if bool in kinds:
        return st.booleans()
    if name == "threshold":
        low, high = {"otsu": (-1e300, 1e300), "ratio": (0.0, 1e300)}.get(rule, (0.0, 1.0))
    whole = st.integers(round(low), round(high)) if float not in kinds else st.just(round(low))
    numbers = whole if float not in kinds else st.one_of(st.floats(low, high), whole)
    return st.one_of(st.none(), numbers) if type(None) in kinds else numbers


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    """Draw a preset with some switches set otherwise; few and many, and the preset's own threshold or none."""
    values = dataclasses.asdict(Settings.from_preset(draw(st.sampled_from(sorted(PRESETS)))))
    names = draw(st.sets(NAMES, max_size=len(FIELDS)))
    if "rule" in names:
        values["rule"] = draw(values_of("rule", ""))
    names |= {"threshold"} if values["rule"] in {"otsu", "ratio"} else set()
    for name in sorted(names - {"rule"}):
        values[name] = draw(values_of(name, values["rule"]))
    if values["solver"] != "ddim":
        values["fixed_point"] = 0
    return Settings(**values)


def read(words: list[str]) -> EditCommand:
    """Parse the words as the command line does, up to where the work would begin."""
    calls: list[EditCommand] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wordbrush.cli.edit.edit", calls.append)
        COMMAND.main(words[1:], prog_name="wordbrush", standalone_mode=False)
    (called,) = calls
    return called


@pytest.fixture(autouse=True, scope="module")
def _empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No output exists: the command line would refuse to overwrite it."""
    with contextlib.chdir(tmp_path_factory.mktemp("empty")):
        yield


@hypothesis.settings(max_examples=200)
@given(
    settings=all_settings(),
    preset=st.sampled_from(sorted(PRESETS)),
    texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS.filter(bool)),
    files=st.tuples(FILES, FILES, FILES),
    loading=st.tuples(FILES, FILES, FILES),
    seed=st.one_of(st.just(0), st.integers(0, MAX_SEED)),
    picture=TEXTS,
    output=OUTPUTS,
)
def test_the_command_reads_back_as_the_edit(
    settings: Settings,
    preset: str,
    texts: tuple[str, str, str, str],
    files: tuple[str | None, str | None, str | None],
    loading: tuple[str | None, str | None, str | None],
    seed: int,
    picture: str,
    output: str,
) -> None:
    query, reference, negative, model = texts
    words = edit_command(
        picture=picture, query=query, reference=reference, negative=negative, seed=seed, preset=preset,
        settings=settings, model=model, output=output, mask=files[0], include=files[1], exclude=files[2],
        revision=loading[0], device=loading[1], dtype=loading[2],
    )  # fmt: skip
    called = read(words)
    assert called.settings == settings
    # Equal is not enough for a record: True is 1 and 3 is 3.0, but JSON writes them in two ways.
    assert repr(called.settings) == repr(settings)
    assert (called.picture, called.to, called.reference, called.negative) == (picture, [query], reference, negative)
    assert (called.seeds, called.preset, called.model.name, called.output) == ((seed,), preset, model, output)
    assert (called.model.revision, called.model.device, called.model.dtype) == loading
    assert (called.mask, called.include, called.exclude) == files


@hypothesis.settings(max_examples=200)
@given(settings=all_settings(), preset=st.sampled_from(sorted(PRESETS)))
def test_no_switch_could_be_left_out(settings: Settings, preset: str) -> None:
    """Every switch the command has is needed: without it, the settings are others, or none."""
    words = edit_command(picture="in.png", query="a", settings=settings, preset=preset, output="out.png")
    switches = read(words).switches
    for left_out in switches:
        rest = {name: value for name, value in switches.items() if name != left_out}
        try:
            assert Settings.from_preset(preset, **rest) != settings
        except ValueError:  # a SettingsError: no settings at all
            continue


@given(settings=all_settings())
def test_every_value_of_a_switch_is_read_as_it_is_written(settings: Settings) -> None:
    for name, switch in switches().items():
        value = getattr(settings, name)
        assert repr(switch.read(switch.shown(value))) == repr(value)


@given(words=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_shell_line_is_one_line(words: list[str]) -> None:
    line = shell(words)
    assert len(line.splitlines()) <= 1
    if not any(c in word for word in words for c in map(chr, (*range(32), *range(127, 160), 0x2028, 0x2029))):
        assert shlex.split(line) == words


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to read the line")
def test_bash_reads_the_line_back() -> None:
    words = ["it's", "a\nb'c\\d", "\x1b[31m7", "\t", "", "\u2028x", "\x85", "馬\r\n\\n", "$HOME `id` !!", "'\n'"]
    line = shell(words)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_the_folder_is_still_empty() -> None:
    assert list(Path.cwd().iterdir()) == []
