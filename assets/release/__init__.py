"""Releases in the graph: what enters the ledger, the jobs that move it, reviews, retraining."""
