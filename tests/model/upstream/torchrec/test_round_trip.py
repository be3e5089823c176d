"""Models of the installed TorchRec are imported and exported, with the same logits on each side."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Runs in its own process, because TorchRec changes process-wide settings.
PROGRAM = """
import sys
from pathlib import Path
import torch
import torch.distributed.checkpoint as dcp
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM, DLRM_DCN, DLRMTrain
from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.model.upstream.opening import open_foreign
from dlrm_pl.model.upstream.torchrec.exporting import export_torchrec

folder = Path(sys.argv[1])
torch.manual_seed(4)
sizes, dim, batch = (50, 7, 300, 11), 16, 64
names = [f"cat_{table}" for table in range(len(sizes))]

def model(kind):
    tables = EmbeddingBagCollection(tables=[
        EmbeddingBagConfig(name=f"t_{name}", embedding_dim=dim, num_embeddings=rows, feature_names=[name])
        for name, rows in zip(names, sizes)
    ])
    if kind == "dcn":
        made = DLRM_DCN(tables, 13, [32, dim], [40, 24, 1], dcn_num_layers=3, dcn_low_rank_dim=11)
    else:
        made = DLRM(tables, 13, [32, dim], [40, 24, 1])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made

lengths = torch.randint(0, 6, (len(sizes) * batch,))
counts = lengths.view(len(sizes), batch).sum(1).tolist()
indices = torch.cat([torch.randint(0, rows, (count,)) for rows, count in zip(sizes, counts)])
offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
dense = torch.randn(batch, 13)
jagged = KeyedJaggedTensor.from_offsets_sync(names, indices, offsets)
done = 0
for kind in ("dcn", "dot"):
    theirs = model(kind)
    expected = theirs(dense, jagged).squeeze(1)
    assert expected.std() > 0.1
    torch.save(theirs.state_dict(), folder / "plain.pt")
    torch.save({"model": DLRMTrain(theirs).state_dict(), "epoch": 3}, folder / "train.pt")
    dcp.save({"app": DLRMTrain(theirs).state_dict()}, checkpoint_id=str(folder / kind), no_dist=True)
    for source in ("plain.pt", "train.pt", kind):
        open_foreign(folder / source).write(folder / "ours.ckpt")
        ours = load_dlrm(folder / "ours.ckpt")
        torch.testing.assert_close(ours(ClickBatch(dense, indices, offsets)), expected, rtol=1e-6, atol=1e-6)
        export_torchrec(folder / "ours.ckpt", folder / "back.pt")
        back = model(kind)
        back.load_state_dict(torch.load(folder / "back.pt", weights_only=True))
        torch.testing.assert_close(back(dense, jagged).squeeze(1), expected, rtol=0, atol=0)
        done += 1
print(done)
"""


def test_logits_stay_the_same_through_import_and_export(tmp_path: Path) -> None:
    run = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    result = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split()[-1] == "6"
