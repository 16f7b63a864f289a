"""GRU4Rec in TensorFlow: one training step; opens no device. On top of model, parallel."""
