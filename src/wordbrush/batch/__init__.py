"""Batches: many items through one item function, on this machine or many, kept in a ledger so that nothing is lost."""
