"""What exists: thin Dagster shells, in the order the data flows."""
