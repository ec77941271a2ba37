"""`laq quantize` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["quantize", *sys.argv[1:]]))
