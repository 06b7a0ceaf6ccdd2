//! What every data source promises, asked of each driver.
//!
//! A promise is a function over [`Profile`]; a driver joins by one more `promises!` block. A promise that is not in
//! the list is dead code, which the lints refuse.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[cfg(feature = "odbc")]
#[path = "../derby/collect.rs"]
mod collect;
mod limits;
#[cfg(feature = "odbc")]
#[path = "../derby/literals.rs"]
mod literals;
mod migrations;
#[cfg(feature = "odbc")]
mod outages;
mod profile;
mod requests;
#[cfg(feature = "odbc")]
mod server_profile;
#[cfg(feature = "odbc")]
mod server_values;
#[cfg(feature = "odbc")]
mod shipped;
mod statements;
mod transactions;
mod values;

/// Hands the list of promises to `$each`, so that there is one list.
macro_rules! promises {
    ($each:ident) => {
        $each! {
            values: every_kind_of_value_comes_back_as_it_went,
                null_is_kept_apart_from_empty_text_and_empty_bytes,
                integer_extremes_are_exact,
                chinese_text_and_every_plane_of_unicode_come_back,
                text_with_a_zero_is_kept_whole_or_refused,
                blob_of_a_mebibyte_comes_back,
                timestamps_come_back_to_the_microsecond,
                keys_count_by_themselves,
                sums_of_whole_numbers_are_whole_numbers,
                float_that_is_not_finite_is_refused,
                parameters_are_never_read_as_sql;
            statements: execute_counts_changed_rows,
                columns_are_named_as_the_statement_says,
                columns_follow_a_changed_table,
                wrong_statement_is_a_typed_error,
                missing_table_and_existing_table_are_told_apart,
                wrong_number_of_parameters_is_a_bad_value,
                statement_that_controls_transactions_is_refused,
                query_that_writes_and_execute_that_reads_are_refused,
                each_kind_of_constraint_is_told,
                error_names_source_operation_and_remedy,
                insert_unless_present_leaves_the_transaction_usable;
            transactions: commit_is_seen_by_other_connections_at_once,
                rollback_undoes_and_dropping_does_too,
                statement_outside_a_transaction_commits_by_itself,
                savepoints_group_several_writes_into_one_commit,
                savepoint_used_again_hides_the_older_one,
                savepoint_needs_a_transaction_a_name_and_a_match,
                begin_twice_and_commit_without_begin_are_refused,
                failed_statement_in_a_savepoint_spares_the_others,
                failed_statement_never_lets_half_a_transaction_commit,
                reading_transaction_keeps_its_view_and_refuses_writes,
                reading_connection_refuses_writes,
                writers_never_lose_an_update;
            limits: slow_query_ends_at_its_limit_and_the_connection_goes_on,
                slow_write_ends_at_its_limit_and_takes_no_effect,
                each_call_has_its_own_limit,
                time_limit_in_a_savepoint_is_repaired_or_told,
                zero_limit_sends_nothing,
                writer_that_waits_in_vain_is_told_to_retry,
                more_rows_than_allowed_is_an_error_and_not_a_cut,
                limit_escape_bounds_rows,
                answer_over_its_bytes_is_an_error,
                many_rows_come_back_in_order;
            requests: repeat_of_a_write_gets_the_recorded_reply_and_changes_nothing,
                same_id_of_another_caller_is_another_request,
                id_used_for_another_body_or_service_is_a_conflict,
                reply_that_is_empty_or_too_long_is_told_apart,
                rolled_back_write_leaves_no_row_and_may_run_again,
                business_error_in_a_group_is_recorded_and_spares_the_others,
                business_error_after_a_whole_rollback_is_recorded_by_itself,
                fence_answers_failed_done_or_blocked,
                fence_after_a_writer_vanished_is_the_last_word,
                ids_that_differ_in_case_or_accent_are_different_requests,
                repeat_after_failed_is_a_new_attempt_that_replaces_the_fence,
                begin_needs_a_transaction_and_finish_needs_a_begin,
                prune_deletes_the_oldest_in_batches_and_spares_the_young,
                two_connections_that_race_take_effect_once,
                fence_and_write_that_race_never_contradict_each_other;
            migrations: migrate_applies_each_step_once_in_order,
                owners_count_their_versions_apart,
                changed_text_of_an_applied_step_is_refused,
                lists_out_of_order_are_refused,
                step_that_fails_leaves_nothing_and_names_its_statement,
                step_that_was_cut_off_is_done_again_whole,
                connections_that_migrate_together_apply_each_step_once;
        }
    };
}

/// One test for each promise of SQLite, which needs no server.
macro_rules! sqlite_tests {
    ($($area:ident: $($promise:ident),+;)+) => {
        mod sqlite {
            $($(
                #[test]
                fn $promise() {
                    super::$area::$promise(&crate::profile::Sqlite);
                }
            )+)+

            #[test]
            fn full_database_refuses_and_recovers() {
                super::limits::full_database_refuses_and_recovers(&crate::profile::Sqlite.small_database());
            }
        }
    };
}
promises!(sqlite_tests);

/// All promises by name, for a server that is started once and asked for one after the other.
#[cfg(feature = "odbc")]
macro_rules! list {
    ($($area:ident: $($promise:ident),+;)+) => {
        const PROMISES: &[server_profile::Promise] =
            &[$($((stringify!($promise), $area::$promise)),+),+];
    };
}
#[cfg(feature = "odbc")]
promises!(list);

#[cfg(feature = "odbc")]
#[test]
fn postgres_keeps_every_promise() {
    server_profile::keeps_every_promise(gantry_test_servers::Kind::Postgres, PROMISES);
}

#[cfg(feature = "odbc")]
#[test]
fn mariadb_keeps_every_promise() {
    server_profile::keeps_every_promise(gantry_test_servers::Kind::MariaDb, PROMISES);
}
