//! URLs of Redis servers: one, several behind Sentinel, a cluster.

use crate::kind::{Kind, Wrong, Wrongs, text as text_of};
use crate::{FaultKind, Secret};
use std::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// Addresses in one URL.
pub const REDIS_ADDRESSES_MAX: usize = 16;

/// Where a Redis is.
///
/// ```
/// use gantry_settings::{RedisForm, RedisUrl};
///
/// let url = RedisUrl::parse("redis+sentinel://:secret@10.0.0.1,10.0.0.2:26380/toll").unwrap();
/// assert_eq!(url.addresses[1].to_string(), "10.0.0.2:26380");
/// assert_eq!(url.form, RedisForm::Sentinel { master: "toll".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Which of the three forms it has.
    pub form: RedisForm,
    /// The server; the Sentinels; or those members of the cluster that are asked for the others. 1 to
    /// [`REDIS_ADDRESSES_MAX`].
    pub addresses: Vec<RedisAddress>,
    /// Who we are, if the servers ask for more than a password. Sentinels are asked without either.
    pub username: Option<String>,
    /// The password; empty = none.
    pub password: Secret,
    /// The database's number, 0 in a cluster.
    pub database: u32,
}

/// The three forms of a [`RedisUrl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisForm {
    /// `redis://host:port/database`: one server, or an address that moves between servers.
    Single,
    /// `redis+sentinel://host:port,host:port/master/database`.
    Sentinel {
        /// The name under which the Sentinels know the master.
        master: String,
    },
    /// `redis+cluster://host:port,host:port`.
    Cluster,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no [`RedisUrl`]. It never repeats the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisUrlError {
    /// It begins with none of the three forms.
    #[error("it begins with none of redis://, redis+sentinel:// and redis+cluster://")]
    Scheme,
    /// It asks for TLS.
    #[error(
        "rediss:// asks for TLS, which is not supported; write redis:// and keep the way to it private \
         (a network of its own, or a tunnel such as stunnel on this machine)"
    )]
    Tls,
    /// No address, or too many.
    #[error("it has {count} addresses; {rule}")]
    Addresses {
        /// How many it has.
        count: usize,
        /// How many there may be.
        rule: &'static str,
    },
    /// An address that cannot be read.
    #[error("address {number} of it is no host:port (an IPv6 address stands in brackets)")]
    Address {
        /// Which one, from 1.
        number: usize,
    },
    /// A percent sign that is not followed by two hexadecimal digits, or what they give is no UTF-8.
    #[error("its user or password has a % that is no escape; write %25 for the sign itself")]
    Escape,
    /// What follows the addresses.
    #[error("what follows its addresses is wrong: {rule}")]
    Path {
        /// What may stand there.
        rule: &'static str,
    },
}

const ONE_ADDRESS: &str = "redis:// has one";
const SOME_ADDRESSES: &str = "1 to 16 with a comma between them are allowed";
const SINGLE_PATH: &str = "a database's number may stand there, as in redis://host:6379/0";
const SENTINEL_PATH: &str = "the master's name stands there, as in redis+sentinel://host:26379/master";
const CLUSTER_PATH: &str = "nothing stands there; a cluster has the database 0 only";

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`RedisUrlError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::Scheme)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(l, h)| (Some(l), h));
        let (form, database, port) = match scheme {
            "redis" => (RedisForm::Single, number(path, SINGLE_PATH)?, 6379),
            "redis+sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let is_name = !master.is_empty() && master.bytes().all(|byte| byte.is_ascii_graphic());
                if !is_name {
                    return Err(RedisUrlError::Path { rule: SENTINEL_PATH });
                }
                (RedisForm::Sentinel { master: master.to_owned() }, number(database, SINGLE_PATH)?, 26379)
            }
            "redis+cluster" if path.is_empty() => (RedisForm::Cluster, 0, 6379),
            "redis+cluster" => return Err(RedisUrlError::Path { rule: CLUSTER_PATH }),
            "rediss" | "rediss+sentinel" | "rediss+cluster" => return Err(RedisUrlError::Tls),
            _ => return Err(RedisUrlError::Scheme),
        };
        let addresses = (1..)
            .zip(hosts.split(','))
            .map(|(number, text)| address(text, port).ok_or(RedisUrlError::Address { number }))
            .collect::<Result<Vec<_>, _>>()?;
        let count = addresses.len();
        if form == RedisForm::Single && count != 1 {
            return Err(RedisUrlError::Addresses { count, rule: ONE_ADDRESS });
        }
        if count > REDIS_ADDRESSES_MAX {
            return Err(RedisUrlError::Addresses { count, rule: SOME_ADDRESSES });
        }
        let (username, password) = login.map_or(Ok((None, Secret::default())), read_login)?;
        Ok(Self { form, addresses, username, password, database })
    }
}

fn read_login(login: &str) -> Result<(Option<String>, Secret), RedisUrlError> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let user = unescape(user)?;
    Ok(((!user.is_empty()).then_some(user), Secret::new(unescape(password)?)))
}

fn number(text: &str, rule: &'static str) -> Result<u32, RedisUrlError> {
    match text {
        "" => Ok(0),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().map_err(|_| RedisUrlError::Path { rule })
        }
        _ => Err(RedisUrlError::Path { rule }),
    }
}

fn address(text: &str, port_default: u16) -> Option<RedisAddress> {
    let (host, port) = if let Some(inside) = text.strip_prefix('[') {
        let (host, after) = inside.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, port)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let port = match port {
        None => port_default,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
    };
    if host.is_empty() || port == 0 || !host.bytes().all(is_host) {
        return None;
    }
    Some(RedisAddress { host: host.to_owned(), port })
}

fn unescape(text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(RedisUrlError::Escape);
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| RedisUrlError::Escape)
}

/// The URL of a Redis, or an empty text for none.
pub(crate) struct Redis;

impl Kind for Redis {
    type Value = Secret;

    fn form(&self) -> String {
        "a URL in quotes".to_owned()
    }

    fn range(&self) -> String {
        "\"\" for none, \"redis://host:port\", \"redis+sentinel://host:port,host:port/master\" or \
         \"redis+cluster://host:port,host:port\""
            .to_owned()
    }

    /// What is wrong is said without repeating the value: it may hold a password.
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Secret, Wrongs> {
        let text = text_of(value)?;
        if text.is_empty() {
            return Ok(Secret::default());
        }
        match RedisUrl::parse(text) {
            Ok(_) => Ok(Secret::new(text)),
            Err(cause) => {
                let problem = format!("the value is no URL of a Redis that can be used: {cause}");
                Err(vec![Wrong::new(value, FaultKind::Type, problem)])
            }
        }
    }
}
