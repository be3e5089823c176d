"""Tests that run without coverage's tracing, which makes them up to three times as long.

What they run is for the most part not ours: parsers of options, training loops, compilers, samplers, or the same loop
again. What is ours in it is measured in other tests: together they cost less than 0.2 % of coverage. Measured with
``--cov-context=test``; a test whose lines no other test runs does not belong here.
"""

from __future__ import annotations

FILES = frozenset({"test_architecture.py", "test_configs.py", "test_readme.py", "test_real_sample.py"})

TESTS = frozenset(
    {
        # Whole commands and whole searches.
        "test_checkpoint_that_is_none",
        "test_counts_of_another_dataset",
        "test_damaged_rows_are_quantized_only_when_allowed",
        "test_dataset_of_smaller_tables_by_force",
        "test_eval_func_by_class_path_decides_which_ops_fall_back",
        "test_every_key_of_ours_is_explained_by_help",
        "test_fit_ends_in_an_artifact",
        "test_import_test_fit_and_export",
        "test_interrupted_search_ends_with_its_best_and_the_next_one_goes_on",
        "test_lightning_commands_run_on_a_checkpoint",
        "test_other_commands_leave_the_configuration_and_the_log_of_fit_alone",
        "test_quantize_after_load_gives_what_quantize_after_fit_gave",
        "test_tight_tolerance_makes_ops_fall_back",
        "test_trainers_loggers_get_the_search",
        "test_worst_slice_is_in_the_trials_of_the_artifact",
        # The same search again and again.
        "test_limits_of_the_space_are_kept_and_no_recipe_is_of_floats_alone",
        "test_same_seed_same_search_and_another_seed_another",
        "test_search_ends",
        "test_search_that_was_killed_goes_the_same_way",
        "test_strategy_goes_the_same_way_after_an_interrupt",
        "test_strategy_runs_by_name_on_a_real_model",
        # Loops over rows and examples, whose lines are few.
        "test_a_separable_set_is_learned",
        "test_compiled_contenders_give_the_eager_logits",
        "test_equals_the_reference",
        "test_ids_of_training_days_alone",
        "test_kaggle_days_are_those_of_array_split",
        "test_neither_workers_nor_memory_nor_the_numpy_fallback_change_a_byte",
        "test_the_streamed_auroc_is_that_of_all_rows",
        "test_values_are_those_of_argparse",
        "test_what_is_nested_without_end_is_refused",
    }
)
