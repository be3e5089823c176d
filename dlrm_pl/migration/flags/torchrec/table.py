"""Every flag of the two copies of ``dlrm_main.py``, the TorchRec program, as data.

Sources: facebookresearch/dlrm at 090956e, ``torchrec_dlrm/dlrm_main.py``; mlcommons/training at aa344c7f,
``recommendation_v2/torchrec_dlrm/dlrm_main.py``.
"""

from __future__ import annotations

from dlrm_pl.migration.flags.table import Flag

META, MLPERF = frozenset({"torchrec"}), frozenset({"mlperf_v2"})
BOTH = META | MLPERF

_PROJECTION = "belongs to --interaction_type=projection, which is refused"
_PRINT_ONLY = "changes what is printed, not what is computed"
_MAPPED_DATA = "the dataset is always memory-mapped"

_MODEL = (
    Flag("--interaction_type", "str", "original", BOTH, "mapped", "model.interaction: dot (original) or dcn; "
    "projection, with its own MLPs between the vectors, is refused", choices=("original", "dcn", "projection")),
    Flag("--dcn_num_layers", "int", 3, BOTH, "mapped", "model.cross_layers, with dcn"),
    Flag("--dcn_low_rank_dim", "int", 512, BOTH, "mapped", "model.cross_rank, with dcn"),
    Flag("--interaction_branch1_layer_sizes", "commas", "2048,2048", BOTH, "no effect", _PROJECTION),
    Flag("--interaction_branch2_layer_sizes", "commas", "2048,2048", BOTH, "no effect", _PROJECTION),
    Flag("--embedding_dim", "int", 64, BOTH, "mapped", "model.embedding_dim"),
    Flag("--dense_arch_layer_sizes", "commas", "512,256,64", BOTH, "mapped", "model.bottom_mlp, after a 0 for the "
    "number of dense columns"),
    Flag("--over_arch_layer_sizes", "commas", "512,512,256,1", BOTH, "mapped", "model.top_mlp"),
)  # fmt: skip
_DATA = (
    Flag("--in_memory_binary_criteo_path", "str", None, BOTH, "mapped", "data.folder, with single ids"),
    Flag("--synthetic_multi_hot_criteo_path", "str", None, BOTH, "mapped", "data.folder, with archives of bags"),
    Flag("--num_embeddings", "int", 100_000, BOTH, "mapped", "data.table_sizes, the same for each table"),
    Flag("--num_embeddings_per_feature", "commas", None, BOTH, "mapped", "data.table_sizes"),
    Flag("--multi_hot_sizes", "commas", None, BOTH, "mapped", "data.multi_hot_sizes: the same bags, drawn while rows "
         "are read"),
    Flag("--multi_hot_distribution_type", "str", None, BOTH, "mapped", "data.multi_hot_distribution",
         choices=("uniform", "pareto")),
    Flag("--collect_multi_hot_freqs_stats", "switch", False, BOTH, "no effect", "counts accesses, without any effect "
    "on the run"),
    Flag("--dataset_name", "str", "criteo_1t", BOTH, "mapped", "criteo_1t is what is read; criteo_kaggle, which "
         "validates on its training rows, is refused (in MLPerf's copy the flag does nothing)"),
    Flag("--undersampling_rate", "float", None, META, "no effect", "parsed by the program but never used"),
    Flag("--mmap_mode", "switch", False, BOTH, "no effect", _MAPPED_DATA),
    Flag("--pin_memory", "switch", False, BOTH, "no effect", "batches for a GPU are pinned anyway"),
    Flag("--shuffle_batches", "switch", False, BOTH, "no effect", "shuffles the rows within each batch, which only "
    "changes the order in which gradients are added up"),
    Flag("--shuffle_training_set", "switch", False, BOTH, "mapped", "data.shuffle: row"),
    Flag("--drop_last_training_batch", "switch", False, BOTH, "no effect", "the last batch of an epoch, which is "
         "smaller, is trained on here: one step more"),
)  # fmt: skip
_TRAINING = (
    Flag("--epochs", "int", 1, BOTH, "mapped", "trainer.max_epochs"),
    Flag("--batch_size", "int", 32, BOTH, "mapped", "data.batch_size, per process, as in the program itself"),
    Flag("--test_batch_size", "int", None, BOTH, "mapped", "data.eval_batch_size; default: same as --batch_size"),
    Flag("--limit_train_batches", "int", None, BOTH, "mapped", "trainer.limit_train_batches"),
    Flag("--limit_val_batches", "int", None, BOTH, "mapped", "trainer.limit_val_batches"),
    Flag("--limit_test_batches", "int", None, BOTH, "mapped", "trainer.limit_test_batches"),
    Flag("--adagrad", "switch", False, BOTH, "mapped", "model.optimizer: adagrad, else sgd"),
    Flag("--learning_rate", "float", 15.0, BOTH, "mapped", "model.learning_rate"),
    Flag("--eps", "float", 1e-8, META, "mapped", "model.epsilon, with --adagrad (1e-8 in MLPerf's copy)"),
    Flag("--lr_warmup_steps", "int", 0, BOTH, "mapped", "model.lr_num_warmup_steps"),
    Flag("--lr_decay_start", "int", 0, BOTH, "mapped", "model.lr_decay_start_step"),
    Flag("--lr_decay_steps", "int", 0, BOTH, "mapped", "model.lr_num_decay_steps"),
    Flag("--seed", "int", None, BOTH, "mapped", "seed_everything, data.seed; in the program it only seeds the order "
    "of rows"),
    Flag("--validation_freq_within_epoch", "int", None, BOTH, "mapped", "trainer.val_check_interval"),
    Flag("--validation_auroc", "float", None, MLPERF, "mapped", "callback EarlyStopping on val_auroc"),
    Flag("--evaluate_on_epoch_end", "switch", False, MLPERF, "mapped", "trainer.val_check_interval: 1.0, where no "
         "other is set"),
    Flag("--evaluate_on_training_end", "switch", False, MLPERF, "mapped", "the command `test` at the end"),
    Flag("--allow_tf32", "switch", False, BOTH, "no effect", "rounds products of matrices on GPUs; here they are "
         "float32"),
    Flag("--print_lr", "switch", False, BOTH, "no effect", _PRINT_ONLY),
    Flag("--print_sharding_plan", "switch", False, BOTH, "no effect", "`fit` with trainer.strategy=sharded prints its "
         "plan in any case"),
    Flag("--print_progress", "switch", False, MLPERF, "no effect", _PRINT_ONLY),
)  # fmt: skip
EVERY_FLAG = (*_MODEL, *_DATA, *_TRAINING)
FLAGS: dict[str, Flag] = {flag.name: flag for flag in EVERY_FLAG}
