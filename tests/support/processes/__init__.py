"""Tests of several processes, and of processes that are killed."""
