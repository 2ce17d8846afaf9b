"""Search spaces as YAML files; the file stem is the space's name."""
