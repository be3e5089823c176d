"""Preprocessing on several machines: files of a log are read and written by tasks, each where it is run."""
