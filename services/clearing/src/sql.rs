//! The tables and statements of clearing.

/// Step 1 of the tables.
pub(crate) const CLEARING_1_SQL: &str = include_str!("schema/clearing.sql");

gantry_ledger::statements! {
    /// Locks a day that was begun before, and tells how often it was run with a finding.
    LOCK_DAY = "SELECT runs_count FROM clearing_day WHERE clearing_date = ? {for update}";

    /// Begins a day. The primary key lets one of two first runs do so.
    INSERT_DAY = "
        INSERT INTO clearing_day (clearing_date, from_ms, until_ms, runs_count) VALUES (?, ?, ?, ?)";

    /// Notes that a run is under way, or that it found nothing.
    UPDATE_DAY = "UPDATE clearing_day SET runs_count = ? WHERE clearing_date = ?";

    /// Writes down what is new: for each operator the day's passages that are not refunded, less what earlier runs
    /// found. One statement, however many passages there are. The day's own row brings what would be parameters
    /// among the selected columns, where not every database takes them.
    INSERT_AMOUNTS = "
        INSERT INTO clearing_amount (clearing_date, operator_code, run_no, passages_count, amount_fen, run_ms)
        SELECT d.clearing_date, n.operator_code, d.runs_count,
               n.passages_count - COALESCE(b.passages_count, 0), n.amount_fen - COALESCE(b.amount_fen, 0), 0
        FROM clearing_day d
        CROSS JOIN (
            SELECT p.operator_code,
                   SUM(CASE WHEN r.serial_no IS NULL THEN 1 ELSE 0 END) AS passages_count,
                   SUM(CASE WHEN r.serial_no IS NULL THEN p.fee_fen ELSE 0 END) AS amount_fen
            FROM passage p
            LEFT JOIN passage_refund r ON r.serial_no = p.serial_no
            WHERE p.passed_ms >= ? AND p.passed_ms < ?
            GROUP BY p.operator_code
        ) n
        LEFT JOIN (
            SELECT operator_code, SUM(passages_count) AS passages_count, SUM(amount_fen) AS amount_fen
            FROM clearing_amount
            WHERE clearing_date = ?
            GROUP BY operator_code
        ) b ON b.operator_code = n.operator_code
        WHERE d.clearing_date = ?
          AND (n.passages_count <> COALESCE(b.passages_count, 0) OR n.amount_fen <> COALESCE(b.amount_fen, 0))";

    /// Dates the findings of a run.
    UPDATE_RUN_TIME = "UPDATE clearing_amount SET run_ms = ? WHERE clearing_date = ? AND run_no = ?";

    /// What each operator is owed for a day, by all runs.
    SELECT_REPORT = "
        SELECT operator_code, SUM(passages_count), SUM(amount_fen)
        FROM clearing_amount
        WHERE clearing_date = ?
        GROUP BY operator_code
        ORDER BY operator_code";
}
