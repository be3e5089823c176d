"""Other programs that serve a float DLRM on a CPU, each at its best known settings, as contenders.

Each file covers one program. All of them start from the float model, as their users do, and from the same calibration
rows; none uses the integers of an artifact.
"""
