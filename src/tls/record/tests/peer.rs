//! An honest peer: rustls.

use super::*;

/// rustls takes no more than 64 KiB at once.
fn written_by(peer: &mut Connection, plaintext: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in plaintext.chunks(16_000) {
        peer.writer().write_all(part).expect("room");
        bytes.extend(sent_by(peer));
    }
    bytes
}

#[test]
fn every_suite_carries_bytes_of_every_size_in_both_roles_and_directions() {
    for suite in 0..3 {
        for role in ROLES {
            let (mut ours, mut peer) = connected(suite, role);
            for size in [0, 1, 2, 16_383, 16_384, 16_385, 32_768, 65_536] {
                let bytes = pattern(size);
                let arrived = received_by(&mut peer, &sealed(&mut ours, &bytes)).expect("good");
                assert!(arrived == bytes, "{suite} {role:?} {size} to rustls");
                let arrived = opened(&mut ours, &written_by(&mut peer, &bytes));
                assert!(arrived == bytes, "{suite} {role:?} {size} from rustls");
            }
        }
    }
}

#[test]
fn a_stream_may_be_cut_at_every_boundary() {
    let (mut ours, mut peer) = connected(0, Role::Server);
    let mut stream = written_by(&mut peer, b"first");
    stream.extend(written_by(&mut peer, &pattern(300)));
    peer.send_close_notify();
    stream.extend(sent_by(&mut peer));
    let expected = [b"first".as_slice(), &pattern(300)].concat();
    // Byte by byte: a record is opened when its last byte is there, and not a byte earlier.
    let (mut partial, mut arrived) = (Vec::new(), Vec::new());
    for (at, byte) in stream.iter().enumerate() {
        partial.push(*byte);
        let (opened, plaintext) = open(&mut ours, &partial);
        arrived.extend(plaintext);
        partial.drain(..opened.consumed);
        let last = at + 1 == stream.len();
        assert_eq!(opened.next, if last { Next::Closed } else { Next::More }, "{at}");
        assert!(opened.consumed == 0 || partial.is_empty());
    }
    assert_eq!(arrived, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sizes_in_any_pieces_arrive_in_order(
        sizes in proptest::collection::vec(0_usize..65_536, 1..5),
        pieces in proptest::collection::vec(1_usize..40_000, 1..6),
        suite in 0_usize..3,
        is_client: bool,
    ) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (mut ours, mut peer) = connected(suite, role);
        let all = pattern(sizes.iter().sum());
        let (mut to, mut from, mut rest) = (Vec::new(), Vec::new(), all.as_slice());
        for size in sizes {
            let (part, after) = rest.split_at(size);
            to.extend(sealed(&mut ours, part));
            from.extend(written_by(&mut peer, part));
            rest = after;
        }
        prop_assert!(received_by(&mut peer, &to).expect("good") == all);
        let (mut arrived, mut partial, mut rest) = (Vec::new(), Vec::new(), from.as_slice());
        for piece in pieces.into_iter().cycle() {
            let (part, after) = rest.split_at(piece.min(rest.len()));
            partial.extend_from_slice(part);
            let (opened, plaintext) = open(&mut ours, &partial);
            prop_assert_eq!(opened.next, Next::More);
            arrived.extend(plaintext);
            partial.drain(..opened.consumed);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(arrived == all && partial.is_empty());
    }
}

#[test]
fn an_output_that_is_too_small_is_filled_as_far_as_whole_records_go() {
    let (mut ours, mut peer) = connected(0, Role::Server);
    let bytes = pattern(MAX_PLAINTEXT + 10);
    let mut out = vec![0; sealed_length(bytes.len()) - 1];
    let sealed = ours.seal(&bytes, &mut out).expect("a key");
    assert_eq!(sealed.taken, MAX_PLAINTEXT);
    let arrived = received_by(&mut peer, &out[..sealed.written]).expect("good");
    assert!(arrived == bytes[..MAX_PLAINTEXT]);
    let nothing = Sealed { taken: 0, written: 0 };
    assert_eq!(ours.seal(b"x", &mut [0; MAX_CONTROL + OVERHEAD]), Ok(nothing));
    // Nothing was used up by that.
    let arrived = received_by(&mut peer, &super::sealed(&mut ours, b"next")).expect("good");
    assert_eq!(arrived, b"next");
}

#[test]
fn the_peer_changes_its_key_and_asks_for_ours() {
    for suite in 0..3 {
        for role in ROLES {
            let (mut ours, mut peer) = connected(suite, role);
            for round in 0..5_u8 {
                // Several in a row, with one answer.
                for _ in 0..=round {
                    peer.refresh_traffic_keys().expect("established");
                }
                let from = written_by(&mut peer, &[round; 100]);
                assert_eq!(opened(&mut ours, &from), [round; 100]);
                assert!(ours.update_due);
                let to = sealed(&mut ours, &[round; 50]);
                assert_eq!(to.len(), MAX_CONTROL + 50 + OVERHEAD, "one key update comes first");
                assert!(!ours.update_due);
                assert_eq!(received_by(&mut peer, &to).expect("good"), [round; 50]);
                let to = sealed(&mut ours, b"then no more");
                assert_eq!(to.len(), 12 + OVERHEAD);
                assert_eq!(received_by(&mut peer, &to).expect("good"), b"then no more");
            }
        }
    }
}

#[test]
fn our_key_changes_before_its_limit() {
    for suite in 0..3 {
        for role in ROLES {
            let (mut ours, mut peer) = connected(suite, role);
            ours.limit = 3;
            let bytes = pattern(10 * MAX_PLAINTEXT);
            let mut out = vec![0; 2 * sealed_length(bytes.len())];
            let sealed = ours.seal(&bytes, &mut out).expect("a key");
            assert_eq!(sealed.taken, bytes.len());
            let overhead = 10 * OVERHEAD + 3 * (5 + OVERHEAD);
            assert_eq!(sealed.written, bytes.len() + overhead, "a change after 3, 6 and 9 records");
            assert!(ours.outgoing.number <= 3);
            let arrived = received_by(&mut peer, &out[..sealed.written]).expect("good");
            assert!(arrived == bytes, "{suite} {role:?}");
        }
    }
}

#[test]
fn the_limit_is_that_of_the_suite() {
    for (suite, limit) in [(0, 1 << 24), (1, 1 << 24), (2, u64::MAX)] {
        let (ours, _) = connected(suite, Role::Client);
        assert_eq!(ours.limit, limit - LIMIT_MARGIN);
    }
}

#[test]
fn what_a_client_says_with_the_end_of_its_handshake_is_left_to_us() {
    for suite in 0..3 {
        let (mut ours, mut peer, left) = connect(&configs(suite), Role::Server, |peer| {
            peer.writer().write_all(b"early").expect("room");
            // Had rustls read this on our side, its answer would be lost.
            peer.refresh_traffic_keys().expect("established");
            peer.writer().write_all(b" bird").expect("room");
            peer.send_close_notify();
        });
        let (opened, plaintext) = open(&mut ours, &left);
        assert_eq!((plaintext.as_slice(), opened.next), (b"early bird".as_slice(), Next::Closed));
        let answer = sealed(&mut ours, b"answer");
        assert_eq!(received_by(&mut peer, &answer).expect("in step"), b"answer");
    }
}

#[test]
fn what_a_server_says_before_our_finished_is_left_to_us() {
    let mut configs = configs(0);
    configs.server.send_half_rtt_data = true;
    let mut ours = configs.ours(Role::Client);
    let mut peer = configs.rustls(Role::Client);
    peer.writer().write_all(b"I speak first").expect("room");
    assert!(!ours.advance().expect("begun"));
    received_by(&mut peer, &ours.outgoing()).expect("an honest client");
    ours.receive(&sent_by(&mut peer));
    assert!(ours.advance().expect("an honest server"));
    received_by(&mut peer, &ours.outgoing()).expect("an honest client");
    let (mut records, left) = ours.into_records().expect("complete");
    assert_eq!(opened(&mut records, &left), b"I speak first");
    assert_eq!(opened(&mut records, &written_by(&mut peer, b"and last")), b"and last");
}

#[test]
fn tickets_of_a_server_are_skipped() {
    let mut configs = configs(0);
    configs.server.send_tls13_tickets = 5;
    configs.server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    let (mut ours, mut peer, left) = connect(&configs, Role::Client, |_| {});
    let mut stream = left;
    stream.extend(sent_by(&mut peer));
    assert!(stream.len() > 5 * 100, "{} bytes of tickets", stream.len());
    stream.extend(written_by(&mut peer, b"data"));
    assert_eq!(opened(&mut ours, &stream), b"data");
}

#[test]
fn close_notify_is_understood_by_rustls_and_an_alert_as_an_error() {
    let (mut ours, mut peer) = connected(0, Role::Server);
    let mut stream = sealed(&mut ours, b"last words");
    stream.extend(sealed_alert(&mut ours, CLOSE_NOTIFY));
    assert_eq!(received_by(&mut peer, &stream).expect("good"), b"last words");
    assert!(peer.process_new_packets().expect("good").peer_has_closed());

    let (mut ours, mut peer) = connected(0, Role::Server);
    let alert = RecordError::BadTag.alert().expect("one");
    let error = received_by(&mut peer, &sealed_alert(&mut ours, alert));
    let expected = rustls::AlertDescription::BadRecordMac;
    assert_eq!(error, Err(rustls::Error::AlertReceived(expected)));
}
