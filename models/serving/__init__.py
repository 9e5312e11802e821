"""Pure parts of serving: how a week's candidates are laid out, found and ordered."""
