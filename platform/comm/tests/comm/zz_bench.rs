
use crate::client::{frame, id};
use crate::world::*;
use std::io::{Read, Write};
use std::time::Instant;
#[test]
fn bench() {
    let world = World::new("");
    for service in [1u32, READ_ECHO, WRITE_ECHO] {
        let mut client = world.client();
        client.stream.set_nodelay(true).unwrap();
        let mut times = Vec::new();
        for index in 0..20_000u64 {
            let t = Instant::now();
            client.call(service, id(index + u64::from(service) * 1_000_000_000), &[7; 64]);
            times.push(t.elapsed());
        }
        times.sort();
        println!("{service}: p50 {:?} p99 {:?}", times[10_000], times[19_800]);
        // pipelined
        let total = 400_000u64;
        let mut writer = client.stream.try_clone().unwrap();
        let window = std::sync::Arc::new((std::sync::Mutex::new(0u64), std::sync::Condvar::new()));
        let w2 = window.clone();
        let t = Instant::now();
        let sender = std::thread::spawn(move || {
            let mut sent = 0u64;
            while sent < total {
                let done = { let mut d = w2.0.lock().unwrap(); while sent - *d > 800 { d = w2.1.wait(d).unwrap(); } *d };
                let n = (1000 - (sent - done)).min(total - sent);
                let mut bytes = Vec::with_capacity(n as usize * 128);
                for i in 0..n { bytes.extend(frame(service, id(5_000_000 + sent + i), 0, &[7; 64], false)); }
                writer.write_all(&bytes).unwrap();
                sent += n;
            }
        });
        let mut buf = vec![0u8; 1 << 16];
        let mut got = 0u64;
        while got < total * 128 {
            let n = client.stream.read(&mut buf).unwrap();
            got += n as u64;
            *window.0.lock().unwrap() = got / 128;
            window.1.notify_one();
        }
        sender.join().unwrap();
        println!("{service}: {:.0} k/s", total as f64 / t.elapsed().as_secs_f64() / 1000.0);
    }
}
