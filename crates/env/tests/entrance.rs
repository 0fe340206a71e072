//! The way into a door: who is let in, who is waited for, and who is cut off, on the real machine and the simulated one.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_env::sim::Sim;
use millrace_env::{Entrance, Env, NetStream, linger, real};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Longer than any machine stands still; where it counts, nothing waits for it.
const LONG: Duration = Duration::from_secs(600);

fn each() -> [(&'static str, Env); 2] {
    [("real", real::env()), ("simulated", Sim::new(3).env())]
}

/// Opens an entrance on a free port.
async fn open<S, F>(
    env: &Env,
    connections_max: usize,
    serve: impl FnOnce(&Entrance) -> S,
) -> (Entrance, SocketAddr)
where
    S: Fn(u64, Box<dyn NetStream>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = env.net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let entrance = Entrance::new(env, "test", connections_max);
    entrance.accept(vec![listener], serve(&entrance));
    (entrance, addr)
}

/// Says its number, and stays until `leave` is set.
async fn stay(number: u64, mut stream: Box<dyn NetStream>, leave: CancellationToken) {
    stream.write_u64(number).await.unwrap();
    leave.cancelled().await;
}

/// Lets in two who stay until they are cut off.
async fn open_to_the_end(env: &Env) -> (Entrance, SocketAddr) {
    open(env, 2, |entrance| {
        let leave = entrance.ending();
        move |number, stream| stay(number, stream, leave.clone())
    })
    .await
}

async fn dial(env: &Env, addr: SocketAddr) -> Box<dyn NetStream> {
    env.net.dial(addr).await.unwrap()
}

#[tokio::test]
async fn so_many_are_let_in_each_with_a_number_and_no_more() {
    for (name, env) in each() {
        let (entrance, addr) = open(&env, 2, |entrance| {
            let leave = entrance.draining();
            move |number, stream| stay(number, stream, leave.clone())
        })
        .await;
        let mut inside = Vec::new();
        for number in 0..2 {
            let mut stream = dial(&env, addr).await;
            assert_eq!(stream.read_u64().await.unwrap(), number, "{name}");
            inside.push(stream);
        }
        assert_eq!(entrance.connections(), 2, "{name}");
        let mut one_too_many = dial(&env, addr).await;
        assert!(one_too_many.read_u64().await.is_err(), "{name}: it was let in");
        assert_eq!(entrance.connections(), 2, "{name}");
        assert!(entrance.drain(LONG).await, "{name}: whoever leaves by himself is not cut off");
        assert_eq!(entrance.connections(), 0, "{name}");
    }
}

#[tokio::test]
async fn who_has_not_left_after_the_patience_is_cut_off_and_nobody_comes_in_meanwhile() {
    for (name, env) in each() {
        let (entrance, addr) = open_to_the_end(&env).await;
        let mut inside = dial(&env, addr).await;
        inside.read_u64().await.unwrap();
        assert!(!entrance.drain(Duration::ZERO).await, "{name}");
        assert_eq!(entrance.connections(), 0, "{name}");
        assert!(inside.read_u64().await.is_err(), "{name}: it is served on");
        // Refused, or never accepted.
        if let Ok(mut late) = env.net.dial(addr).await {
            assert!(late.read_u64().await.is_err(), "{name}: it was let in");
        }
    }
}

#[tokio::test]
async fn a_closed_entrance_waits_for_nobody() {
    for (name, env) in each() {
        let (entrance, addr) = open_to_the_end(&env).await;
        let mut inside = dial(&env, addr).await;
        inside.read_u64().await.unwrap();
        entrance.close().await;
        assert_eq!(entrance.connections(), 0, "{name}");
        assert!(inside.read_u64().await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_sending_hears_the_last_answer_and_the_end() {
    for (name, env) in each() {
        let (entrance, addr) = open(&env, 1, |entrance| {
            let (clock, ending) = (Arc::clone(&env.clock), entrance.ending());
            move |_, mut stream| {
                let (clock, ending) = (Arc::clone(&clock), ending.clone());
                async move {
                    stream.write_all(b"last").await.unwrap();
                    linger(&mut stream, &*clock, &ending).await;
                }
            }
        })
        .await;
        let mut client = dial(&env, addr).await;
        client.write_all(&[0; 10_000]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"last", "{name}");
        drop(client);
        assert!(entrance.drain(LONG).await, "{name}");
    }
}
