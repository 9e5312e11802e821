"""Lift: what an action adds beyond what would have been sold anyway."""
