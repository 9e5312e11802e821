"""Watching the signal path; so far: freshness by event time."""
