"""Vocabulary of a run: tables that number the values of categorical columns as rows are processed."""
