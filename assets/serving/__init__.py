"""What the service runs on: the packaged model, the online snapshot, and the batch of offers."""
