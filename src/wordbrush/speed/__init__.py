"""Wrappers around answering an ask that make it cheaper; the algorithm knows of none."""
