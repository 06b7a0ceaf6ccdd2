//! Days of the books: the date in a request and the milliseconds that it covers.

use gantry_abi::ServiceError;
use gantry_abi::json::Body;
use jiff::civil::{Date, date};

use crate::request;

/// How far the days of the books are ahead of UTC. They are China's, which has had one time and no summer time since
/// 1991, so a day always has 86,400 seconds.
const AHEAD_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// The first day that a request may name: long before the first toll was taken without cash.
const FIRST: Date = date(1991, 9, 15);
/// The last one: its milliseconds still have a time that RFC 3339 can write.
const LAST: Date = date(9998, 12, 31);

/// A day of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(Date);

impl Day {
    /// Reads the member `date` of a request, `2026-05-01`: a day that is over.
    ///
    /// # Errors
    /// `bad_request` if it is no date, `day_not_over` if it is today or later.
    pub fn read_past(body: &Body<'_>, now_ms: i64) -> Result<Self, ServiceError> {
        let day = Self::read(body)?;
        if day.until_ms() > now_ms {
            return Err(ServiceError::business(
                "day_not_over",
                format!("{day} is not over yet (days end at 24:00, UTC+8); ask when it is"),
            ));
        }
        Ok(day)
    }

    /// Reads the member `date` of a request.
    ///
    /// # Errors
    /// `bad_request` if it is no date.
    pub fn read(body: &Body<'_>) -> Result<Self, ServiceError> {
        let text = request::free_text(body, "date")?;
        Self::parse(&text).ok_or_else(|| {
            ServiceError::bad_request("date", "the `date` is no day; write it like 2026-05-01")
        })
    }

    /// Reads `2026-05-01`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let has_shape = text.len() == 10
            && text.bytes().zip("0000-00-00".bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                _ => byte == shape,
            });
        let day = has_shape.then(|| text.parse::<Date>().ok())??;
        (FIRST..=LAST).contains(&day).then_some(Self(day))
    }

    /// The day's first millisecond since the epoch.
    #[must_use]
    pub fn from_ms(self) -> i64 {
        let days = self.0.duration_since(date(1970, 1, 1)).as_secs() / 86_400;
        days * DAY_MS - AHEAD_MS
    }

    /// The first millisecond after the day.
    #[must_use]
    pub fn until_ms(self) -> i64 {
        self.from_ms() + DAY_MS
    }
}

/// As requests write it: `2026-05-01`.
impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn day_covers_its_hours_in_china_and_no_others() {
        let day = Day::parse("2026-05-01").unwrap();
        assert_eq!(day.from_ms(), time::parse("2026-05-01T00:00:00+08:00").unwrap().ms);
        assert_eq!(day.until_ms(), time::parse("2026-05-02T00:00:00+08:00").unwrap().ms);
        assert_eq!(day.to_string(), "2026-05-01");
        assert_eq!(Day::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026-5-1",
            "20260501",
            "2026-02-30",
            "2026-13-01",
            "2026-05-01T00:00:00Z",
            "0000-00-00",
            "１",
        ] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }

    #[test]
    fn today_and_later_are_not_over() {
        let now_ms = time::parse("2026-05-02T00:00:00+08:00").unwrap().ms;
        let read = |text: &str| {
            let request = format!("{{\"date\":\"{text}\"}}");
            match Day::read_past(&Body::read(request.as_bytes()).unwrap(), now_ms) {
                Ok(day) => day.to_string(),
                Err(ServiceError::Business { code, .. }) => code.to_string(),
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(read("2026-05-01"), "2026-05-01");
        assert_eq!(read("2026-05-02"), "day_not_over");
        assert_eq!(read("2026-05-03"), "day_not_over");
        assert_eq!(read("yesterday"), "bad_request");
    }
}
