//! What is written, account by account.

use crate::random::Random;
use crate::rows::{ACCOUNT, CARD, CLAIM, ENTRY, LISTING, MOVEMENT, PASSAGE, REFUND, Rows, TAG};

/// The share of all passages that the first account has, as a divisor, and their number at most.
const HAULIER_SHARE: u64 = 64;
const HAULIER_PASSAGES_MAX: u64 = 80_000;
/// One passage in so many is refunded.
const REFUNDED_ONE_IN: u64 = 100;
/// One account in so many has paid in too little.
const OVERDRAWN_ONE_IN: u64 = 50;

const OPERATORS: [&str; 12] = ["G1", "G2", "G3", "G4", "G5", "G6", "G15", "G18", "G20", "G25", "S12", "S50"];
const PLAZAS: [&str; 16] = [
    "北京",
    "涿州",
    "保定",
    "石家庄",
    "天津",
    "济南",
    "徐州",
    "南京",
    "上海",
    "杭州",
    "武汉",
    "长沙",
    "广州",
    "深圳",
    "成都",
    "西安",
];
const FAMILY_NAMES: [&str; 12] = ["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙"];
const GIVEN_NAMES: [&str; 16] =
    ["伟", "芳", "娜", "秀英", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "建国"];
const CHANNELS: [&str; 4] = ["app", "counter", "bank", "wechat"];

/// What to write. The rows depend on nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Accounts, each with a card and a tag.
    pub accounts: u64,
    /// Passages over all accounts.
    pub passages: u64,
    /// The number of the first account, from 1; a plan that adds to another goes on behind it.
    pub first: u64,
    /// Other rows for another seed.
    pub seed: u64,
    /// The first millisecond since the epoch at which there may be a passage.
    pub from_ms: i64,
    /// The first one after the last passage; later than `from_ms`.
    pub until_ms: i64,
}

impl Plan {
    /// Adds all rows of an account; `index` counts from 0 to below [`accounts`](Self::accounts).
    pub fn account(&self, index: u64, rows: &mut Rows) {
        let mut story = Story::new(self, index);
        story.open(rows);
        let fees = story.fees(self.passages_of(index));
        story.recharge(rows, &fees);
        let count = i64::try_from(fees.len()).unwrap_or(i64::MAX);
        let mut before_ms = self.from_ms - 1;
        for (place, fee) in (0_i64..).zip(fees) {
            // One in each of as many equal parts of the time, so they come in order without sorting.
            let part = (self.until_ms - self.from_ms) / count.max(1);
            let within = story.random.signed_below(part.max(1));
            let passed_ms = (self.from_ms + place * part + within).max(before_ms + 1);
            before_ms = passed_ms;
            story.pass(rows, place, passed_ms, fee);
        }
        story.close(rows);
    }

    /// How many passages an account has; all of them add up to the plan's.
    fn passages_of(&self, index: u64) -> u64 {
        let others = self.accounts.saturating_sub(1);
        if others == 0 {
            return self.passages;
        }
        let haulier = (self.passages / HAULIER_SHARE).min(HAULIER_PASSAGES_MAX);
        let (each, odd) = ((self.passages - haulier) / others, (self.passages - haulier) % others);
        if index == 0 {
            return haulier;
        }
        let place = index - 1;
        let even = each + u64::from(place < odd);
        // Neighbours share what they have, one more and one less.
        let pair = place / 2;
        if pair * 2 + 1 >= others || each == 0 {
            return even;
        }
        let moved = Random::of(self.seed, pair + (1 << 40)).below(each + 1);
        if place.is_multiple_of(2) { even + moved } else { even - moved }
    }
}

/// An account while its rows are made.
struct Story {
    random: Random,
    number: u64,
    account: String,
    card: String,
    opened_ms: i64,
    balance_fen: i64,
    movement_no: i64,
    last_ms: i64,
    customer: String,
    id_no: String,
}

impl Story {
    fn new(plan: &Plan, index: u64) -> Self {
        let number = plan.first + index;
        let mut random = Random::of(plan.seed, number);
        let customer = format!("{}{}", random.pick(&FAMILY_NAMES), random.pick(&GIVEN_NAMES));
        let id_no = format!("110105{:08}{:04}", 19_500_101 + random.below(500_000), random.below(10_000));
        let opened_ms = plan.from_ms - 86_400_000;
        Self {
            random,
            number,
            account: format!("SA{number:011}"),
            card: format!("SC{number:011}"),
            opened_ms,
            balance_fen: 0,
            movement_no: 0,
            last_ms: opened_ms,
            customer,
            id_no,
        }
    }

    /// Card, tag and what they claim.
    fn open(&mut self, rows: &mut Rows) {
        let (number, card) = (self.number, self.card.as_str());
        let (plate, obu) = (format!("京S{number:08}"), format!("SO{number:011}"));
        let class = self.random.signed_below(6) + 1;
        let account = self.account.as_str();
        rows.push(
            CARD,
            [
                card.into(),
                account.into(),
                plate.as_str().into(),
                class.into(),
                "active".into(),
                self.opened_ms.into(),
            ],
        );
        rows.push(CLAIM, ["plate".into(), plate.into(), card.into()]);
        rows.push(CLAIM, ["obu".into(), obu.as_str().into(), card.into()]);
        rows.push(TAG, [format!("ST{number:011}").into(), card.into(), obu.into(), self.opened_ms.into()]);
    }

    fn fees(&mut self, count: u64) -> Vec<i64> {
        (0..count).map(|_| 100 + 50 * self.random.signed_below(200)).collect()
    }

    /// Pays in what the passages will cost and something more, or for some accounts too little.
    fn recharge(&mut self, rows: &mut Rows, fees: &[i64]) {
        let total: i64 = fees.iter().sum();
        let is_short = total > 1_000 && self.random.below(OVERDRAWN_ONE_IN) == 0;
        let amount = if is_short { total / 2 } else { total + 100 * (1 + self.random.signed_below(500)) };
        let serial = format!("SR{:011}", self.number);
        let channel = format!("cash:{}", self.random.pick(&CHANNELS));
        self.move_money(rows, "recharge", serial, amount, channel, self.opened_ms);
    }

    fn pass(&mut self, rows: &mut Rows, place: i64, passed_ms: i64, fee: i64) {
        let operator = self.random.pick(&OPERATORS);
        let serial = format!("SP{:011}{place:06}", self.number);
        let counterpart = format!("operator:{operator}");
        self.move_money(rows, "passage", serial.clone(), -fee, counterpart.clone(), passed_ms);
        rows.push(
            PASSAGE,
            [
                serial.as_str().into(),
                self.card.as_str().into(),
                self.account.as_str().into(),
                operator.into(),
                self.random.pick(&PLAZAS).into(),
                self.random.pick(&PLAZAS).into(),
                passed_ms.into(),
                0.into(),
                fee.into(),
                self.balance_fen.into(),
                self.movement_no.into(),
            ],
        );
        if self.random.below(REFUNDED_ONE_IN) == 0 {
            let refund = format!("SF{:011}{place:06}", self.number);
            self.move_money(rows, "refund", refund.clone(), fee, counterpart, passed_ms);
            rows.push(REFUND, [serial.into(), refund.into(), "charged twice".into(), passed_ms.into()]);
        }
    }

    /// Books a movement with both its sides; debit is side 1.
    fn move_money(
        &mut self,
        rows: &mut Rows,
        kind: &str,
        serial: String,
        change: i64,
        counterpart: String,
        booked_ms: i64,
    ) {
        self.balance_fen += change;
        self.movement_no += 1;
        self.last_ms = booked_ms;
        let (no, account) = (self.movement_no, self.account.as_str());
        rows.push(
            MOVEMENT,
            [
                account.into(),
                no.into(),
                kind.into(),
                serial.into(),
                self.card.as_str().into(),
                change.into(),
                self.balance_fen.into(),
                booked_ms.into(),
            ],
        );
        let customer = format!("customer:{account}");
        let (debit, credit) = if change < 0 { (customer, counterpart) } else { (counterpart, customer) };
        for (side, name) in [(1, debit), (2, credit)] {
            rows.push(ENTRY, [account.into(), no.into(), side.into(), name.into(), change.abs().into()]);
        }
    }

    /// The account itself, now that its balance is known, and its place on the blacklist.
    fn close(self, rows: &mut Rows) {
        let account = self.account;
        if self.balance_fen < 0 {
            let card = self.card.as_str();
            rows.push(
                LISTING,
                [
                    card.into(),
                    account.as_str().into(),
                    1.into(),
                    0.into(),
                    "overdrawn".into(),
                    self.last_ms.into(),
                ],
            );
        }
        rows.push(
            ACCOUNT,
            [
                account.into(),
                self.customer.into(),
                self.id_no.into(),
                self.balance_fen.into(),
                self.movement_no.into(),
                self.opened_ms.into(),
            ],
        );
    }
}
