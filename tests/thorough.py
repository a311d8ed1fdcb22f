"""The tests with the mark `thorough`: slow ones that repeat for further cases what faster tests already show.

The test command of the README leaves them out, so that it ends within ten minutes on two cores. CI runs them in a
round of their own.
"""

from __future__ import annotations

THOROUGH = (
    # Whole commands; tests/scenarios runs the same commands.
    "tests/docs/test_pages.py::test_the_commands_of_the_page_run",
    "tests/benchmarks/test_short_rounds.py",
    "tests/deploy/test_kills.py::test_a_kill_before_any_change_of_a_name_leaves_the_old_or_the_new_voice",
    "tests/scenarios/test_sweep_kills.py",
    "tests/scenarios/test_precision_auto.py",
    "tests/scenarios/test_into_service.py::test_a_deployed_estimator_gives_the_golden_solver_run",
    "tests/scenarios/test_rebuilds.py::test_flipped_bytes_in_all_files_are_found_and_repaired_at_once",
    "tests/scenarios/test_sweep_identity.py",
    "tests/scenarios/test_bundle.py::test_an_imported_run_can_be_replayed_and_stays_separate",
    "tests/scenarios/test_bundle.py::test_a_bundle_with_digests_alone_can_be_replayed",
    "tests/scenarios/test_vocoder.py",
    "tests/scenarios/test_graph_files.py",
    "tests/certifying/test_certify.py::test_a_right_file_of_the_other_exporter_with_the_streaming_mask_is_right",
    "tests/certifying/test_certify.py::test_a_right_file_of_another_version_is_right",
    "tests/certifying/test_certify.py::test_a_further_mistake_is_named",
    "tests/certifying/test_certify.py::test_other_weights_of_other_versions_are_recognised",
    "tests/certifying/test_parts.py::test_a_further_right_part_is_right",
    "tests/certifying/test_parts.py::test_a_further_mistake_is_named",
    "tests/certifying/test_recording.py::test_a_further_mistake_of_the_loop_is_named",
    # Exporters, versions and precisions beyond the default ones.
    "tests/stages/test_planted_faults.py",
    "tests/stages/test_parts_lowered.py",
    "tests/stages/test_other_hyperparameters.py",
    "tests/stages/test_component_engines.py",
    "tests/stages/test_frontend.py::test_both_exporters_write_one_graph_for_all_lengths",
    "tests/stages/test_export.py::test_dynamo_gives_the_golden_outputs_too",
    "tests/stages/test_export.py::test_another_process_and_directory_give_the_same_bytes",
    "tests/stages/test_verify_solver.py::test_a_long_utterance_passes_the_same_bound",
    "tests/models/test_exporters.py",
    "tests/models/cosyvoice/vocoder/test_export.py",
    "tests/runtime/voice/test_cached_stream.py::test_a_cap_bounds_the_history_and_the_mel_stays_near",
    "tests/runtime/voice/test_cached_stream.py::test_streams_in_threads_own_their_caches",
    "tests/runtime/voice/test_distribution.py::test_the_wheel_alone_gives_upstreams_mels",
    "tests/runtime/voice/test_load.py::test_graphs_of_other_versions_give_upstreams_mel_and_the_waveform",
    "tests/verification/test_precision_search.py",
    "tests/attacks/test_fuzz.py",
    "tests/attacks/test_edited_runs.py::test_a_report_with_any_field_of_another_type_ends_no_command_in_an_internal_error",
)
"""Beginnings of node ids: a file, or a test with all of its parameters."""
