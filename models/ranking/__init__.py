"""The offer ranker: candidates, baselines, training examples, models and their tuning."""
