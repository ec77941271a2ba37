"""`laq evaluate` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
