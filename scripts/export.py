"""`laq export` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["export", *sys.argv[1:]]))
