//! The model: what the database must hold, computed from what the platform said was done.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use super::dice::Dice;
use crate::etc::{ADD, ECHO_WRITE, ISSUE_CARD, OPEN_ACCOUNT, PASSAGE, RECHARGE, REFUND, SLEEP_WRITE};

/// A card and the account it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Card {
    pub(super) card: String,
    pub(super) account: String,
}

/// What a write is meant to do.
#[derive(Clone, Debug)]
pub(super) enum Task {
    OpenAccount,
    IssueCard {
        account: String,
        plate: String,
    },
    Recharge {
        card: Card,
        amount: i64,
    },
    /// To a card that nobody has: a business error, which is recorded like a reply.
    RechargeOfNobody,
    /// `minute` tells a passage from every other of the run; two writes may mean the same one.
    Passage {
        card: Card,
        minute: u64,
        fee: i64,
    },
    Refund {
        of: Refundable,
    },
    RefundAgain {
        serial: String,
    },
    Add {
        key: String,
        amount: i64,
    },
    Echo {
        body: Vec<u8>,
    },
    Sleep {
        ms: u64,
    },
}

/// A passage that was recorded.
#[derive(Clone, Debug)]
pub(super) struct Refundable {
    pub(super) serial: String,
    pub(super) card: Card,
    pub(super) fee: i64,
}

/// One line that an account's statement must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Movement {
    pub(super) account: String,
    pub(super) kind: &'static str,
    pub(super) serial: String,
    pub(super) amount: i64,
}

/// A counter of the diag service.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// The sum of what was acknowledged.
    pub(super) sum: i64,
    /// The values that were replied: each add changes the counter, so no value comes twice.
    values: HashSet<i64>,
}

/// Everything that was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) accounts: BTreeSet<String>,
    /// In the order of their issue, so that a draw can pick one.
    pub(super) cards: Vec<Card>,
    pub(super) movements: BTreeSet<Movement>,
    pub(super) counters: BTreeMap<String, Counter>,
    serials: HashSet<(&'static str, String)>,
    passages: BTreeMap<u64, String>,
    refundable: Vec<Refundable>,
    refunded: Vec<String>,
    names_given: u64,
}

impl Task {
    /// The service that does it.
    pub(super) fn service(&self) -> u32 {
        match self {
            Self::OpenAccount => OPEN_ACCOUNT,
            Self::IssueCard { .. } => ISSUE_CARD,
            Self::Recharge { .. } | Self::RechargeOfNobody => RECHARGE,
            Self::Passage { .. } => PASSAGE,
            Self::Refund { .. } | Self::RefundAgain { .. } => REFUND,
            Self::Add { .. } => ADD,
            Self::Echo { .. } => ECHO_WRITE,
            Self::Sleep { .. } => SLEEP_WRITE,
        }
    }

    /// The request's body.
    pub(super) fn body(&self) -> Vec<u8> {
        let body = match self {
            Self::OpenAccount => json!({"customer": "Li Na", "id_no": "110105199001011234"}),
            Self::IssueCard { account, plate } => {
                json!({"account": account, "plate": plate, "vehicle_class": 1})
            }
            Self::Recharge { card, amount } => {
                json!({"card": card.card, "amount": amount, "channel": "counter"})
            }
            Self::RechargeOfNobody => json!({"card": "C-nobody", "amount": 1, "channel": "counter"}),
            Self::Passage { card, minute, fee } => passage(card, *minute, *fee),
            Self::Refund { of } => json!({"serial": of.serial, "reason": "chaos"}),
            Self::RefundAgain { serial } => json!({"serial": serial, "reason": "again"}),
            Self::Add { key, amount } => json!({"key": key, "add": amount}),
            Self::Echo { body } => return body.clone(),
            Self::Sleep { ms } => json!({"ms": ms}),
        };
        body.to_string().into_bytes()
    }

    /// The code of the business error that is the right answer, if one is.
    pub(super) fn error_code(&self) -> Option<&'static str> {
        match self {
            Self::RechargeOfNobody => Some("card_unknown"),
            Self::RefundAgain { .. } => Some("already_refunded"),
            _ => None,
        }
    }

    /// Whether its reply is in the database, where a repeat finds it however much later it comes.
    pub(super) fn is_recorded(&self) -> bool {
        !matches!(self, Self::Echo { .. } | Self::Sleep { .. })
    }
}

/// A passage: the minute, counted from some day, makes it one of its kind.
fn passage(card: &Card, minute: u64, fee: i64) -> Value {
    let (day, hour, rest) = (minute / 1440, minute / 60 % 24, minute % 60);
    let at = format!(
        "2{:03}-{:02}-{:02}T{hour:02}:{rest:02}:00+08:00",
        day / 336,
        day / 28 % 12 + 1,
        day % 28 + 1
    );
    json!({"card": card.card, "operator": "G4", "entry": "Beijing", "exit": "Zhuozhou", "at": at, "fee": fee})
}

impl Books {
    /// What a client might want to write next.
    pub(super) fn draw(&mut self, dice: &mut Dice) -> Task {
        if self.accounts.len() < 4 || (self.accounts.len() < 300 && dice.chance(8)) {
            return Task::OpenAccount;
        }
        if self.cards.len() < 8 || (self.cards.len() < 600 && dice.chance(12)) {
            return self.draw_card(dice);
        }
        let Some(card) = dice.pick(&self.cards).cloned() else { return Task::OpenAccount };
        match dice.below(100) {
            0..20 => Task::Recharge { card, amount: 1 + dice.below(100_000) as i64 },
            20..50 => self.draw_passage(dice, card),
            50..57 => self.draw_refund(dice, card),
            57..59 => Task::RechargeOfNobody,
            59..62 => match dice.pick(&self.refunded) {
                Some(serial) => Task::RefundAgain { serial: serial.clone() },
                None => self.draw_passage(dice, card),
            },
            62..92 => Task::Add { key: format!("k{}", dice.below(20)), amount: 1 + dice.below(9) as i64 },
            92..98 => {
                let count = if dice.chance(100) { dice.below(40_000) } else { dice.below(600) };
                Task::Echo { body: dice.bytes(count) }
            }
            _ => Task::Sleep { ms: dice.between(1, 40) },
        }
    }

    fn draw_card(&mut self, dice: &mut Dice) -> Task {
        let accounts: Vec<&String> = self.accounts.iter().collect();
        let account = dice.pick(&accounts).map(|account| (*account).clone()).unwrap_or_default();
        self.names_given += 1;
        Task::IssueCard { account, plate: format!("JC{:05}", self.names_given) }
    }

    fn draw_passage(&mut self, dice: &mut Dice, card: Card) -> Task {
        self.names_given += 1;
        Task::Passage { card, minute: self.names_given, fee: dice.below(3000) as i64 }
    }

    fn draw_refund(&mut self, dice: &mut Dice, card: Card) -> Task {
        if self.refundable.is_empty() {
            return self.draw_passage(dice, card);
        }
        let at = dice.below(self.refundable.len());
        Task::Refund { of: self.refundable.swap_remove(at) }
    }

    /// Enters what the platform said was done.
    ///
    /// # Errors
    /// In words, when that cannot be: a serial that was given before, a reply without what it must have.
    pub(super) fn enter(&mut self, task: &Task, body: &[u8]) -> Result<(), String> {
        let reply = || -> Result<Value, String> {
            serde_json::from_slice(body).map_err(|error| format!("a reply to {task:?} is no JSON: {error}"))
        };
        let text = |key: &str| -> Result<String, String> {
            let found = reply()?[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            found.ok_or_else(|| {
                format!("no {key} in the reply to {task:?}: {}", String::from_utf8_lossy(body))
            })
        };
        match task {
            Task::OpenAccount => {
                let account = text("account")?;
                if !self.accounts.insert(account.clone()) {
                    return Err(format!("account {account} was given to two customers"));
                }
            }
            Task::IssueCard { account, .. } => {
                let card = text("card")?;
                if !self.serials.insert(("card", card.clone())) {
                    return Err(format!("card {card} was issued twice"));
                }
                self.cards.push(Card { card, account: account.clone() });
            }
            Task::Recharge { card, amount } => self.book(card, "recharge", text("serial")?, *amount)?,
            Task::Passage { card, minute, fee } => self.pass(card, *minute, *fee, text("serial")?)?,
            Task::Refund { of } => {
                self.book(&of.card, "refund", text("serial")?, of.fee)?;
                self.refunded.push(of.serial.clone());
            }
            Task::Add { key, amount } => {
                let value = reply()?["value"].as_i64().ok_or("no value in the reply to an add")?;
                let counter = self.counters.entry(key.clone()).or_default();
                counter.sum += amount;
                if !counter.values.insert(value) {
                    return Err(format!("counter {key} was {value} after two adds"));
                }
            }
            Task::Echo { body: sent } if sent != body => {
                return Err(format!("an echo of {} bytes came back as other bytes", sent.len()));
            }
            Task::RechargeOfNobody | Task::RefundAgain { .. } | Task::Echo { .. } | Task::Sleep { .. } => {}
        }
        Ok(())
    }

    /// Takes a task back that will never be done: what it was to use is free again.
    pub(super) fn give_up(&mut self, task: &Task) {
        if let Task::Refund { of } = task {
            self.refundable.push(of.clone());
        }
    }

    /// The sum of acknowledged adds: what a reader of the counter sees at least.
    pub(super) fn counted(&self, key: &str) -> i64 {
        self.counters.get(key).map_or(0, |counter| counter.sum)
    }

    fn pass(&mut self, card: &Card, minute: u64, fee: i64, serial: String) -> Result<(), String> {
        if let Some(first) = self.passages.get(&minute) {
            // The same passage under another id: it was deducted once and gets the first reply.
            return if *first == serial {
                Ok(())
            } else {
                Err(format!("one passage of {} got the serials {first} and {serial}", card.card))
            };
        }
        self.passages.insert(minute, serial.clone());
        self.refundable.push(Refundable { serial: serial.clone(), card: card.clone(), fee });
        self.book(card, "passage", serial, -fee)
    }

    fn book(&mut self, card: &Card, kind: &'static str, serial: String, amount: i64) -> Result<(), String> {
        if !self.serials.insert((kind, serial.clone())) {
            return Err(format!("serial {serial} of a {kind} was given twice"));
        }
        self.movements.insert(Movement { account: card.account.clone(), kind, serial, amount });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Books, Card, Task};
    use serde_json::json;

    fn body(value: serde_json::Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    fn card() -> Card {
        Card { card: "C1".to_owned(), account: "A1".to_owned() }
    }

    #[test]
    fn same_passage_twice_is_one_movement_and_another_serial_is_a_fault() {
        let mut books = Books::default();
        let task = Task::Passage { card: card(), minute: 5, fee: 30 };
        books.enter(&task, &body(json!({"balance": -30, "serial": "P1"}))).unwrap();
        books.enter(&task, &body(json!({"balance": -30, "serial": "P1"}))).unwrap();
        assert_eq!(books.movements.iter().map(|movement| movement.amount).collect::<Vec<_>>(), [-30]);
        assert!(books.enter(&task, &body(json!({"balance": -60, "serial": "P2"}))).is_err());
    }

    #[test]
    fn serial_or_counter_value_that_comes_twice_is_a_fault() {
        let mut books = Books::default();
        let recharge = Task::Recharge { card: card(), amount: 1 };
        books.enter(&recharge, &body(json!({"balance": 1, "serial": "R1"}))).unwrap();
        assert!(books.enter(&recharge, &body(json!({"balance": 2, "serial": "R1"}))).is_err());
        let add = Task::Add { key: "k".to_owned(), amount: 2 };
        books.enter(&add, &body(json!({"value": 2}))).unwrap();
        assert!(books.enter(&add, &body(json!({"value": 2}))).is_err());
    }

    #[test]
    fn passages_of_different_minutes_have_different_times() {
        let times: std::collections::BTreeSet<String> = (0..600_000)
            .step_by(7)
            .map(|minute| super::passage(&card(), minute, 1)["at"].to_string())
            .collect();
        assert_eq!(times.len(), 600_000_usize.div_ceil(7));
    }
}
