"""Labels: what happened in the week after an as-of, and when that could be relied on."""
