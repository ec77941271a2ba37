"""Where things are in the folder of a compression."""

RESULTS = "compression.json"
PAGE = "report.html"
RECOMMENDED = "recommended"
FILE = "model.tflite"
"""In `recommended`, and beside every candidate."""

WORK = "work"
INPUTS = "inputs.json"
