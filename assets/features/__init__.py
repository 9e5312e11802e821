"""Feature sets by as-of week: each week sees only the weeks before it."""
