"""Verify that an artifact, its certificate and its data still match."""
