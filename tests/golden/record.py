"""Record the golden cases: `python -m tests.golden.record [--only NAME ...] [--why TEXT]`.

A recording that changes needs a reason: `--why`, which is written with the names of the changed cases into
`recorded/CHANGES.md`. Without it nothing is written. What did not change keeps its files, to the byte.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence

from tests.golden.cases import CASES
from tests.golden.comparing import differences
from tests.golden.recording import RECORDED, Recording, record

CHANGES = RECORDED / "CHANGES.md"
HEAD = "# Recordings that were changed, and why\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Record; return 0, or 2 where nothing was written."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.record", description="Record the golden cases.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="case, or toy/half-* and such")
    parser.add_argument("--why", default="", metavar="TEXT", help="reason for recordings that change")
    asked = parser.parse_args(arguments)
    names = [name for name in CASES if not asked.only or any(fnmatch.fnmatch(name, only) for only in asked.only)]
    if not names:
        print(f"no case is named {' or '.join(asked.only)}", file=sys.stderr)
        return 2
    stale = [] if asked.only else sorted(_recorded() - CASES.keys())
    made = {name: record(CASES[name]) for name in names}
    fresh = [name for name in names if name not in _recorded()]
    changed = {name: lines for name in names if name not in fresh and (lines := _changes(name, made[name]))}
    for name, lines in changed.items():
        print(f"{name} changes:", *lines, sep="\n  ")
    if (changed or stale) and not asked.why:
        print(f"{len(changed)} recordings change, {len(stale)} go: say --why. Nothing was written.", file=sys.stderr)
        return 2
    for name in [*fresh, *changed]:
        made[name].save(name)
    for name in stale:
        for path in RECORDED.glob(f"{name}.*"):
            path.unlink()
    if changed or stale:
        _note(asked.why, [*changed, *(f"{name} (gone)" for name in stale)])
    print(f"{len(fresh)} new, {len(changed)} changed, {len(stale)} gone, {len(names)} cases")
    return 0


def _recorded() -> set[str]:
    return {path.relative_to(RECORDED).with_suffix("").as_posix() for path in RECORDED.glob("*/*.json")}


def _changes(name: str, made: Recording) -> list[str]:
    """Return how a case differs from its recording; new settings or another machine count, too."""
    try:
        recorded = Recording.load(name)
    except (OSError, ValueError) as error:
        return [f"cannot be read: {error}"]
    if made.text() == recorded.text():
        return []
    return differences(made, recorded) or ["recorded on another machine, or with settings that are new"]


def _note(why: str, names: Sequence[str]) -> None:
    before = CHANGES.read_text(encoding="utf-8") if CHANGES.exists() else HEAD
    CHANGES.write_text(f"{before}\n- {why}\n" + "".join(f"  - {name}\n" for name in names), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
