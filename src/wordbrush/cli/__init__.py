"""The command line: `wordbrush edit`, `mask`, `batch`, `demo`, `models`, `eval`, `inspect`, `replay`, `ui`, `doctor`.

Standard output carries data only, standard error speaks to people. Exit codes: 0 done, 1 a fault of this program,
2 usage, 3 bad input or output, 4 model, 5 out of memory, 6 some items of a run failed, 130 interrupted. An error is one
line, never a traceback, unless `WORDBRUSH_DEBUG=1` is set. What becomes of streams that are closed, full or of another
encoding is in `streams`.

What is imported when: help, usage errors and the checks of flags need `app`, `command`, `commands` and what these
import, and nothing of it is heavy (`make lint` checks that). The other modules do the work; each imports torch,
diffusers or gradio at its top like any module, and is itself imported by `command` when its command runs. So no import
stands inside a function here, but in `doctor`, where a library that cannot be imported is a finding.

How the process of a command starts and ends quickly is in `startup`, which `run` alone turns on: `main` may be called
inside a process of another kind.

Elsewhere a module of this package is imported inside a function in `web.server` alone, as Gradio reads its environment
when it is imported. Libraries are imported inside functions where a caller can do without them: torch and scipy where
`inspect` passes by, diffusers, transformers, accelerate and huggingface_hub until a model is loaded, and those of an
extra, which may be absent.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from typer import Abort, TyperException

from wordbrush.cli import startup
from wordbrush.cli.app import app
from wordbrush.cli.streams import ReaderGoneError, delivered, give_up, standard_streams
from wordbrush.cli.terminal import one_line, shown
from wordbrush.errors import Cancelled, WordbrushError

__all__ = ["main", "run"]


def run() -> None:
    """Be the program `wordbrush`: run the command of this process and leave it with the exit code."""
    startup.begin()
    startup.end_with(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; None takes them from the command line.

    Returns:
        The exit code.
    """
    if not sys.warnoptions and os.environ.get("WORDBRUSH_DEBUG") != "1":
        warnings.simplefilter("ignore")  # what libraries tell their developers
    with standard_streams():
        try:
            code = _run(list(sys.argv[1:] if argv is None else argv) or ["--help"])
        except KeyboardInterrupt:
            code = 130
        if code == 130:
            print("wordbrush: stopped", file=sys.stderr)
        return _after_flush(code)


def _run(words: list[str]) -> int:
    """Run one command and return its exit code. Every failure is printed here but Ctrl-C (130), which `main` prints."""
    try:
        code = app(words, prog_name="wordbrush", standalone_mode=False)
    except (Abort, Cancelled):
        return 130
    except TyperException as error:
        return _fail(error, error.exit_code, error.format_message().rstrip(".") + _hint(error))
    except (ReaderGoneError, SystemExit):  # typer leaves the program where help meets a broken pipe
        give_up(sys.stdout)
        return ReaderGoneError.exit_code
    except WordbrushError as error:
        return _fail(error, error.exit_code, str(error))
    except MemoryError as error:
        advice = "; a smaller --resolution needs less" if words[0] in ("edit", "mask") else ""
        return _fail(error, 5, f"out of memory{advice}")
    except OSError as error:
        return _fail(error, 3, str(error))
    except Exception as error:
        # Not one of ours: name it, and say how to see where it came from.
        return _fail(error, 1, f"unexpected {type(error).__name__}: {error} (WORDBRUSH_DEBUG=1 shows where)")
    return code if isinstance(code, int) else 0


def _after_flush(code: int) -> int:
    """Return the exit code of a command, once all it printed was taken by standard output, or was not."""
    lost = delivered()
    if lost is None or code != 0:
        return code
    return lost.exit_code if isinstance(lost, ReaderGoneError) else _fail(lost, lost.exit_code, str(lost))


def _fail(error: BaseException, code: int, message: str) -> int:
    if os.environ.get("WORDBRUSH_DEBUG") == "1":
        for line in "".join(traceback.format_exception(error)).splitlines():
            print(shown(line), file=sys.stderr)
    print(f"wordbrush: {one_line(message)}", file=sys.stderr)
    return code


def _hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context is not None else ""
