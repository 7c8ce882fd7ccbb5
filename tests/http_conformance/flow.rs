//! Flow control (RFC 9113 5.2, 6.9): both windows are kept, whatever the client makes of them.

use std::time::Duration;

use crate::rows::Reaction::{Connection, Ignored, Stream};
use crate::rows::{LARGE, Server, react, row};
use crate::support::backend::handed_over;
use crate::support::gateway::PATIENCE;
use crate::support::http::frames::{
    DATA, END_STREAM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, Peer, SETTING_WINDOW, WINDOW_UPDATE,
    frame, get, post, settings, window_update,
};

const MAX: u32 = (1 << 31) - 1;
/// The window of a connection and, unless settings say otherwise, of a stream.
const INITIAL: u32 = 65_535;
/// After this nothing more is coming.
const QUIET: Duration = Duration::from_millis(400);

#[test]
fn a_window_grows_by_something_and_not_beyond_its_end() {
    let on = |bytes: Vec<u8>| [post(1, "/"), bytes].concat();
    let zero = [Stream(1, PROTOCOL_ERROR), Connection(PROTOCOL_ERROR)];
    let over = [Stream(1, FLOW_CONTROL_ERROR), Connection(FLOW_CONTROL_ERROR)];
    let grown = [post(1, "/"), window_update(1, MAX - INITIAL)].concat();
    let resettled = [grown.clone(), settings(&[(SETTING_WINDOW, INITIAL + 1)])].concat();
    Server::new().check(vec![
        row("a stream's by 0", on(window_update(1, 0)), &zero),
        row("the connection's by 0", window_update(0, 0), &zero[1..]),
        row("a stream's too far", [grown.clone(), window_update(1, 1)].concat(), &over),
        row("a stream's too far at once", on(window_update(1, MAX)), &over),
        row("the connection's too far", window_update(0, MAX), &over[1..]),
        row("by settings", resettled, &over[1..]),
        row("to the end", [grown, window_update(0, MAX - INITIAL)].concat(), &[Ignored]),
    ]);
}

/// How many bytes of a body come until nothing comes any more, and whether the stream ended.
fn received(peer: &mut Peer) -> (usize, bool) {
    let (mut count, mut ended) = (0, false);
    while let Some(frame) = peer.within(QUIET) {
        if frame.kind == DATA {
            count += frame.payload.len();
            ended |= frame.flags & END_STREAM != 0;
        }
    }
    assert_eq!(peer.end, None);
    (count, ended)
}

#[test]
fn a_response_waits_for_its_streams_window() {
    let server = Server::new();
    let mut peer = server.connect().greet(&[(SETTING_WINDOW, 10)]);
    peer.send(&get(1, "/large"));
    assert_eq!(received(&mut peer), (10, false));
    peer.send(&window_update(1, 5));
    assert_eq!(received(&mut peer), (5, false));
    // Another stream has a window of its own.
    peer.send(&get(3, "/"));
    assert_eq!(received(&mut peer), (2, true));
    // A change of the initial size changes the windows that exist.
    peer.send(&settings(&[(SETTING_WINDOW, 30)]));
    assert_eq!(received(&mut peer), (20, false));
    peer.send(&[window_update(0, 1 << 20), window_update(1, 1 << 20)].concat());
    assert_eq!(received(&mut peer), (LARGE - 35, true));
}

#[test]
fn a_response_waits_for_the_connections_window() {
    let server = Server::new();
    let mut peer = server.connect().greet(&[(SETTING_WINDOW, 1 << 20)]);
    peer.send(&[get(1, "/large"), get(3, "/large")].concat());
    assert_eq!(received(&mut peer), (INITIAL as usize, false));
    peer.send(&window_update(0, 1000));
    assert_eq!(received(&mut peer), (1000, false));
    peer.send(&window_update(0, 1 << 20));
    assert_eq!(received(&mut peer), (2 * LARGE - INITIAL as usize - 1000, true));
}

#[test]
fn a_window_may_become_negative_and_is_waited_for() {
    let server = Server::new();
    let mut peer = server.connect().greet(&[(SETTING_WINDOW, 100)]);
    peer.send(&get(1, "/large"));
    assert_eq!(received(&mut peer), (100, false));
    // -60, -10, 0, then 1.
    peer.send(&settings(&[(SETTING_WINDOW, 40)]));
    for (increment, expected) in [(50, 0), (10, 0), (1, 1)] {
        peer.send(&window_update(1, increment));
        assert_eq!(received(&mut peer), (expected, false), "after {increment}");
    }
}

#[test]
fn a_window_of_nothing_holds_up_the_body_only() {
    let server = Server::new();
    let mut peer = server.connect().greet(&[(SETTING_WINDOW, 0)]);
    peer.send(&get(1, "/"));
    assert_eq!(peer.status(1), 200);
    assert_eq!(received(&mut peer), (0, false));
    peer.send(&window_update(1, 1));
    assert_eq!(received(&mut peer), (1, false));
    peer.send(&window_update(1, 1));
    assert_eq!(received(&mut peer), (1, true));
}

#[test]
fn a_client_that_sends_more_than_its_window_is_cut() {
    let (endpoint, accepted) = handed_over();
    let Some(server) = Server::to(endpoint) else { return };
    let mut peer = server.greeted();
    peer.send(&post(1, "/"));
    let stalled = accepted.recv_timeout(PATIENCE).expect("the endpoint is reached");
    let initial = peer.setting(SETTING_WINDOW).unwrap_or(INITIAL);
    let mut windows = [i64::from(INITIAL), i64::from(initial)];
    // Everything that may be sent to an endpoint that reads nothing.
    loop {
        let wait = if windows.iter().any(|window| *window <= 0) { QUIET } else { Duration::ZERO };
        let wait = wait.max(Duration::from_millis(1));
        while let Some(frame) = peer.within(wait) {
            if frame.kind == WINDOW_UPDATE {
                windows[frame.stream as usize] += i64::from(frame.number());
            }
        }
        assert_eq!(peer.end, None);
        let room = windows.iter().min().copied().expect("two").min(16_384);
        if room <= 0 {
            break;
        }
        peer.send(&frame(DATA, 0, 1, &vec![0; room as usize]));
        windows.iter_mut().for_each(|window| *window -= room);
    }
    let accepts = [Connection(FLOW_CONTROL_ERROR), Stream(1, FLOW_CONTROL_ERROR)];
    let reaction = react(&mut peer, &frame(DATA, 0, 1, b"x"), &accepts);
    assert!(accepts.contains(&reaction), "{reaction:?}");
    drop(stalled);
}
