"""What runs have brought: read from their folders, compared, drawn and written down."""
