//! Network, clock, randomness and tasks: what the real machine and the simulated one have in common.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use millrace_env::sim::Sim;
use millrace_env::{Env, OpenMode, RngExt, real};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn each() -> [(&'static str, Env); 2] {
    [("real", real::env()), ("simulated", Sim::new(3).env())]
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn bytes_go_both_ways_and_addresses_agree() {
    for (name, env) in each() {
        let listener = env.net.listen(any_port()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        assert_ne!(addr.port(), 0, "{name}");
        let mut dialed = env.net.dial(addr).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        assert_eq!(dialed.local_addr().unwrap(), accepted.peer_addr().unwrap(), "{name}");
        assert_eq!(dialed.peer_addr().unwrap(), addr, "{name}");
        assert_eq!(accepted.local_addr().unwrap(), addr, "{name}");
        dialed.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        accepted.read_exact(&mut buffer).await.unwrap();
        accepted.write_all(b"pong").await.unwrap();
        dialed.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"pong", "{name}");
    }
}

#[tokio::test]
async fn the_end_of_one_side_is_the_end_of_file_of_the_other() {
    for (name, env) in each() {
        let listener = env.net.listen(any_port()).await.unwrap();
        let dialed = env.net.dial(listener.local_addr().unwrap()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        drop(dialed);
        assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_half_closed_connection_still_answers() {
    for (name, env) in each() {
        let listener = env.net.listen(any_port()).await.unwrap();
        let mut dialed = env.net.dial(listener.local_addr().unwrap()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        dialed.shutdown().await.unwrap();
        assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0, "{name}");
        accepted.write_all(b"late").await.unwrap();
        drop(accepted);
        let mut rest = Vec::new();
        dialed.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"late", "{name}");
    }
}

#[tokio::test]
async fn nobody_answers_on_a_port_that_was_let_go_and_it_can_be_taken_again() {
    for (name, env) in each() {
        // An address of its own: no other test picks its ports.
        let listener = env.net.listen(SocketAddr::from(([127, 0, 0, 77], 0))).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let taken = env.net.listen(addr).await;
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse, "{name}");
        drop(listener);
        let refused = env.net.dial(addr).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused, "{name}");
        env.net.listen(addr).await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_on_all_addresses_is_reached_by_one_of_them() {
    for (name, env) in each() {
        let listener = env.net.listen(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialed = env.net.dial(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), dialed.local_addr().unwrap(), "{name}");
    }
}

#[tokio::test]
async fn a_writer_waits_for_a_reader_that_does_not_read() {
    for (name, env) in each() {
        let listener = env.net.listen(any_port()).await.unwrap();
        let mut dialed = env.net.dial(listener.local_addr().unwrap()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        const BYTES: usize = 32 << 20;
        let writing = async {
            dialed.write_all(&vec![1; BYTES]).await.unwrap();
            drop(dialed);
        };
        let reading = async {
            let mut rest = Vec::new();
            accepted.read_to_end(&mut rest).await.unwrap();
            rest.len()
        };
        let ((), read) = tokio::join!(writing, reading);
        assert_eq!(read, BYTES, "{name}");
    }
}

#[tokio::test]
async fn a_file_is_sent_in_its_place_among_other_bytes_whatever_becomes_of_its_name() {
    let directory = tempfile::tempdir().unwrap();
    for (name, env) in each() {
        let folder = directory.path().join(name);
        env.fs.create_dir_all(&folder).unwrap();
        let path = folder.join("f");
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = env.fs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(&content, 0).unwrap();
        env.fs.unlink(&path).unwrap();
        let listener = env.net.listen(any_port()).await.unwrap();
        let mut dialed = env.net.dial(listener.local_addr().unwrap()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        let sending = async {
            dialed.write_all(b"head").await.unwrap();
            dialed.send_file(&*file, 1001..11_000_000).await.unwrap();
            dialed.send_file(&*file, 7..7).await.unwrap();
            dialed.write_all(b"tail").await.unwrap();
            drop(dialed);
        };
        let reading = async {
            let mut received = Vec::new();
            accepted.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((), received) = tokio::join!(sending, reading);
        let expected = [b"head", &content[1001..11_000_000], b"tail"].concat();
        assert!(received == expected, "{name}: {} bytes", received.len());
    }
}

#[tokio::test]
async fn a_file_that_ends_before_the_range_does_is_an_error_and_so_is_a_reader_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    for (name, env) in each() {
        let folder = directory.path().join(name);
        env.fs.create_dir_all(&folder).unwrap();
        let file = env.fs.open(&folder.join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        let listener = env.net.listen(any_port()).await.unwrap();
        let mut dialed = env.net.dial(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        let short = dialed.send_file(&*file, 50..200).await;
        assert_eq!(short.unwrap_err().kind(), ErrorKind::UnexpectedEof, "{name}");
        drop(accepted);
        // The first bytes may still find room in the socket.
        let gone = loop {
            if let Err(error) = dialed.send_file(&*file, 0..100).await {
                break error.kind();
            }
        };
        assert!(matches!(gone, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{name}: {gone}");
    }
}

#[tokio::test]
async fn tasks_run_and_are_awaited_and_work_runs_on_the_pool() {
    for (name, env) in each() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let from_pool = sender.clone();
        env.tasks.on_io_pool(Box::new(move || from_pool.send("pool").unwrap())).await;
        let from_task = sender.clone();
        env.tasks.spawn("task", Box::pin(async move { from_task.send("task").unwrap() })).join().await;
        env.tasks.blocking_section(&mut || sender.send("section").unwrap());
        drop(sender);
        let mut seen = Vec::new();
        while let Some(from) = receiver.recv().await {
            seen.push(from);
        }
        assert_eq!(seen, ["pool", "task", "section"], "{name}");
    }
}

#[tokio::test]
async fn the_monotonic_clock_never_goes_back_and_sleeps_end() {
    let sim = Sim::new(3);
    for (name, env) in [("real", real::env()), ("simulated", sim.env())] {
        let before = env.clock.monotonic();
        let sleep = env.clock.sleep(Duration::from_millis(1));
        sim.clock().advance(Duration::from_millis(1));
        sleep.await;
        assert!(env.clock.monotonic().since(before) >= Duration::from_millis(1), "{name}");
        assert!(env.clock.wall().is_some(), "{name}");
    }
}

#[test]
fn a_seed_decides_what_the_simulated_machine_draws() {
    let draw = |seed| Sim::new(seed).env().rng.uuid_v4();
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    assert_ne!(real::env().rng.uuid_v4(), real::env().rng.uuid_v4());
}
