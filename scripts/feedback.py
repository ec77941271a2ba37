"""Retraining by feedback learning, which made the networks in the role fl; see its --help."""

from __future__ import annotations

import sys
from pathlib import Path

# research/ is not installed. At the end, so that an installed tf_laq comes first.
sys.path.append(str(Path(__file__).parents[1]))

from research.commands import main

if __name__ == "__main__":
    sys.exit(main("feedback"))
