"""`laq feedback` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["feedback", *sys.argv[1:]]))
