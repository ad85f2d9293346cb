"""Measurements: ratios inside one run, never seconds across machines."""
