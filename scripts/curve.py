"""`laq curve` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["curve", *sys.argv[1:]]))
