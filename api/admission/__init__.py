"""Admission: the checks of a job spec before it is queued."""
