//! Rows, table by table.

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// A table and the columns that are written.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in the order of a row's cells.
    pub columns: &'static [&'static str],
}

/// Every table that is written, in an order in which no row needs one of a later table.
pub const TABLES: [Table; 9] = [
    Table {
        name: "customer_account",
        columns: &["account_id", "customer_name", "id_no", "balance_fen", "movements_count", "opened_ms"],
    },
    Table {
        name: "etc_card",
        columns: &["card_id", "account_id", "plate", "vehicle_class", "card_status", "issued_ms"],
    },
    Table { name: "card_claim", columns: &["claim_kind", "claim_key", "card_id"] },
    Table { name: "card_tag", columns: &["tag_id", "card_id", "obu", "issued_ms"] },
    Table {
        name: "card_listing",
        columns: &["card_id", "account_id", "overdrawn", "by_operator", "reason", "listed_ms"],
    },
    Table {
        name: "ledger_movement",
        columns: &[
            "account_id",
            "movement_no",
            "kind",
            "serial_no",
            "card_id",
            "amount_fen",
            "balance_fen",
            "booked_ms",
        ],
    },
    Table {
        name: "ledger_entry",
        columns: &["account_id", "movement_no", "side", "ledger_account", "amount_fen"],
    },
    Table {
        name: "passage",
        columns: &[
            "serial_no",
            "card_id",
            "account_id",
            "operator_code",
            "entry_name",
            "exit_name",
            "passed_ms",
            "passed_ns",
            "fee_fen",
            "balance_fen",
            "movement_no",
        ],
    },
    Table { name: "passage_refund", columns: &["serial_no", "refund_serial", "reason", "refunded_ms"] },
];

pub(crate) const ACCOUNT: usize = 0;
pub(crate) const CARD: usize = 1;
pub(crate) const CLAIM: usize = 2;
pub(crate) const TAG: usize = 3;
pub(crate) const LISTING: usize = 4;
pub(crate) const MOVEMENT: usize = 5;
pub(crate) const ENTRY: usize = 6;
/// The place of the passages in [`TABLES`].
pub const PASSAGE: usize = 7;
pub(crate) const REFUND: usize = 8;

/// Rows that wait to be written.
#[derive(Debug, Default)]
pub struct Rows {
    cells: [Vec<Cell>; TABLES.len()],
}

impl Rows {
    /// How many rows of a table wait.
    #[must_use]
    pub fn count(&self, table: usize) -> usize {
        self.cells[table].len() / TABLES[table].columns.len()
    }

    /// Takes out as many rows of a table as come in groups of `rows` (all of them, where the last group may be smaller,
    /// if `is_last`) and gives each group's cells, row by row, to `write`.
    ///
    /// # Errors
    /// The first one of `write`; the rows are gone then.
    pub fn drain<E>(
        &mut self,
        table: usize,
        rows: usize,
        is_last: bool,
        mut write: impl FnMut(&[Cell]) -> Result<(), E>,
    ) -> Result<(), E> {
        let group = rows * TABLES[table].columns.len();
        let cells = &mut self.cells[table];
        let whole = if is_last { cells.len() } else { cells.len() / group * group };
        let taken: Vec<Cell> = cells.drain(..whole).collect();
        taken.chunks(group).try_for_each(&mut write)
    }

    pub(crate) fn push<const N: usize>(&mut self, table: usize, row: [Cell; N]) {
        debug_assert_eq!(N, TABLES[table].columns.len());
        self.cells[table].extend(row);
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
