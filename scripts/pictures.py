"""`laq pictures` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["pictures", *sys.argv[1:]]))
