"""What every test runs under."""

from __future__ import annotations

import torch
from hypothesis import settings

# The same examples on every machine and every run, and no deadline on a busy core.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("default")

torch.set_num_threads(min(2, torch.get_num_threads()))
