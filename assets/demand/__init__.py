"""Demand: the panel of drinks, its model, its forecasts and the report on them."""
