"""Convert the files that upstream's preprocessing wrote."""
