"""What assets touch: settings, the lake, sources, the model registry."""

from resources.telemetry import switch_off

switch_off()
