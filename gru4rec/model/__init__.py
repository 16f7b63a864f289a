"""A model's state in numpy: weights, moments, lazy Adam, learning rate. On top of nothing."""
