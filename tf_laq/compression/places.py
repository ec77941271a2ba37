"""Where things are in the folder of a compression."""

RESULTS = "compression.json"
PAGE = "report.html"
RECOMMENDED = "recommended"
FILE = "model.tflite"
"""In `recommended`, and beside every candidate."""

WORK = "work"
INPUTS = "inputs.json"
FULL, QUICK = "full", "quick"
"""The attacks of the worst case, and of the screening."""


def attacked(name: str, kind: str, count: int) -> str:
    """Return the place of an evaluation of a model on so many images in the folder `work`.

    Example:
        >>> attacked("guarded", FULL, 1000)
        'attacks/guarded-full-1000'
    """
    return f"attacks/{name}-{kind}-{count}"
