"""Evaluation: the ground-truth benchmark, the paper's baselines and protocols, peers, metrics and reports."""
