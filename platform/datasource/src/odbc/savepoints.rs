//! Names of savepoints, kept apart from the database's.

use crate::limits::SAVEPOINT_NAME_BYTES_MAX;

/// The savepoints of the open transaction, the newest last.
///
/// Databases disagree about a name that is used twice: some hide the older one, some replace it. So each gets a name
/// of its own there.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    set: Vec<(String, u32)>,
    made: u32,
}

impl Savepoints {
    /// Adds a savepoint; returns its name in the database.
    pub(super) fn add(&mut self, name: &str) -> String {
        self.made = self.made.wrapping_add(1);
        self.set.push((name.to_owned(), self.made));
        native(self.made)
    }

    /// The place and the database's name of the newest savepoint with this name.
    pub(super) fn find(&self, name: &str) -> Option<(usize, String)> {
        let place = self.set.iter().rposition(|(known, _)| known == name)?;
        Some((place, native(self.set[place].1)))
    }

    /// Forgets the savepoints from `place` on.
    pub(super) fn forget_from(&mut self, place: usize) {
        self.set.truncate(place);
    }
}

fn native(number: u32) -> String {
    format!("gantry_{number}")
}

/// Whether a name keeps the rules of [`Connection::savepoint`](crate::Connection::savepoint).
pub(super) fn is_savepoint_name(name: &str) -> bool {
    (1..=SAVEPOINT_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
