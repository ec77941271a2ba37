"""The command line: `laq train`, `quantize`, `evaluate`, `export`, `inspect`, `report` and `demo`."""
