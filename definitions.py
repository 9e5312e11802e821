"""The code location: assembles the Dagster definitions, and nothing else."""

from assets.build import build_defs

defs = build_defs()
