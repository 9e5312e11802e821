"""Gates: what a model must prove before it is registered, as pure functions over its evidence."""
