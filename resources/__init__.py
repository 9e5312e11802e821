"""What assets touch: settings, the lake, sources, the model registry."""
