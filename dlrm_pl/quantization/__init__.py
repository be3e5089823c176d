"""From a float DLRM to an int8 one: recipes, calibration, scoring, and the search for a recipe."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
