"""The command `laq correct` as a script; see its --help."""

from __future__ import annotations

import sys

from tf_laq.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["correct", *sys.argv[1:]]))
