//! Transfers and listeners tried on real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::bytes::SharedBytes;

#[test]
fn recv_fills_the_spans_in_order_and_leaves_the_rest_alone() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let (mut one, mut two, mut three) = ([b'.'; 3], [b'.'; 4], [b'.'; 5]);
    let spans = [&mut one[..], &mut [], &mut two[..], &mut three[..]].map(SharedBytes::from_private);
    assert_eq!(recv(&near, &spans).unwrap_err().kind(), ErrorKind::WouldBlock);
    far.write_all(b"abcdefghi").unwrap();
    assert_eq!(recv(&near, &spans).unwrap(), 9);
    assert_eq!((&one, &two, &three), (b"abc", b"defg", b"hi..."));
}

#[test]
fn recv_with_less_room_than_arrived_takes_the_rest_next_time_and_then_the_end() {
    let (mut far, near) = UnixStream::pair().unwrap();
    far.write_all(b"abcdefg").unwrap();
    drop(far);
    let mut buffer = [0_u8; 5];
    let span = SharedBytes::from_private(&mut buffer);
    assert_eq!(recv(&near, &[span]).unwrap(), 5);
    assert_eq!(span.to_vec(), b"abcde");
    assert_eq!(recv(&near, &[span]).unwrap(), 2);
    assert_eq!(span.to_vec(), b"fgcde");
    assert_eq!(recv(&near, &[span]).unwrap(), 0);
}

#[test]
fn transfer_without_bytes_is_refused_so_that_it_never_looks_like_the_end() {
    let (_far, near) = UnixStream::pair().unwrap();
    assert_eq!(recv(&near, &[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(
        recv(&near, &[SharedBytes::from_private(&mut [])]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(send(&near, &[Span::Local(b"")]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Takes bytes off the front of a list of spans, as a caller does after a partial transfer.
fn behind<'a>(spans: &[Span<'a>], mut sent: usize) -> Vec<Span<'a>> {
    let mut rest = Vec::new();
    for span in spans {
        let skipped = sent.min(span.len());
        sent -= skipped;
        rest.push(match span {
            Span::Local(bytes) => Span::Local(&bytes[skipped..]),
            Span::Shared(bytes) => Span::Shared(bytes.slice(skipped..).unwrap()),
        });
    }
    rest
}

#[test]
fn partial_sends_of_mixed_spans_arrive_whole_and_in_order() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let local: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    let mut memory: Vec<u8> = (0..900_000_u32).map(|index| (index % 241) as u8).collect();
    let expected = [&local[..], &memory[..], &local[..1000]].concat();
    let shared = SharedBytes::from_private(&mut memory);
    let mut left = vec![Span::Local(&local), Span::Shared(shared), Span::Local(&local[..1000])];
    let (mut received, mut sends, mut full) = (Vec::new(), 0, 0);
    far.set_nonblocking(true).unwrap();
    while left.iter().any(|span| !span.is_empty()) {
        match send(&near, &left) {
            Ok(count) => {
                sends += 1;
                left = behind(&left, count);
            }
            Err(cause) => {
                assert_eq!(cause.kind(), ErrorKind::WouldBlock);
                full += 1;
                let mut buffer = vec![0; 100_000];
                let count = far.read(&mut buffer).unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
        }
    }
    drop(near);
    far.set_nonblocking(false).unwrap();
    far.read_to_end(&mut received).unwrap();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
    assert!(sends > 1 && full > 0, "{sends} sends, full {full} times: nothing was partial");
}

#[test]
fn more_parts_than_one_call_takes_are_a_partial_send() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let bytes: Vec<u8> = (0..100).collect();
    let spans: Vec<Span<'_>> = bytes.chunks(1).map(Span::Local).collect();
    assert_eq!(send(&near, &spans).unwrap(), PARTS_MAX);
    assert_eq!(send(&near, &spans[PARTS_MAX..]).unwrap(), 100 - PARTS_MAX);
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert_eq!(received, bytes);
}

#[test]
fn send_into_a_closed_connection_is_an_error_and_no_signal() {
    let (far, near) = UnixStream::pair().unwrap();
    drop(far);
    assert_eq!(send(&near, &[Span::Local(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn cookie_names_the_socket_not_the_descriptor() {
    let (one, two) = UnixStream::pair().unwrap();
    let duplicate = one.try_clone().unwrap();
    assert_eq!(cookie(&one).unwrap(), cookie(&duplicate).unwrap());
    assert_ne!(cookie(&one).unwrap(), cookie(&two).unwrap());
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(cookie(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
}

#[test]
fn peer_of_a_unix_socket_is_who_connected() {
    let (one, _two) = UnixStream::pair().unwrap();
    let told = peer(&one).unwrap();
    assert_eq!(told.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!((told.uid, told.gid), (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
}

#[test]
fn shutdown_ends_the_stream_for_every_holder() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let _also_held = near.try_clone().unwrap();
    shutdown(&near, Shutdown::Write).unwrap();
    assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn tcp_listener_accepts_and_hands_its_options_on() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = match listen_tcp(address.parse().unwrap(), 16) {
            Ok(descriptor) => TcpListener::from(descriptor),
            // A machine may have no IPv6 at all; IPv4 is always there.
            Err(cause) if address.starts_with('[') => {
                assert!(
                    matches!(cause.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported),
                    "{cause}"
                );
                continue;
            }
            Err(cause) => panic!("{cause}"),
        };
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let place = listener.local_addr().unwrap();
        let refusal = listen_tcp(place, 16).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::AddrInUse);
        assert!(refusal.to_string().contains(&place.to_string()), "{refusal}");
        let _client = TcpStream::connect(place).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(SockRef::from(&accepted).out_of_band_inline().unwrap());
        set_nodelay(&accepted, true).unwrap();
        assert!(accepted.nodelay().unwrap());
        let flags = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}

#[test]
fn unix_listener_replaces_a_stale_socket_and_refuses_a_live_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gantry.sock");
    let first = listen_unix(&path, 0o600, 4).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refusal = listen_unix(&path, 0o600, 4).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::AddrInUse);
    assert!(refusal.to_string().contains("gantry.sock"), "{refusal}");
    drop(first);
    assert!(path.exists(), "closing leaves the file behind");
    let second = UnixListener::from(listen_unix(&path, 0o666, 4).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let _client = UnixStream::connect(&path).unwrap();
    second.accept().unwrap();
    assert_eq!(second.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn unix_listener_with_a_full_queue_counts_as_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let _listener = listen_unix(&path, 0o600, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert_eq!(listen_unix(&path, 0o600, 0).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn unix_listener_never_removes_what_is_not_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert_eq!(listen_unix(&path, 0o600, 4).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    let long = folder.path().join("x".repeat(120));
    assert_eq!(listen_unix(&long, 0o600, 4).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// An accepted connection and its client, as the platform has them.
fn accepted() -> (TcpStream, TcpStream) {
    let listener = TcpListener::from(listen_tcp("127.0.0.1:0".parse().unwrap(), 8).unwrap());
    listener.set_nonblocking(false).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// The positions once the kernel's counters have caught up with what the other side was told.
fn settled(socket: &TcpStream, wanted: (u64, u64)) -> Positions {
    let started = std::time::Instant::now();
    loop {
        if let Some(found) = positions(socket, 8).unwrap()
            && ((found.received, found.sent) == wanted || started.elapsed().as_secs() > 60)
        {
            return found;
        }
        std::thread::yield_now();
    }
}

#[test]
fn positions_count_what_was_taken_and_given_whatever_waits_in_the_kernel() {
    let (mut client, mut near) = accepted();
    assert_eq!(settled(&near, (0, 0)), Positions { received: 0, sent: 0, is_closed: false });
    client.write_all(&[1; 1000]).unwrap();
    near.read_exact(&mut [0; 300]).unwrap();
    near.write_all(&[2; 500]).unwrap();
    assert_eq!(settled(&near, (300, 500)).received, 300);
    client.read_exact(&mut [0; 200]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    near.read_exact(&mut [0; 700]).unwrap();
    assert_eq!(settled(&near, (1000, 500)), Positions { received: 1000, sent: 500, is_closed: false });
}

#[test]
fn positions_do_not_count_an_end_as_a_byte_and_tell_when_both_have_ended() {
    let (mut client, mut near) = accepted();
    near.write_all(&[2; 500]).unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(settled(&near, (0, 500)), Positions { received: 0, sent: 500, is_closed: false });
    client.read_exact(&mut [0; 500]).unwrap();
    assert_eq!(settled(&near, (0, 500)), Positions { received: 0, sent: 500, is_closed: false });
    drop(client);
    let started = std::time::Instant::now();
    while !positions(&near, 8).unwrap().is_some_and(|found| found.is_closed) {
        assert!(started.elapsed().as_secs() < 60, "it is over for both");
    }
}

#[test]
fn a_descriptor_of_unknown_origin_is_told_by_its_kind() {
    let (client, near) = accepted();
    assert_eq!(kind(&client).unwrap(), SocketKind::TcpStream);
    assert_eq!(kind(&near).unwrap(), SocketKind::TcpStream);
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = listen_tcp(address, 1).unwrap();
    assert!(matches!(kind(&listener).unwrap(), SocketKind::TcpListener(found) if found.port() != 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let listener = listen_unix(&path, 0o600, 1).unwrap();
    assert_eq!(kind(&listener).unwrap(), SocketKind::UnixListener(Some(path)));
    let (one, _two) = UnixStream::pair().unwrap();
    assert_eq!(kind(&one).unwrap(), SocketKind::UnixStream);
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(kind(&datagram).unwrap(), SocketKind::Other);
    assert_eq!(kind(tempfile::tempfile().unwrap()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
}

#[test]
fn sockets_with_something_to_read_are_told_from_the_others() {
    let pairs: Vec<_> = (0..5).map(|_| UnixStream::pair().unwrap()).collect();
    (&pairs[1].1).write_all(b"x").unwrap();
    pairs[3].1.shutdown(Shutdown::Both).unwrap();
    let sockets: Vec<_> = pairs.iter().map(|(near, _)| near.as_fd()).collect();
    assert_eq!(readable(&sockets).unwrap(), [false, true, false, true, false]);
    assert_eq!(readable(&[]).unwrap(), [false; 0]);
}
