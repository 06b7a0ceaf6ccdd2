//! What an event of the loop is about, as the number that the poller hands back.

use crate::helper::Lane;

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A signal came.
    Signals,
    /// The tick.
    Timer,
    /// Somebody connects to the admin socket.
    Admin,
    /// The child in this row of the process table has ended.
    Child(u8),
    /// Something of the helper in this lane.
    Helper(Lane, HelperPart),
    /// An admin connection.
    Client(u64),
}

/// What of a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HelperPart {
    /// The process.
    End = 0,
    /// Its standard output.
    Output = 1,
    /// Its standard error.
    Error = 2,
}

const TIMER: u64 = 1;
const ADMIN: u64 = 2;
const HELPERS: u64 = 0x100;
const CHILDREN: u64 = 0x1000;
/// Clients are counted upwards from here, and no number is used twice.
const CLIENTS: u64 = 1 << 32;

impl Token {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Signals => 0,
            Self::Timer => TIMER,
            Self::Admin => ADMIN,
            Self::Child(row) => CHILDREN + u64::from(row),
            Self::Helper(lane, part) => HELPERS + (lane as u64) * 4 + part as u64,
            Self::Client(id) => CLIENTS + id,
        }
    }

    /// `None` for a number that nobody was given.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(Self::Signals),
            TIMER => Some(Self::Timer),
            ADMIN => Some(Self::Admin),
            CLIENTS.. => Some(Self::Client(bits - CLIENTS)),
            CHILDREN..0x1100 => u8::try_from(bits - CHILDREN).ok().map(Self::Child),
            HELPERS..CHILDREN => {
                let lane = Lane::ALL.into_iter().find(|lane| *lane as u64 == (bits - HELPERS) / 4)?;
                let parts = [HelperPart::End, HelperPart::Output, HelperPart::Error];
                let part = parts.into_iter().find(|part| *part as u64 == (bits - HELPERS) % 4)?;
                Some(Self::Helper(lane, part))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_and_no_two_are_alike() {
        let mut tokens = vec![Token::Signals, Token::Timer, Token::Admin, Token::Client(0), Token::Client(7)];
        tokens.extend((0..=u8::MAX).map(Token::Child));
        for lane in Lane::ALL {
            for part in [HelperPart::End, HelperPart::Output, HelperPart::Error] {
                tokens.push(Token::Helper(lane, part));
            }
        }
        let mut bits: Vec<u64> = tokens.iter().map(|token| token.bits()).collect();
        for (token, bits) in tokens.iter().zip(&bits) {
            assert_eq!(Token::from_bits(*bits), Some(*token));
        }
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(bits.len(), tokens.len());
        assert_eq!(Token::from_bits(99), None);
        assert_eq!(Token::from_bits(0x103), None);
    }
}
