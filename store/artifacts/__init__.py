"""Artifact store: files shared by API and workers, and their paths."""
