"""What every test runs under, and what the quality tests measured, printed at the end of the test report."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

MEASURED = "measured"

# The same examples on every machine and every run, and no deadline on a busy core.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("default")

torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Take a line for the end of the report. It travels with the test's own report, whichever process ran the test."""
    return lambda line: record_property(MEASURED, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [value for report in reports for name, value in report.user_properties if name == MEASURED]
    if lines:
        terminalreporter.section("measured on held-out scenes")
        for line in lines:
            terminalreporter.write_line(str(line))
