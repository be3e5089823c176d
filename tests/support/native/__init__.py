"""Inputs of the native engines, and reference results of other libraries."""
