"""Read untrusted JSON and YAML, within limits and field by field."""
