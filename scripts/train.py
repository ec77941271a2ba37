"""`laq train` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
