"""Who trains together, and how they exchange tensors. On top of command."""
