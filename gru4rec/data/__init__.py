"""From an events file to sessions of item indices: loader, vocabulary, sessions. Needs no TensorFlow."""
