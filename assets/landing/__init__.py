"""Landing and raw: weekly drops as files, and what of them is let into the lake."""
