"""Data sets are put into this folder; the code around them: labels (names), pipeline (batches)."""
