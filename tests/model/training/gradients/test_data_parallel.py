"""Several ranks train the tables as one process would."""

from pathlib import Path

from tests.support.processes.ranks import run_ranks

ONE_STEP_EACH = """
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.training.gradients.data_parallel import average, broadcast, is_distributed
assert is_distributed()
sizes = [3, 50, 1000, 7]
torch.manual_seed(rank)  # Other tables on each rank, until they are broadcast.
ours = EmbeddingBags(sizes, 4)
broadcast(list(ours.parameters()))
torch.manual_seed(0)
alone = EmbeddingBags(sizes, 4)
assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), alone.parameters()))
generator = torch.Generator().manual_seed(5)
for step in range(50):
    # Ranks see different numbers of rows, and rank 1 none at all of the last table in every other step.
    rows = [[torch.randint(0, size, (length,), generator=generator) for size in sizes] for length in (9, 30)]
    for mine in rows[rank : rank + 1]:
        ours.zero_grad()
        for index, (table, picked) in enumerate(zip(ours.tables, mine)):
            if not (rank == 1 and index == 3 and step % 2):
                (table(picked[None]).sum() * (rank + 1)).backward()
    average(list(ours.parameters()))
    for index, table in enumerate(ours.parameters()):
        expected = torch.zeros(sizes[index], 4)
        for other in range(2):
            if not (other == 1 and index == 3 and step % 2):
                ones = torch.full((len(rows[other][index]), 4), (other + 1) / 2)
                expected.index_add_(0, rows[other][index], ones)
        torch.testing.assert_close(table.grad.to_dense(), expected)
    gathered = [torch.empty(sizes[0], 4) for _ in range(2)]
    dist.all_gather(gathered, next(ours.parameters()).grad.to_dense())
    assert torch.equal(*gathered)
"""


def test_gradients_of_ranks_with_unequal_rows_are_averaged(tmp_path: Path) -> None:
    run_ranks(ONE_STEP_EACH, tmp_path)
