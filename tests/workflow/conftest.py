"""A small dataset and a module that fits it."""

from tests.support.fixtures import data as data
from tests.support.fixtures import module as module
