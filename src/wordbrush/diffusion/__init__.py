"""Diffusion: schedules, denoisers, solvers, the contrast; tensors in, tensors out."""
