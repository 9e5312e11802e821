"""Watching what the graph makes; so far: rows by week."""
