"""Reading of untrusted JSON and YAML, with limits and field by field."""
