"""Demand: what drives units of a product in a store and week, and what they will be."""
