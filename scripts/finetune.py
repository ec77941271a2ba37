"""`laq finetune` as a file."""

import sys

from tf_laq.cli.main import main

sys.exit(main(["finetune", *sys.argv[1:]]))
