//! Result codes and other plain numbers of the contract.

/// What a function of the contract answers: one of `GANTRY_OK`, `GANTRY_BUSINESS`, `GANTRY_FAILED`,
/// `GANTRY_END`, `GANTRY_PANICKED`, `GANTRY_AGAIN`. A caller treats every other number as `GANTRY_FAILED`.
pub type GantryCode = i32;

/// Done.
pub const GANTRY_OK: GantryCode = 0;
/// Only from `call`: a business error, told before by `business_error` (status 304). The
/// transaction is rolled back.
pub const GANTRY_BUSINESS: GantryCode = 1;
/// Failed. From `call`: status 306; the transaction is rolled back.
pub const GANTRY_FAILED: GantryCode = 2;
/// Only from `rows_next`: there are no more rows.
pub const GANTRY_END: GantryCode = 3;
/// Only from `create` and `call`: the service panicked and the panic was caught at the border. As
/// `GANTRY_FAILED`; besides, the platform makes a new instance before the next call.
pub const GANTRY_PANICKED: GantryCode = 4;

/// Only from `call`: what failed may succeed when all of it is run again, such as after another request
/// was faster. The transaction is rolled back and the call is made again while the caller has time; then it
/// is `GANTRY_FAILED`. Say why with `fail`. Since ABI 1.2.
pub const GANTRY_AGAIN: GantryCode = 5;

/// Level of a log record: for the author of the service.
pub const GANTRY_LOG_DEBUG: u32 = 1;
/// Level of a log record: something is not as it should be, and the request goes on.
pub const GANTRY_LOG_WARN: u32 = 2;
/// Level of a log record: something failed.
pub const GANTRY_LOG_ERROR: u32 = 3;

/// Level of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author of the service; normally off.
    Debug,
    /// Something is not as it should be, and the request goes on.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The number that crosses the border.
    pub const fn number(self) -> u32 {
        match self {
            Self::Debug => GANTRY_LOG_DEBUG,
            Self::Warn => GANTRY_LOG_WARN,
            Self::Error => GANTRY_LOG_ERROR,
        }
    }

    /// The level with this number; a number that is none counts as the most severe level.
    pub const fn from_number(number: u32) -> Self {
        match number {
            GANTRY_LOG_DEBUG => Self::Debug,
            GANTRY_LOG_WARN => Self::Warn,
            _ => Self::Error,
        }
    }
}
