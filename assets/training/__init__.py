"""From candidates to a trained model: what is learned from, and what learns."""
