"""Data sets are put into this folder; the code around them: readers (names, tables),
labels, pipeline (batches), check (a doctor: python -m data.check NAME)."""
