"""The command line: `laq train`, `quantize`, `evaluate`, `export`, `report` and more; see `laq --help`."""
