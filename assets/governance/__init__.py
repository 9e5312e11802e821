"""Lineage made usable: code versions, the plan of what is stale, maintenance of the lake."""
