"""`laq correct` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["correct", *sys.argv[1:]]))
