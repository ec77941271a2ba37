"""`laq report` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["report", *sys.argv[1:]]))
