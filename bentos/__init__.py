"""The BentoML services, their schemas and the online feature snapshot."""
