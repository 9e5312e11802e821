"""One Pandera contract per table: the single source of its schema, units, owner and privacy."""
