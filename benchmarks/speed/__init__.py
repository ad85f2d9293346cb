"""How fast wordbrush is, against the editing pipelines of diffusers on the very same networks, in one process.

Seconds are noisy and say more of the machine than of the code. So the sides of a comparison take turns (A B B A), what
is reported are medians of the ratios of a round with their spread, and beside them stand counts that carry no noise at
all: network evaluations (one row of one call each), passes through the autoencoder, and operations, all counted on the
shared modules themselves, whoever calls them.
"""
