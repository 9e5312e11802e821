"""Adapters: each lays one source's data down as weekly drops with the canonical columns."""
