"""Published settings by name, one YAML file each."""
