"""Using a trained model: what may come next in a session that is happening now."""
