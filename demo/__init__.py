"""Programs around the model, and the pictures and faces that they made."""
