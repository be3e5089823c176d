"""Other programs that serve a float DLRM on a CPU, each at its best known settings, as contenders.

Each file has one program. All start from the float model, as their users do, and from the same rows of calibration;
none uses the integers of an artifact.
"""
