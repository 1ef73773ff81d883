"""Programs around the model."""
