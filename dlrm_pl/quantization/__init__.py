"""From a float DLRM to an int8 one: recipes, calibration, scoring, and the search among recipes."""
