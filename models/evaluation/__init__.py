"""Evaluation: metrics, intervals and the report that shows them."""
