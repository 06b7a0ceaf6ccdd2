//! The kinds that only one or two keys have: names, paths, addresses, blocks, formats.

use crate::kind::{
    Kind, Wrong, Wrongs, each, integer, list, out_of_range, shown, text, unreadable, wrong_type,
};
use crate::quantity::{parse_size, size_text};
use crate::{BlockClass, FaultKind, Secret, SerialFormat, limits};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A name of `a-z 0-9 _ -`.
pub(crate) struct Name {
    pub(crate) bytes_max: usize,
}

impl Kind for Name {
    type Value = String;

    fn form(&self) -> String {
        "a name in quotes".to_owned()
    }

    fn range(&self) -> String {
        format!("1 to {} of a-z 0-9 _ -", self.bytes_max)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Wrongs> {
        let name = text(value)?;
        let good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > self.bytes_max || !name.bytes().all(good) {
            return Err(unreadable(value, "is no name"));
        }
        Ok(name.to_owned())
    }
}

/// A path, absolute or relative.
pub(crate) struct PathText;

impl Kind for PathText {
    type Value = String;

    fn form(&self) -> String {
        "a path in quotes".to_owned()
    }

    fn range(&self) -> String {
        "an absolute or relative path".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Wrongs> {
        let path = text(value)?;
        if path.is_empty() || path.contains('\0') {
            return Err(unreadable(value, "is no path"));
        }
        Ok(path.to_owned())
    }
}

/// Paths of Unix sockets.
pub(crate) struct Paths;

impl Kind for Paths {
    type Value = Vec<String>;

    fn form(&self) -> String {
        "a list of paths".to_owned()
    }

    fn range(&self) -> String {
        let paths = limits::LISTENERS_MAX;
        format!("0 to {paths} paths, each of at most {} bytes once absolute", limits::SOCKET_PATH_BYTES_MAX)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrongs> {
        let items = list(value, limits::LISTENERS_MAX)?;
        distinct(items)?;
        each(items, |item| PathText.read(item))
    }
}

/// Addresses to listen on.
pub(crate) struct Addresses;

impl Kind for Addresses {
    type Value = Vec<SocketAddr>;

    fn form(&self) -> String {
        "a list of addresses".to_owned()
    }

    fn range(&self) -> String {
        format!("0 to {} of \"ADDRESS:PORT\"", limits::LISTENERS_MAX)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<SocketAddr>, Wrongs> {
        let items = list(value, limits::LISTENERS_MAX)?;
        distinct(items)?;
        each(items, address)
    }
}

fn address(item: &Spanned<DeValue<'_>>) -> Result<SocketAddr, Wrongs> {
    let remedy = "write a number and a port, such as \"127.0.0.1:7800\", \"0.0.0.0:7800\" or \"[::]:7800\"";
    text(item)?.parse().map_err(|_| {
        let problem = format!("{} is no address and port (names are not looked up)", shown(item));
        vec![Wrong::new(item, FaultKind::Type, problem).remedy(remedy)]
    })
}

/// The same text twice in a list is a mistake of copying. Port 0 may be repeated: it is another port each time.
fn distinct(items: &[Spanned<DeValue<'_>>]) -> Result<(), Wrongs> {
    let twice = items.iter().enumerate().find(|(index, item)| {
        let text = item.get_ref().as_str();
        let earlier = items.iter().take(*index).any(|other| other.get_ref().as_str() == text);
        earlier && text.is_some_and(|text| !text.ends_with(":0"))
    });
    match twice {
        None => Ok(()),
        Some((_, item)) => {
            let problem = format!("{} is there twice", shown(item));
            Err(vec![Wrong::new(item, FaultKind::Conflict, problem).remedy("take one away")])
        }
    }
}

/// A list that must be empty, because what it would switch on is not built yet.
pub(crate) struct NotYetList {
    pub(crate) what: &'static str,
}

impl Kind for NotYetList {
    type Value = Vec<SocketAddr>;

    fn form(&self) -> String {
        "an empty list".to_owned()
    }

    fn range(&self) -> String {
        "only [] in this version".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<SocketAddr>, Wrongs> {
        match list(value, limits::LISTENERS_MAX)? {
            [] => Ok(Vec::new()),
            [_, ..] => Err(not_yet(value, self.what)),
        }
    }
}

/// A text that must be empty, because what it would switch on is not built yet.
pub(crate) struct NotYetText {
    pub(crate) what: &'static str,
}

impl Kind for NotYetText {
    type Value = Secret;

    fn form(&self) -> String {
        "an empty text".to_owned()
    }

    fn range(&self) -> String {
        "only \"\" in this version".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Secret, Wrongs> {
        if text(value)?.is_empty() { Ok(Secret::default()) } else { Err(not_yet(value, self.what)) }
    }
}

/// The value is not repeated: it may hold a password.
fn not_yet(value: &Spanned<DeValue<'_>>, what: &str) -> Wrongs {
    let problem = format!("{what} not available in this version");
    vec![Wrong::new(value, FaultKind::Unavailable, problem).remedy("leave the key out or its value empty")]
}

/// A connection string or URL, not empty.
pub(crate) struct Hidden {
    pub(crate) example: &'static str,
}

impl Kind for Hidden {
    type Value = Secret;

    fn form(&self) -> String {
        "a text in quotes".to_owned()
    }

    fn range(&self) -> String {
        self.example.to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Secret, Wrongs> {
        let secret = text(value)?;
        if secret.is_empty() { Err(unreadable(value, "is empty")) } else { Ok(Secret::new(secret)) }
    }
}

/// Names or files of service libraries.
pub(crate) struct Libraries;

impl Kind for Libraries {
    type Value = Vec<String>;

    fn form(&self) -> String {
        "a list of names or files".to_owned()
    }

    fn range(&self) -> String {
        format!("0 to {} names such as \"gantry_card\", or paths of .so files", limits::LIBRARIES_MAX)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrongs> {
        let items = list(value, limits::LIBRARIES_MAX)?;
        distinct(items)?;
        each(items, library)
    }
}

/// Public keys of those who sign libraries.
pub(crate) struct Signers;

impl Kind for Signers {
    type Value = Vec<String>;

    fn form(&self) -> String {
        "a list of public keys".to_owned()
    }

    fn range(&self) -> String {
        format!("0 to {} keys as `gantry key show` prints them, \"ed25519:...\"", limits::SIGNERS_MAX)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrongs> {
        let items = list(value, limits::SIGNERS_MAX)?;
        distinct(items)?;
        each(items, signer)
    }
}

fn signer(item: &Spanned<DeValue<'_>>) -> Result<String, Wrongs> {
    let key = text(item)?;
    let digits = key.strip_prefix("ed25519:").unwrap_or_default();
    if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(key.to_ascii_lowercase());
    }
    let remedy = "write ed25519: and 64 hexadecimal digits, as `gantry key show` prints it";
    Err(unreadable(item, &format!("is no public key; {remedy}")))
}

/// Whether an entry of `service.libraries` names a file rather than a bare library.
pub(crate) fn is_library_file(entry: &str) -> bool {
    entry.contains('/') || entry.ends_with(".so")
}

fn library(item: &Spanned<DeValue<'_>>) -> Result<String, Wrongs> {
    let entry = text(item)?;
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte);
    let good = if is_library_file(entry) {
        !entry.contains('\0')
    } else {
        !entry.is_empty() && entry.bytes().all(bare)
    };
    if good {
        return Ok(entry.to_owned());
    }
    let remedy = "write X for libX.so beside the executable or in /usr/lib/gantry, or the path of a .so file";
    let problem = format!("{} is no library", shown(item));
    Err(vec![Wrong::new(item, FaultKind::Type, problem).remedy(remedy)])
}

/// Permission bits of a socket.
pub(crate) struct Mode;

impl Kind for Mode {
    type Value = u32;

    fn form(&self) -> String {
        "permission bits in octal".to_owned()
    }

    fn range(&self) -> String {
        "0o600 to 0o777, with read and write for the owner".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u32, Wrongs> {
        match u32::try_from(integer(value)?) {
            Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(mode),
            Ok(_) | Err(_) => Err(out_of_range(value)),
        }
    }
}

/// The key of the first System V segment.
pub(crate) struct IpcKey;

impl IpcKey {
    /// 0 is `IPC_PRIVATE`; the last keys are left for the segments that follow the first.
    const RANGE: RangeInclusive<i32> = 1..=0x7fff_ff00;
}

impl Kind for IpcKey {
    type Value = i32;

    fn form(&self) -> String {
        "a whole number".to_owned()
    }

    fn range(&self) -> String {
        "0x1 to 0x7fffff00".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<i32, Wrongs> {
        match i32::try_from(integer(value)?) {
            Ok(key) if Self::RANGE.contains(&key) => Ok(key),
            Ok(_) | Err(_) => Err(out_of_range(value)),
        }
    }
}

/// How a serial number is written.
pub(crate) struct Format;

impl Kind for Format {
    type Value = SerialFormat;

    fn form(&self) -> String {
        "a format in quotes".to_owned()
    }

    fn range(&self) -> String {
        "literal text, {date} and one {seq:N} with N from 1 to 18".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<SerialFormat, Wrongs> {
        let format = text(value)?;
        SerialFormat::parse(format).map_err(|cause| unreadable(value, &format!("is no format: {cause}")))
    }
}

/// The size classes of blocks.
pub(crate) struct Blocks;

impl Blocks {
    const SIZES: RangeInclusive<u64> = 1 << 10..=1 << 30;
    const COUNTS: RangeInclusive<i64> = 1..=1 << 20;
}

impl Kind for Blocks {
    type Value = Vec<BlockClass>;

    fn form(&self) -> String {
        "a list of classes".to_owned()
    }

    fn range(&self) -> String {
        format!(
            "1 to {} classes, ascending; size {} to {}, a power of two; count {} to {}",
            limits::BLOCK_CLASSES_MAX,
            size_text(*Self::SIZES.start()),
            size_text(*Self::SIZES.end()),
            Self::COUNTS.start(),
            Self::COUNTS.end()
        )
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<BlockClass>, Wrongs> {
        let items = list(value, limits::BLOCK_CLASSES_MAX)?;
        let classes = each(items, block_class)?;
        if classes.is_empty() {
            return Err(unreadable(value, "is empty: no request could be held"));
        }
        let misplaced = classes.windows(2).position(|pair| matches!(pair, [a, b] if b.size <= a.size));
        if let Some(item) = misplaced.and_then(|index| items.get(index + 1)) {
            let problem = "its blocks are not larger than those of the class before".to_owned();
            return Err(vec![
                Wrong::new(item, FaultKind::Conflict, problem)
                    .remedy("order the classes by size, each size once"),
            ]);
        }
        let bytes =
            classes.iter().map(|class| u128::from(class.size) * u128::from(class.count)).sum::<u128>();
        if bytes > u128::from(limits::BLOCKS_BYTES_MAX) {
            let problem = format!("all blocks together have {} MiB", bytes >> 20);
            let remedy =
                format!("write fewer or smaller ones, {} at the most", size_text(limits::BLOCKS_BYTES_MAX));
            return Err(vec![Wrong::new(value, FaultKind::Range, problem).remedy(remedy)]);
        }
        Ok(classes)
    }
}

fn block_class(item: &Spanned<DeValue<'_>>) -> Result<BlockClass, Wrongs> {
    let Some(table) = item.get_ref().as_table() else {
        return Err(wrong_type(item, "a class"));
    };
    let mut wrongs: Wrongs = table
        .keys()
        .filter(|key| !["size", "count"].contains(&key.get_ref().as_ref()))
        .map(|key| Wrong {
            span: key.span(),
            kind: FaultKind::Unknown,
            problem: format!("a class has no \"{}\"", key.get_ref()),
            remedy: Some("write { size = \"4KiB\", count = 4096 }".to_owned()),
        })
        .collect();
    let size = member(item, table, "size", block_size).map_err(|more| wrongs.extend(more));
    let count = member(item, table, "count", block_count).map_err(|more| wrongs.extend(more));
    match (size, count) {
        (Ok(size), Ok(count)) if wrongs.is_empty() => Ok(BlockClass { size, count }),
        _ => Err(wrongs),
    }
}

fn member<'t, T>(
    item: &Spanned<DeValue<'t>>,
    table: &DeTable<'t>,
    name: &str,
    read: impl Fn(&Spanned<DeValue<'t>>) -> Result<T, Wrongs>,
) -> Result<T, Wrongs> {
    match table.get(name) {
        Some(value) => read(value),
        None => Err(vec![
            Wrong::new(item, FaultKind::Type, format!("the class has no {name}"))
                .remedy("write { size = \"4KiB\", count = 4096 }"),
        ]),
    }
}

fn block_size(value: &Spanned<DeValue<'_>>) -> Result<u64, Wrongs> {
    let size = match value.get_ref() {
        DeValue::String(text) => parse_size(text),
        _ => u64::try_from(integer(value)?).ok(),
    };
    match size {
        Some(size) if Blocks::SIZES.contains(&size) && size.is_power_of_two() => Ok(size),
        Some(_) => Err(out_of_range(value)),
        None => Err(unreadable(value, "is no size")),
    }
}

fn block_count(value: &Spanned<DeValue<'_>>) -> Result<u32, Wrongs> {
    let count = integer(value)?;
    match u32::try_from(count) {
        Ok(number) if Blocks::COUNTS.contains(&count) => Ok(number),
        Ok(_) | Err(_) => Err(out_of_range(value)),
    }
}
