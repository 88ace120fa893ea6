"""Conversion of InternLM2 reward models, the published layout of POLAR, to Llama's layout. No code of a model
repository is run, and nothing here imports torch: tensors are copied as bytes."""
