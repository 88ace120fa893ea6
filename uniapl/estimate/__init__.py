"""What a job will need, before it is queued: rows, tokens, memory. No torch; the formulas are those of our trainer."""
