"""`laq demo` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["demo", *sys.argv[1:]]))
