"""Other programs that serve a float DLRM on a CPU, each at its best known setting, as contenders of a benchmark.

Each file has one program. All start from the float model, as their users do, and from the same rows of calibration;
none uses the integers of an artifact.
"""
