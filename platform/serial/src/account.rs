//! The books: what the database knows of each holder and node, and what is missing in them.

use gantry_datasource::{Connection, ResultSet, ValueRef};

use crate::error::SerialError;
use crate::fold::OLD_LIFE;
use crate::limits::{FIGURES_LIMIT, STATUS_ROWS_MAX};
use crate::raise::HOLDER_RAISE;
use crate::report::{DROPPED, ISSUED, LEFT, ROLLED_BACK};
use crate::status::{Gap, Standing};
use crate::supply::HOLDER_PROCESS;

const SELECT_HOLDERS: &str = "SELECT holder, leased, ended_ms, reason FROM gantry_serial_holder \
     WHERE kind = ? ORDER BY since_ms, holder";
const SELECT_COUNTS: &str =
    "SELECT node, what, numbers, at_ms FROM gantry_serial_count WHERE kind = ? ORDER BY node, what";
const SELECT_DAYS: &str =
    "SELECT next_value, at_ms FROM gantry_serial_day WHERE kind = ? ORDER BY day_number DESC {limit ?}";
/// Days whose average is the rate.
const RATE_DAYS: i64 = 8;

/// One row of `gantry_serial_holder`.
struct Holder {
    name: String,
    leased: i64,
    ended_ms: i64,
    reason: String,
}

/// One row of `gantry_serial_count`.
struct Count {
    node: String,
    what: String,
    numbers: i64,
    at_ms: i64,
}

/// All rows of one type.
pub(crate) struct Accounts {
    holders: Vec<Holder>,
    counts: Vec<Count>,
    /// Where the type stood a few days ago, and when that was.
    pub(crate) since: Option<(i64, i64)>,
}

/// What became of the numbers of one type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) issued: i64,
    pub(crate) in_lists: i64,
    pub(crate) in_nodes: i64,
    pub(crate) out_of_reach: i64,
    pub(crate) gaps: Vec<Gap>,
}

/// Reads the rows of one type.
pub(crate) fn read_accounts(connection: &mut dyn Connection, kind: &str) -> Result<Accounts, SerialError> {
    let mut read = |text: &str, params: &[ValueRef<'_>]| {
        connection.query(text, params, STATUS_ROWS_MAX, FIGURES_LIMIT).map_err(|cause| SerialError::Figures {
            doing: "read the figures of serial numbers",
            cause: Box::new(cause),
        })
    };
    let rows = read(SELECT_HOLDERS, &[kind.into()])?;
    let holder = |row| Holder {
        name: text(&rows, row, 0),
        leased: number(&rows, row, 1),
        ended_ms: number(&rows, row, 2),
        reason: text(&rows, row, 3),
    };
    let holders = (0..rows.rows()).map(holder).collect();
    let rows = read(SELECT_COUNTS, &[kind.into()])?;
    let count = |row| Count {
        node: text(&rows, row, 0),
        what: text(&rows, row, 1),
        numbers: number(&rows, row, 2),
        at_ms: number(&rows, row, 3),
    };
    let counts = (0..rows.rows()).map(count).collect();
    let rows = read(SELECT_DAYS, &[kind.into(), RATE_DAYS.into()])?;
    let since = rows.rows().checked_sub(1).map(|last| (number(&rows, last, 0), number(&rows, last, 1)));
    Ok(Accounts { holders, counts, since })
}

impl Account {
    /// Closes the books of one type, of which `leased` numbers are leased in all. `current` is the node that is looked at
    /// from, if there is one.
    pub(crate) fn close(
        accounts: &Accounts,
        standing: &Standing,
        current: Option<&str>,
        leased: i64,
    ) -> Self {
        let mut account = Self::default();
        for holder in &accounts.holders {
            if holder.name.starts_with("list ") {
                account.close_list(accounts, standing, holder);
            } else if holder.name == HOLDER_PROCESS {
                account.gap(
                    holder.leased,
                    HOLDER_PROCESS,
                    "leased by processes without a node; issued or lost",
                    None,
                );
            } else if holder.name == HOLDER_RAISE {
                let last = (holder.ended_ms != 0).then_some(holder.ended_ms);
                account.gap(holder.leased, HOLDER_RAISE, "stepped over by serial raise", last);
            }
        }
        for node in accounts.nodes() {
            account.close_node(accounts, node, current);
        }
        let counted: i64 = accounts.holders.iter().map(|holder| holder.leased).sum();
        account.gap(leased - counted, "before", "leased before figures were kept; issued or lost", None);
        account
    }

    fn close_list(&mut self, accounts: &Accounts, standing: &Standing, holder: &Holder) {
        let tag = holder.name.strip_prefix("list ").and_then(|tag| u64::from_str_radix(tag, 16).ok());
        let taken: i64 =
            accounts.counts.iter().filter(|count| count.what == holder.name).map(|count| count.numbers).sum();
        let rest = holder.leased - taken;
        let server = tag.map_or(0, |tag| usize::from(tag & 1 == 1));
        let standing_here =
            standing.lists.iter().find(|(list, _)| Some(*list) == tag).map(|(_, numbers)| *numbers);
        match (standing_here, standing.answered[server]) {
            (Some(numbers), _) => {
                self.in_lists += numbers;
                let reason = "evicted, or on its way when a process or connection broke";
                self.gap(rest - numbers, &holder.name, reason, None);
            }
            (None, _) if holder.ended_ms != 0 => {
                self.gap(rest, &holder.name, &holder.reason, Some(holder.ended_ms));
            }
            (None, Some(true)) => {
                self.gap(
                    rest,
                    &holder.name,
                    "another list is in use: Redis restarted unseen, or serial raise",
                    None,
                );
            }
            (None, Some(false)) => self.out_of_reach += rest.max(0),
            (None, None) => self.gap(rest, &holder.name, "its Redis is not configured any more", None),
        }
    }

    fn close_node(&mut self, accounts: &Accounts, node: &str, current: Option<&str>) {
        let figure = |what: &str| accounts.figure(node, what);
        let leased: i64 =
            accounts.holders.iter().filter(|holder| holder.name == node).map(|holder| holder.leased).sum();
        let from_lists: i64 = accounts
            .counts
            .iter()
            .filter(|count| count.node == node && count.what.starts_with("list "))
            .map(|count| count.numbers)
            .sum();
        let (issued, left) = (figure(ISSUED), figure(LEFT));
        self.issued += issued;
        let is_over = accounts.is_over(node, current);
        if is_over {
            self.gap(left, node, "the node's memory was removed: a new start or a reboot", None);
        } else {
            self.in_nodes += left;
        }
        self.gap(figure(ROLLED_BACK), node, "drawn in transactions that were rolled back", None);
        self.gap(figure(DROPPED), node, "thrown away: a new epoch", None);
        let out = issued + left + figure(ROLLED_BACK) + figure(DROPPED);
        let reason = if is_over {
            "held by processes, or issued after the node's last report"
        } else {
            "held by processes that died, or still held"
        };
        self.gap(leased + from_lists - out, node, reason, None);
    }

    fn gap(&mut self, numbers: i64, place: &str, reason: &str, at_ms: Option<i64>) {
        if numbers > 0 {
            self.gaps.push(Gap { numbers, place: place.to_owned(), reason: reason.to_owned(), at_ms });
        }
    }
}

impl Accounts {
    /// The makings of nodes that leased, took or issued.
    fn nodes(&self) -> Vec<&str> {
        let is_node = |name: &&str| name.contains('/');
        let holders = self.holders.iter().map(|holder| holder.name.as_str());
        let counts = self.counts.iter().map(|count| count.node.as_str());
        let mut nodes: Vec<&str> = holders.chain(counts).filter(is_node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    fn figure(&self, node: &str, what: &str) -> i64 {
        let is_it = |count: &&Count| count.node == node && count.what == what;
        self.counts.iter().find(is_it).map_or(0, |count| count.numbers)
    }

    /// Whether another making of the same node came after this one.
    fn is_over(&self, node: &str, current: Option<&str>) -> bool {
        if node.ends_with(OLD_LIFE) {
            return true;
        }
        let name = |node: &str| node.split('/').next().map(str::to_owned);
        if current.is_some_and(|current| name(current) == name(node)) {
            return current != Some(node);
        }
        let last_ms = |of: &str| {
            self.counts.iter().filter(|count| count.node == of).map(|count| count.at_ms).max().unwrap_or(0)
        };
        self.nodes()
            .iter()
            .any(|other| *other != node && name(other) == name(node) && last_ms(other) > last_ms(node))
    }
}

fn text(rows: &ResultSet, row: usize, column: usize) -> String {
    match rows.value(row, column) {
        ValueRef::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

fn number(rows: &ResultSet, row: usize, column: usize) -> i64 {
    match rows.value(row, column) {
        ValueRef::I64(number) => number,
        _ => 0,
    }
}
