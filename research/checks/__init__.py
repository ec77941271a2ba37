"""Programs that check a claim and write what they found to docs/results: `python -m research.checks.NAME --help`.

They run on the CPU, as the published pages did.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
