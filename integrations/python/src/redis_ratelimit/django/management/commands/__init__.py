"""Management commands, each named after its file."""
