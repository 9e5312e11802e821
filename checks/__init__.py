"""What must be true: contracts, gates, drift and freshness, as pure functions."""
