//! The stream on real sockets, against a peer whose records are made by hand.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::tls::record::tests::{both, forged, open, pattern, sealed, sealed_alert};

const PATIENCE: Duration = Duration::from_secs(10);
const DATA: u8 = 23;

struct World {
    ours: Direct,
    /// The other end of the socket, and its keys.
    tcp: TcpStream,
    peer: Records,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| Vec::new()).await
    }

    /// `early` makes what came behind the handshake.
    async fn with(early: impl FnOnce(&mut Records) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let connecting = TcpStream::connect(listener.local_addr().expect("bound"));
        let (tcp, accepted) = tokio::join!(connecting, listener.accept());
        let (mut peer, ours) = both(0);
        let early = early(&mut peer);
        let ours = Direct::new(accepted.expect("accepted").0, ours, &early);
        Self { ours, tcp: tcp.expect("connected"), peer }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).await.expect("sent");
    }

    /// A record of application data.
    async fn say(&mut self, content: &[u8]) {
        let record = sealed(&mut self.peer, content);
        self.send(&record).await;
    }

    async fn read(&mut self, room: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; room];
        let read = poll_fn(|cx| self.ours.poll_read(cx, &mut buffer));
        let count = timeout(PATIENCE, read).await.expect("in time")?;
        buffer.truncate(count);
        Ok(buffer)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        timeout(PATIENCE, poll_fn(|cx| self.ours.poll_write(cx, bytes))).await.expect("in time")
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        timeout(PATIENCE, poll_fn(|cx| self.ours.poll_shutdown(cx))).await.expect("in time")
    }

    /// The peer reads until the end, which must be there.
    async fn heard(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.tcp.read_to_end(&mut bytes);
        timeout(PATIENCE, read).await.expect("in time").expect("a clean end");
        bytes
    }

    /// Every byte of memory that a connection may hold between two calls.
    fn held(&self) -> usize {
        let Direct { partial, plaintext, outgoing, .. } = &self.ours;
        let capacity = |kept: &Kept| kept.0.as_ref().map_or(0, |kept| kept.0.capacity());
        capacity(partial) + capacity(plaintext) + capacity(outgoing)
    }
}

fn nothing_ready<T: std::fmt::Debug>(poll: Poll<T>) {
    assert!(poll.is_pending(), "{poll:?}");
}

fn context<T>(run: impl FnOnce(&mut Context<'_>) -> T) -> T {
    run(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn what_came_with_the_handshake_is_read_first_and_its_end_is_known() {
    let mut world = World::with(|peer| {
        let data = [sealed(peer, b"header"), sealed(peer, &pattern(3000))].concat();
        [data, sealed_alert(peer, 0), b"ignored".to_vec()].concat()
    })
    .await;
    let mut all = Vec::new();
    loop {
        let read = world.read(1000).await.expect("good");
        if read.is_empty() {
            break;
        }
        all.extend(read);
    }
    assert_eq!(all, [b"header".to_vec(), pattern(3000)].concat());
    assert_eq!(world.held(), 0);
    assert_eq!(world.read(1000).await.expect("still closed"), b"");
}

#[tokio::test]
async fn a_record_whose_beginning_came_with_the_handshake_is_completed() {
    let mut rest = Vec::new();
    let mut world = World::with(|peer| {
        let mut record = sealed(peer, b"in two pieces");
        rest = record.split_off(9);
        record
    })
    .await;
    nothing_ready(context(|cx| world.ours.poll_read(cx, &mut [0; 100]).map_ok(|_| ())));
    world.send(&rest).await;
    assert_eq!(world.read(100).await.expect("good"), b"in two pieces");
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn a_bad_record_behind_the_handshake_is_told_after_the_good_ones() {
    let mut world = World::with(|peer| {
        [sealed(peer, b"good"), forged(peer, &[0; 5]), sealed(peer, b"late")].concat()
    })
    .await;
    assert_eq!(world.read(100).await.expect("good"), b"good");
    assert!(is_record_error(&world.read(100).await, RecordError::Unexpected));
}

#[tokio::test]
async fn small_reads_lose_nothing() {
    let mut world = World::new().await;
    let bytes = pattern(50_000);
    let records = sealed(&mut world.peer, &bytes);
    world.send(&records).await;
    let mut all = Vec::new();
    for room in [1, 7, 1024, 3].into_iter().cycle() {
        all.extend(world.read(room).await.expect("good"));
        if all.len() == bytes.len() {
            break;
        }
    }
    assert!(all == bytes);
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn records_come_in_any_pieces() {
    let mut world = World::new().await;
    let bytes = pattern(40_000);
    let records = sealed(&mut world.peer, &bytes);
    let (mut all, mut sizes) = (Vec::new(), [1, 4, 5, 16_000, 3, 700, 9].into_iter().cycle());
    let mut rest = records.as_slice();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(sizes.next().expect("endless").min(rest.len()));
        world.send(part).await;
        rest = after;
        let mut buffer = vec![0; 64 * 1024];
        while let Poll::Ready(read) = context(|cx| world.ours.poll_read(cx, &mut buffer)) {
            all.extend_from_slice(&buffer[..read.expect("good")]);
        }
        tokio::task::yield_now().await;
    }
    while all.len() < bytes.len() {
        all.extend(world.read(64 * 1024).await.expect("good"));
    }
    assert!(all == bytes);
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn an_end_without_close_notify_is_a_truncation_wherever_it_is() {
    for cut in [0, 3, 20] {
        let mut world = World::new().await;
        world.say(b"begun").await;
        let record = sealed(&mut world.peer, b"and cut");
        world.send(&record[..cut]).await;
        world.tcp.shutdown().await.expect("a FIN");
        assert_eq!(world.read(100).await.expect("good"), b"begun");
        let error = world.read(100).await.expect_err("no end");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        assert!(!crate::tls::stream::is_tls_error(&error));
    }
}

#[tokio::test]
async fn a_reset_is_no_end() {
    let mut world = World::new().await;
    world.say(b"begun").await;
    assert_eq!(world.read(100).await.expect("good"), b"begun");
    socket2::SockRef::from(&world.tcp).set_linger(Some(Duration::ZERO)).expect("set");
    drop(world.tcp);
    let mut buffer = [0; 100];
    let read = poll_fn(|cx| world.ours.poll_read(cx, &mut buffer));
    let error = timeout(PATIENCE, read).await.expect("in time").expect_err("no end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

fn is_record_error(result: &io::Result<Vec<u8>>, expected: RecordError) -> bool {
    let Err(error) = result else { return false };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RecordError>());
    inner == Some(&expected) && crate::tls::stream::is_tls_error(error)
}

#[tokio::test]
async fn each_breach_is_answered_with_its_alert_once() {
    let forgeries: [(&[u8], RecordError, u8); 5] = [
        (&[0; 9], RecordError::Unexpected, 10),
        (&[99], RecordError::Unexpected, 10),
        (&[24, 0, 0, 2, 22], RecordError::Malformed, 50),
        (&[24, 0, 0, 1, 9, 22], RecordError::Illegal, 47),
        (&[DATA; 16_386], RecordError::TooLong, 22),
    ];
    for (inner, error, alert) in forgeries {
        let mut world = World::new().await;
        world.say(b"good").await;
        let bad = forged(&mut world.peer, inner);
        world.send(&bad).await;
        assert_eq!(world.read(100_000).await.expect("good"), b"good");
        for _ in 0..2 {
            assert!(is_record_error(&world.read(100_000).await, error), "{error:?}");
        }
        let refused = world.write(b"more").await.expect_err("over");
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        world.shutdown().await.expect("a FIN");
        let heard = world.heard().await;
        let (opened, plaintext) = open(&mut world.peer, &heard);
        assert_eq!((opened.next, plaintext.len()), (Next::Broken(RecordError::Alert(alert)), 0));
        assert_eq!(heard.len(), 2 + crate::tls::record::OVERHEAD, "one alert and nothing else");
    }
}

#[tokio::test]
async fn an_alert_of_the_peer_is_not_answered() {
    let mut world = World::new().await;
    let alert = sealed_alert(&mut world.peer, 42);
    world.send(&alert).await;
    assert!(is_record_error(&world.read(100).await, RecordError::Alert(42)));
    world.shutdown().await.expect("a FIN");
    let heard = world.heard().await;
    assert_eq!(open(&mut world.peer, &heard).0.next, Next::Closed, "only our own goodbye");
}

#[tokio::test]
async fn what_the_socket_does_not_take_waits_in_order() {
    let mut world = World::new().await;
    let bytes = pattern(200_000);
    let (mut accepted, mut blocked) = (0, 0);
    while blocked < 3 {
        match context(|cx| world.ours.poll_write(cx, &bytes)) {
            Poll::Ready(count) => {
                assert_eq!(blocked, 0, "it has no room");
                let count = count.expect("a peer");
                assert!(count > 0);
                accepted += count;
            }
            Poll::Pending => blocked += 1,
        }
        tokio::task::yield_now().await;
        assert!(accepted < 100_000_000, "a socket is full at some time");
    }
    nothing_ready(context(|cx| world.ours.poll_flush(cx)));
    // However often it is asked to end, it says goodbye once, behind everything else.
    for _ in 0..3 {
        nothing_ready(context(|cx| world.ours.poll_shutdown(cx)));
    }
    let World { mut ours, mut tcp, mut peer } = world;
    let mut heard = Vec::new();
    let end = poll_fn(|cx| ours.poll_shutdown(cx));
    let (ended, read) = tokio::join!(end, tcp.read_to_end(&mut heard));
    assert!(ended.is_ok() && read.is_ok());
    let (opened, plaintext) = open(&mut peer, &heard);
    assert_eq!((opened.next, opened.consumed), (Next::Closed, heard.len()));
    assert_eq!(plaintext.len(), accepted);
    assert!(plaintext.chunks(bytes.len()).all(|part| bytes.starts_with(part)));
    assert!(ours.outgoing.0.is_none());
}

#[tokio::test]
async fn after_our_end_nothing_is_written_and_reading_goes_on() {
    let mut world = World::new().await;
    assert_eq!(world.write(b"last words").await.expect("taken"), 10);
    for _ in 0..2 {
        world.shutdown().await.expect("a FIN");
    }
    assert_eq!(world.write(b"x").await.expect_err("over").kind(), io::ErrorKind::BrokenPipe);
    let heard = world.heard().await;
    let (opened, plaintext) = open(&mut world.peer, &heard);
    assert_eq!((opened.next, opened.consumed), (Next::Closed, heard.len()));
    assert_eq!(plaintext, b"last words");
    world.say(b"and yours").await;
    assert_eq!(world.read(100).await.expect("good"), b"and yours");
    let goodbye = sealed_alert(&mut world.peer, 0);
    world.send(&goodbye).await;
    assert_eq!(world.read(100).await.expect("an end"), b"");
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn a_peer_that_is_gone_fails_the_write() {
    let world = World::new().await;
    socket2::SockRef::from(&world.tcp).set_linger(Some(Duration::ZERO)).expect("set");
    let World { mut ours, tcp, .. } = world;
    drop(tcp);
    let bytes = pattern(100_000);
    let failed = timeout(PATIENCE, async {
        loop {
            if let Err(error) = poll_fn(|cx| ours.poll_write(cx, &bytes)).await {
                break error;
            }
        }
    });
    let kind = failed.await.expect("in time").kind();
    assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{kind:?}");
}
