"""The models that are served: loaded, checked, and replaced while requests come in."""
