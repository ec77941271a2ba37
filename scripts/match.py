"""`laq match` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["match", *sys.argv[1:]]))
