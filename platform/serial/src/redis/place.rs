//! Finds the server that has a type's list, and connects to it: one server, the master that Sentinel names, or the
//! master of the list's slot in a cluster.
//!
//! The connection is a plain one in all three forms, because what is popped counts only together with who answered.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gantry_settings::{RedisAddress, RedisForm, RedisUrl};
use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Value};

use super::ask::{ask, in_time};
use super::identity::Identity;
use super::{Trouble, read};

/// A connection to one server, and who that is.
pub(crate) struct Link {
    pub(crate) address: RedisAddress,
    pub(crate) connection: Connection,
    pub(crate) identity: Identity,
}

/// Finds the address of the server that has the list whose name begins with `base`, and so has the same slot.
pub(crate) fn find(url: &RedisUrl, base: &str, deadline: Instant) -> Result<RedisAddress, Trouble> {
    match &url.form {
        RedisForm::Single => {
            url.addresses.first().cloned().ok_or(Trouble::Answer { what: "the URL has no address" })
        }
        RedisForm::Sentinel { master } => first_answer(url, deadline, |address, deadline| {
            let mut sentinel = open(address, RedisConnectionInfo::default(), deadline)?;
            ask_sentinel(&mut sentinel, master, deadline)
        }),
        RedisForm::Cluster => first_answer(url, deadline, |address, deadline| {
            let mut member = open(address, login(url), deadline)?;
            ask_cluster(&mut member, base, &address.host, deadline)
        }),
    }
}

/// Connects to a server and asks who it is.
pub(crate) fn connect(url: &RedisUrl, address: &RedisAddress, deadline: Instant) -> Result<Link, Trouble> {
    let mut connection = open(address, login(url), deadline)?;
    let asked = redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("replication").to_owned();
    let (server, replication): (String, String) = read(ask(&mut connection, &asked, deadline)?)?;
    let identity = Identity::read(&server, &replication)?;
    Ok(Link { address: address.clone(), connection, identity })
}

/// Asks one address after the other, each with an equal share of the time that is left.
fn first_answer<T>(
    url: &RedisUrl,
    deadline: Instant,
    ask: impl Fn(&RedisAddress, Instant) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut last = Trouble::Answer { what: "the URL has no address" };
    for (index, address) in url.addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(url.addresses.len() - index).unwrap_or(1);
        match ask(address, Instant::now() + share) {
            Ok(answer) => return Ok(answer),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

fn login(url: &RedisUrl) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_db(i64::from(url.database));
    if !url.password.is_empty() {
        info = info.set_password(url.password.expose());
    }
    match &url.username {
        Some(username) => info.set_username(username),
        None => info,
    }
}

/// Opens a connection. Logging in is bounded by the deadline, or twice what is left until then.
fn open(
    address: &RedisAddress,
    login: RedisConnectionInfo,
    deadline: Instant,
) -> Result<Connection, Trouble> {
    let there = resolve(address, deadline)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let info = ConnectionAddr::Tcp(there.ip().to_string(), there.port())
        .into_connection_info()
        .map_err(Trouble::from)?
        .set_redis_settings(login.set_skip_set_lib_name());
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(tcp))?;
    in_time(client.get_connection_with_timeout(left))
}

/// Looks a host's name up, on a thread of its own: the system's resolver waits as long as it likes.
fn resolve(address: &RedisAddress, deadline: Instant) -> Result<SocketAddr, Trouble> {
    if let Ok(ip) = address.host.parse() {
        return Ok(SocketAddr::new(ip, address.port));
    }
    let (told, found) = mpsc::channel();
    let (host, port) = (address.host.clone(), address.port);
    thread::Builder::new()
        .name("serial-resolve".to_owned())
        .spawn(move || {
            // Nobody listens any more once the deadline has passed.
            let _ = told.send((host.as_str(), port).to_socket_addrs().map(|mut found| found.next()));
        })
        .map_err(redis::RedisError::from)?;
    match found.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Ok(Some(address))) => Ok(address),
        Ok(Ok(None)) => Err(Trouble::Answer { what: "its name has no address" }),
        Ok(Err(error)) => Err(redis::RedisError::from(error).into()),
        Err(_) => Err(Trouble::Answer { what: "its name was not resolved in time" }),
    }
}

fn ask_sentinel(sentinel: &mut Connection, master: &str, deadline: Instant) -> Result<RedisAddress, Trouble> {
    let asked = redis::pipe().cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).to_owned();
    let (found,): (Option<(String, u16)>,) = read(ask(sentinel, &asked, deadline)?)?;
    let (host, port) = found.ok_or(Trouble::Answer { what: "Sentinel knows no master of that name" })?;
    Ok(RedisAddress { host, port })
}

/// The member knows the slot of a name, and which master has it.
fn ask_cluster(
    member: &mut Connection,
    base: &str,
    host_asked: &str,
    deadline: Instant,
) -> Result<RedisAddress, Trouble> {
    let asked = redis::pipe().cmd("CLUSTER").arg("KEYSLOT").arg(base).cmd("CLUSTER").arg("SLOTS").to_owned();
    let (slot, map): (i64, Value) = read(ask(member, &asked, deadline)?)?;
    let ranges = redis::from_redis_value::<Vec<Vec<Value>>>(map)
        .map_err(|_| Trouble::Answer { what: "CLUSTER SLOTS is no list" })?;
    for range in ranges {
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else { continue };
        if !(*first..=*last).contains(&slot) {
            continue;
        }
        if let [host, Value::Int(port), ..] = &master[..] {
            // A member that does not know its own address says so with an empty one: it is where we asked.
            let host = match host {
                Value::BulkString(bytes) if !bytes.is_empty() => String::from_utf8_lossy(bytes).into_owned(),
                _ => host_asked.to_owned(),
            };
            let port = u16::try_from(*port)
                .map_err(|_| Trouble::Answer { what: "CLUSTER SLOTS has a port above 65535" })?;
            return Ok(RedisAddress { host, port });
        }
    }
    Err(Trouble::Answer { what: "no master has the list's slot" })
}
