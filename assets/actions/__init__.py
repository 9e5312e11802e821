"""Actions: the plan of the coming week."""
