"""Who trains together, and how they exchange tensors. Imports command."""
