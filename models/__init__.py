"""Pure functions: frames in, frames out. No Dagster, no input or output, no globals."""
