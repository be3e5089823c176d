"""Batching: requests that arrive together are scored together, within limits on time and number."""
