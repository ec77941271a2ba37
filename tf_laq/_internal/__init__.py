"""What no user imports: validation, files, archives, documents."""
