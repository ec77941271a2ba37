"""`laq inspect` as a file: not inspect.py, which would hide Python's own module from the other scripts."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["inspect", *sys.argv[1:]]))
