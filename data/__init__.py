"""Data sets are put into this folder; the modules lead from their files to batches.

console: errors, output, how programs end; files: lists of pictures; pictures: from a file to a
face; tables and readers: what names and tables say; labels: age groups and genders; pipeline:
batches; order: which face comes when; doubles: faces of the same photo; devices: GPUs
and workers; limits: a container's memory and processors; detector and align: faces cut out of
photos (python -m data.align SOURCE DEST); check: a doctor (python -m data.check NAME).
"""

from data.console import prepare

prepare()  # here, since every program imports this package before TensorFlow
