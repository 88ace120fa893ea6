"""Batches: the sequences of a step, their packing into trees, and the tensors of a packed batch."""
