"""GRU4Rec in TensorFlow: one training step; no flag, no device. Imports model, parallel."""
