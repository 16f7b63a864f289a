"""GRU4Rec on paper, in numpy: its state, lazy Adam, learning rate, similarity. Imports nothing."""
