"""Actions: which promotion to take where, under a budget and limits; and what must be tested."""
