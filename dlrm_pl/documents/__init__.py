"""JSON and YAML that anybody may have written: read with limits, checked field by field."""
