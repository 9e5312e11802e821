"""A market with known effects, to prove that they are recovered and to size tests of scale."""
