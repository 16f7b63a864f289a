"""Which processes train together, and how they exchange tensors. On top of command."""
