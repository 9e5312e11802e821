"""Evaluation reports and the gates that read them, and the registry behind the gates."""
