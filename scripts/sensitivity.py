"""The command `laq sensitivity` as a script; see its --help."""

from __future__ import annotations

import sys

from tf_laq.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sensitivity", *sys.argv[1:]]))
