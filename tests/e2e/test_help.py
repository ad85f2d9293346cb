from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.main import get_command

from tests.support.command import Command
from wordbrush.cli.app import COMMANDS as COMMAND_TABLE
from wordbrush.cli.app import app
from wordbrush.notation import switches
from wordbrush.settings import Settings

REPOSITORY = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "scipy",
    "huggingface_hub",
    "peft",
    "safetensors",
    "matplotlib",
    "torchmetrics",
    "gradio",
    "fastapi",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
COMMANDS = (
    ["edit"],
    ["mask"],
    ["demo"],
    ["models"],
    ["models", "list"],
    ["models", "show"],
    ["models", "fetch"],
    ["eval"],
    ["eval", "truth"],
    ["eval", "bounds"],
    ["eval", "imagenet"],
    ["eval", "coco"],
    ["eval", "prompts"],
    ["eval", "pie"],
    ["inspect"],
    ["replay"],
    ["doctor"],
    ["ui"],
)


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from wordbrush.cli import main;"
        "codes = [main(['--help']), main(['--version']), main(['edit', '--help']), main(['edit', '--maps', '0'])];"
        f"print(codes, sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 2] []"


def test_help_is_quick() -> None:
    """Best of five under half a second of processor time: the machine may be busy, the code may not be slow."""
    seconds = []
    for _ in range(5):
        begin = os.times()
        subprocess.run([sys.executable, "-m", "wordbrush", "--help"], capture_output=True, check=True)
        end = os.times()
        seconds.append(end.children_user - begin.children_user + end.children_system - begin.children_system)
        if seconds[-1] < 0.5:
            return
    pytest.fail(f"`wordbrush --help` took at best {min(seconds):.2f} s")


@pytest.mark.parametrize("words", COMMAND_TABLE)
def test_every_command_takes_what_the_table_says(words: str) -> None:
    """The table names functions by words, which no type checker reads."""
    kind, work = COMMAND_TABLE[words]
    module, _, name = work.partition(":")
    function = getattr(import_module(f"wordbrush.cli.{module}"), name)
    (hint,) = [hint for parameter, hint in get_type_hints(function).items() if parameter != "return"]
    assert hint is kind
    assert kind.__doc__


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(wordbrush: Command, words: list[str]) -> None:
    done = wordbrush(*words, "--help")
    assert done.code == 0
    assert done.err == ""
    assert "Usage: wordbrush " + " ".join(words) in done.text


def test_no_words_show_the_help(wordbrush: Command) -> None:
    done = wordbrush()
    assert done.code == 0
    assert "Usage: wordbrush" in done.text


def test_every_switch_is_a_flag_with_its_help_and_default(wordbrush: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = " ".join(wordbrush("edit", "--help").text.split())
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        assert re.search(rf"{flag}[ ,]", text), flag
        help_text = field.metadata["help"]
        assert help_text[1:] in text, flag
        if field.default is not None and not isinstance(field.default, bool):
            assert f"default {switches()[field.name].shown_default})" in text, flag


def test_the_documents_list_the_switches_as_they_are() -> None:
    from docs import make_pictures

    assert make_pictures.flag_table() in (REPOSITORY / "docs" / "cli.md").read_text("utf-8")


ONE_COMMAND = {
    "cli/edit.py": "edit", "cli/mask.py": "mask", "cli/demo.py": "demo", "cli/replay.py": "replay", "cli/ui.py": "ui",
    "cli/evaluate.py": "eval truth", "cli/evaluate_bounds.py": "eval bounds", "record/replay.py": "replay",
}  # fmt: skip
"""Modules whose messages one command prints."""

OTHER_PROGRAMS = {"evaluation/networks/convert.py", "evaluation/plots.py", "pages/page.py", "pages/svg.py"}
"""A program with flags of its own; pages, whose style sheets have names like flags."""


def flags_of_commands() -> dict[str, set[str]]:
    """Return the flags of each command."""
    top = get_command(app)
    found = {}
    for words in COMMAND_TABLE:
        command: Any = top
        for word in words.split():
            command = command.commands[word]
        found[words] = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    return found


def flags_in_messages(path: Path) -> set[str]:
    """Return what looks like a flag in the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
    flag = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])")
    return {word for text in texts if text not in docs for word in flag.findall(text)}


def test_every_flag_that_a_message_names_exists_where_it_is_read() -> None:
    flags, source = flags_of_commands(), REPOSITORY / "src" / "wordbrush"
    every = set.union(*flags.values(), {"--help", "--version"})
    seen = 0
    for path in source.rglob("*.py"):
        name = path.relative_to(source).as_posix()
        named = flags_in_messages(path)
        seen += len(named)
        if name not in OTHER_PROGRAMS:
            assert named <= (flags[ONE_COMMAND[name]] if name in ONE_COMMAND else every), name
    assert seen > 50


def test_no_color_is_honoured() -> None:
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": ""}
    done = subprocess.run(
        [sys.executable, "-m", "wordbrush", "--help"], capture_output=True, env=environment, check=True
    )
    assert b"\x1b[3" not in done.stdout
