//! The admin socket: who is connected, what they sent, what they still have to read.
//!
//! Nothing here blocks and everything is bounded, so a slow or silent client costs the supervisor a few kilobytes until
//! it is closed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use gantry_sys::epoll::{Interest, Poller};
use gantry_sys::socket::{listen_unix, peer};
use gantry_sys::user::effective_uid;

use crate::SupervisorError;
use crate::limits::{ADMIN_CLIENTS_MAX, ADMIN_IDLE_MAX, ADMIN_LINE_BYTES_MAX};
use crate::protocol::{Line, Response, take_line};
use crate::time::after;
use crate::token::Token;

/// Only the owner may connect.
const SOCKET_MODE: u32 = 0o600;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The listener and its clients.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: UnixListener,
    path: PathBuf,
    clients: BTreeMap<u64, Client>,
    next_id: u64,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// Who they are, as the kernel tells.
    uid: u32,
    input: Vec<u8>,
    /// The answer, as far as it is not sent.
    output: Vec<u8>,
    sent_bytes: usize,
    /// A command of theirs is being worked on.
    is_waiting: bool,
    /// They will send no more.
    is_ended: bool,
    /// What the poller watches them for; `None` = nothing.
    interest: Option<Interest>,
    /// When something last came or went.
    active_ns: u64,
}

impl Admin {
    /// Listens at `path`, which only this user can connect to.
    pub(crate) fn listen(path: PathBuf, poller: &Poller) -> Result<Self, SupervisorError> {
        let listen = |cause| SupervisorError::Listen { cause };
        let listener = UnixListener::from(listen_unix(&path, SOCKET_MODE, BACKLOG).map_err(listen)?);
        poller
            .add(&listener, Token::Admin.bits(), Interest::READABLE)
            .map_err(|cause| SupervisorError::System { call: "epoll_ctl", cause })?;
        Ok(Self { listener, path, clients: BTreeMap::new(), next_id: 0 })
    }

    /// Accepts all who wait. Whoever is not this user or root, and whoever is one too many, is closed at once.
    pub(crate) fn accept(&mut self, poller: &Poller, now_ns: u64) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of descriptors, most likely: whoever waits is accepted when there are some again.
                    tracing::warn!(%error, "an admin connection cannot be accepted");
                    return;
                }
            };
            if let Err(reason) = self.admit(stream, poller, now_ns) {
                tracing::warn!(%reason, "an admin connection was refused");
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, poller: &Poller, now_ns: u64) -> Result<(), String> {
        let asker = peer(&stream).map_err(|error| format!("its user cannot be told: {error}"))?;
        if asker.uid != 0 && asker.uid != effective_uid() {
            return Err(format!("process {} of user {} may not command this node", asker.pid, asker.uid));
        }
        if self.clients.len() >= ADMIN_CLIENTS_MAX {
            return Err(format!("{ADMIN_CLIENTS_MAX} are connected already"));
        }
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let id = self.next_id;
        let interest = Interest::READABLE;
        poller.add(&stream, Token::Client(id).bits(), interest).map_err(|error| error.to_string())?;
        self.next_id += 1;
        let client = Client {
            stream,
            uid: asker.uid,
            input: Vec::new(),
            output: Vec::new(),
            sent_bytes: 0,
            is_waiting: false,
            is_ended: false,
            interest: Some(interest),
            active_ns: now_ns,
        };
        self.clients.insert(id, client);
        Ok(())
    }

    /// Reads from and writes to a client that is ready, and gives its next command, if there is a whole one and the
    /// one before is answered and sent.
    pub(crate) fn ready(&mut self, id: u64, poller: &Poller, now_ns: u64) -> Option<Vec<u8>> {
        let client = self.clients.get_mut(&id)?;
        client.active_ns = now_ns;
        let outcome = client.read().and_then(|()| client.write());
        let command = if outcome.is_ok() { self.next_command(id) } else { None };
        self.settle(id, poller, outcome);
        command
    }

    /// Takes the next command of a client that is not busy with one.
    fn next_command(&mut self, id: u64) -> Option<Vec<u8>> {
        let client = self.clients.get_mut(&id)?;
        if client.is_waiting || !client.output.is_empty() {
            return None;
        }
        match take_line(&mut client.input) {
            Line::Whole(line) => {
                client.is_waiting = true;
                Some(line)
            }
            Line::Part => None,
            Line::TooLong => {
                let refusal = Response::failed(format!("a command has at most {ADMIN_LINE_BYTES_MAX} bytes"));
                client.output = refusal.to_line();
                client.input.clear();
                client.is_ended = true;
                None
            }
        }
    }

    /// Who a client is, for the history; `None`: they have gone.
    pub(crate) fn asker(&self, id: u64) -> Option<String> {
        self.clients.get(&id).map(|client| format!("uid {}", client.uid))
    }

    /// Answers a client's command; nobody minds when the client is gone. Gives its next command if it sent one already.
    pub(crate) fn answer(
        &mut self,
        id: u64,
        response: &Response,
        poller: &Poller,
        now_ns: u64,
    ) -> Option<Vec<u8>> {
        let client = self.clients.get_mut(&id)?;
        client.is_waiting = false;
        client.active_ns = now_ns;
        client.output = response.to_line();
        client.sent_bytes = 0;
        let outcome = client.write();
        let command = if outcome.is_ok() { self.next_command(id) } else { None };
        self.settle(id, poller, outcome);
        command
    }

    /// Watches a client for what it still needs, or closes it when that is nothing.
    fn settle(&mut self, id: u64, poller: &Poller, outcome: io::Result<()>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let is_over = client.is_ended && !client.is_waiting && client.output.is_empty();
        if outcome.is_err() || is_over || client.watch(id, poller).is_err() {
            self.close(id, poller);
        }
    }

    fn close(&mut self, id: u64, poller: &Poller) {
        if let Some(client) = self.clients.remove(&id)
            && client.interest.is_some()
        {
            // Not watched is what is wanted.
            let _unwatched = poller.remove(&client.stream);
        }
    }

    /// Closes clients that neither ask nor read.
    pub(crate) fn close_idle(&mut self, poller: &Poller, now_ns: u64) {
        let is_idle =
            |client: &Client| !client.is_waiting && now_ns > after(client.active_ns, ADMIN_IDLE_MAX);
        let idle: Vec<u64> =
            self.clients.iter().filter(|(_, client)| is_idle(client)).map(|(id, _)| *id).collect();
        for id in idle {
            self.close(id, poller);
        }
    }

    /// Removes the socket's file, so that nobody tries to connect any more.
    pub(crate) fn remove_file(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the admin socket cannot be removed");
        }
    }
}

impl Client {
    /// Reads what there is, as long as it is bounded.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4 << 10];
        // One more byte than a line may have tells that it is too long.
        while !self.is_ended && self.input.len() <= ADMIN_LINE_BYTES_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_ended = true,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends as much of the answer as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while self.sent_bytes < self.output.len() {
            match self.stream.write(&self.output[self.sent_bytes..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent_bytes += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A long answer's memory is given back at once.
        self.output = Vec::new();
        self.sent_bytes = 0;
        Ok(())
    }

    /// Tells the poller what to wait for. A client that ended its side and waits for an answer is not watched at all,
    /// since its end would be reported again and again.
    fn watch(&mut self, id: u64, poller: &Poller) -> io::Result<()> {
        let is_full = self.input.len() > ADMIN_LINE_BYTES_MAX;
        let wanted = match (self.is_ended || is_full, self.output.is_empty()) {
            (false, true) => Some(Interest::READABLE),
            (false, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::WRITABLE),
            (true, true) => None,
        };
        let token = Token::Client(id).bits();
        match (self.interest, wanted) {
            (before, after) if before == after => {}
            (Some(_), Some(interest)) => poller.modify(&self.stream, token, interest)?,
            (None, Some(interest)) => poller.add(&self.stream, token, interest)?,
            (Some(_), None) => poller.remove(&self.stream)?,
            (None, None) => {}
        }
        self.interest = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::time::Duration;

    const WATCHDOG: Duration = Duration::from_secs(60);

    struct Rig {
        poller: Poller,
        admin: Admin,
        _folder: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let poller = Poller::new().unwrap();
            let admin = Admin::listen(folder.path().join("admin.sock"), &poller).unwrap();
            Self { poller, admin, _folder: folder }
        }

        fn connect(&mut self) -> UnixStream {
            let stream = UnixStream::connect(&self.admin.path).unwrap();
            stream.set_read_timeout(Some(WATCHDOG)).unwrap();
            stream.set_write_timeout(Some(WATCHDOG)).unwrap();
            stream
        }

        /// Turns the loop until a command came, or `is_enough`.
        fn turn(&mut self, is_enough: impl Fn(&Admin) -> bool) -> Vec<(u64, Vec<u8>)> {
            let begin = std::time::Instant::now();
            let mut commands = Vec::new();
            while commands.is_empty() && !is_enough(&self.admin) {
                assert!(begin.elapsed() < WATCHDOG, "nothing came");
                for event in self.poller.wait(Some(Duration::from_millis(20))).unwrap() {
                    match Token::from_bits(event.token) {
                        Some(Token::Admin) => self.admin.accept(&self.poller, 0),
                        Some(Token::Client(id)) => {
                            commands.extend(self.admin.ready(id, &self.poller, 0).map(|line| (id, line)));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            commands
        }
    }

    fn line_of(stream: &UnixStream) -> String {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn a_command_in_pieces_is_answered_in_a_line_and_the_next_follows() {
        let mut rig = Rig::new();
        let mut stream = rig.connect();
        stream.write_all(b"first").unwrap();
        rig.turn(|admin| admin.clients.values().any(|client| !client.input.is_empty()));
        stream.write_all(b" command\nsecond\n").unwrap();
        let commands = rig.turn(|_| false);
        assert_eq!(commands, [(0, b"first command".to_vec())]);
        let response = Response::done(serde_json::json!({"a": 1}));
        let next = rig.admin.answer(0, &response, &rig.poller, 0);
        assert_eq!(next, Some(b"second".to_vec()));
        assert_eq!(line_of(&stream), "{\"ok\":true,\"result\":{\"a\":1}}\n");
    }

    #[test]
    fn a_client_that_closes_its_side_still_gets_its_answer() {
        let mut rig = Rig::new();
        let mut stream = rig.connect();
        stream.write_all(b"status\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let commands = rig.turn(|_| false);
        assert_eq!(commands.len(), 1);
        // Its end must not be reported for ever while it waits.
        rig.turn(|admin| admin.clients[&0].interest.is_none());
        assert!(rig.poller.wait(Some(Duration::from_millis(1))).unwrap().is_empty());
        rig.admin.answer(0, &Response::failed("no"), &rig.poller, 0);
        assert_eq!(line_of(&stream), "{\"ok\":false,\"error\":\"no\"}\n");
        assert!(rig.admin.clients.is_empty());
    }

    #[test]
    fn an_endless_line_is_refused_and_closed() {
        let mut rig = Rig::new();
        let stream = rig.connect();
        let mut writer = stream.try_clone().unwrap();
        let writing =
            std::thread::spawn(move || drop(writer.write_all(&vec![b'x'; ADMIN_LINE_BYTES_MAX * 4])));
        rig.turn(|admin| admin.next_id == 1);
        assert!(rig.turn(|admin| admin.clients.is_empty()).is_empty());
        assert!(line_of(&stream).contains("at most 65536 bytes"));
        writing.join().unwrap();
    }

    #[test]
    fn a_client_that_never_reads_blocks_nobody_and_is_closed_in_the_end() {
        let mut rig = Rig::new();
        let mut stream = rig.connect();
        stream.write_all(b"list\n").unwrap();
        rig.turn(|_| false);
        let long = Response::done(serde_json::Value::from("x".repeat(8 << 20)));
        assert!(rig.admin.answer(0, &long, &rig.poller, 5).is_none());
        assert!(!rig.admin.clients[&0].output.is_empty());
        rig.admin.close_idle(&rig.poller, after(5, ADMIN_IDLE_MAX));
        assert_eq!(rig.admin.clients.len(), 1);
        rig.admin.close_idle(&rig.poller, after(6, ADMIN_IDLE_MAX));
        assert!(rig.admin.clients.is_empty());
    }

    #[test]
    fn one_client_too_many_is_closed_and_the_others_stay() {
        let mut rig = Rig::new();
        let streams: Vec<UnixStream> = (0..=ADMIN_CLIENTS_MAX)
            .map(|count| {
                let stream = rig.connect();
                rig.turn(|admin| admin.clients.len() > count || admin.clients.len() == ADMIN_CLIENTS_MAX);
                stream
            })
            .collect();
        rig.admin.accept(&rig.poller, 0);
        assert_eq!(rig.admin.clients.len(), ADMIN_CLIENTS_MAX);
        assert_eq!(line_of(&streams[ADMIN_CLIENTS_MAX]), "");
    }
}
