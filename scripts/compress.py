"""`laq compress` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["compress", *sys.argv[1:]]))
