//! What every data source promises, asked of each driver.
//!
//! A promise is a function over [`Profile`]; a driver joins by one more `promises!` block. A promise that is not in
//! the list is dead code, which the lints refuse.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod limits;
mod profile;
mod statements;
mod transactions;
mod values;

macro_rules! promises {
    ($driver:ident, $profile:expr) => {
        promises! { $driver, $profile;
            values: every_kind_of_value_comes_back_as_it_went,
                null_is_kept_apart_from_empty_text_and_empty_bytes,
                integer_extremes_are_exact,
                chinese_text_and_every_plane_of_unicode_come_back,
                blob_of_a_mebibyte_comes_back,
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
                savepoint_needs_a_transaction_a_name_and_a_match,
                begin_twice_and_commit_without_begin_are_refused,
                failed_statement_in_a_savepoint_spares_the_others,
                reading_transaction_keeps_its_view_and_refuses_writes,
                reading_connection_refuses_writes,
                writers_never_lose_an_update;
            limits: slow_query_ends_at_its_limit_and_the_connection_goes_on,
                slow_write_ends_at_its_limit_and_takes_no_effect,
                time_limit_in_a_savepoint_is_repaired_or_told,
                zero_limit_sends_nothing,
                writer_that_waits_in_vain_is_told_to_retry,
                more_rows_than_allowed_is_an_error_and_not_a_cut,
                limit_escape_bounds_rows,
                answer_over_its_bytes_is_an_error,
                many_rows_come_back_in_order,
                full_database_refuses_and_recovers;
        }
    };
    ($driver:ident, $profile:expr; $($area:ident: $($promise:ident),+;)+) => {
        mod $driver {
            $($(
                #[test]
                fn $promise() {
                    super::$area::$promise(&$profile);
                }
            )+)+
        }
    };
}

promises!(sqlite, crate::profile::Sqlite);
