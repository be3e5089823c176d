"""Preprocessing on several machines: tasks read and write the files of a log, each on the machine where it runs."""
