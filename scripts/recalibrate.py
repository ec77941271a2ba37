"""`laq recalibrate` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["recalibrate", *sys.argv[1:]]))
