"""The numbers of columns of Criteo's logs, for code that does not follow the columns of its dataset yet."""

from dlrm_pl.columns.columns import Columns

NUM_DENSE = Columns.criteo().num_dense
NUM_SPARSE = Columns.criteo().num_sparse
