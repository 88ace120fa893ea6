"""The student: loading, forward pass, attention, adapters, export."""
