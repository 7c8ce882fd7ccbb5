//! Peers that break the rules: records are made by hand, with the right key.

use super::*;

/// A server of ours and the key of its client.
fn victim() -> (Records, Key) {
    let (client, server) = both(0);
    (server, client.outgoing)
}

/// A client of ours and the key of its server.
fn client_victim() -> (Records, Key) {
    let (client, server) = both(0);
    (client, server.outgoing)
}

fn data(key: &mut Key, content: &[u8]) -> Vec<u8> {
    forge(key, &[content, &[APPLICATION_DATA]].concat())
}

fn message(key: &mut Key, content: &[u8]) -> Vec<u8> {
    forge(key, &[content, &[HANDSHAKE]].concat())
}

fn alert_of(key: &mut Key, content: &[u8]) -> Vec<u8> {
    forge(key, &[content, &[ALERT]].concat())
}

/// After some good data `bad` must end the connection with `error`: the good data is given out,
/// and nothing of what follows.
#[track_caller]
fn refused_by(
    (mut records, mut key): (Records, Key),
    error: RecordError,
    bad: impl FnOnce(&mut Key) -> Vec<u8>,
) {
    let good = data(&mut key, b"good");
    let stream = [good.clone(), bad(&mut key), data(&mut key, b"late")].concat();
    let (opened, plaintext) = open(&mut records, &stream);
    assert_eq!((opened.next, plaintext.as_slice()), (Next::Broken(error), b"good".as_slice()));
    assert!(opened.consumed >= good.len());
}

#[track_caller]
fn refused(error: RecordError, bad: impl FnOnce(&mut Key) -> Vec<u8>) {
    refused_by(victim(), error, bad);
}

#[test]
fn a_bit_flipped_anywhere_ends_the_connection_and_gives_out_nothing() {
    let (_, mut key) = victim();
    let length = data(&mut key, b"secret").len();
    for bit in 0..length * 8 {
        let (mut records, mut key) = victim();
        let good = data(&mut key, b"good");
        let mut bad = data(&mut key, b"secret");
        bad[bit / 8] ^= 1 << (bit % 8);
        let stream = [good.clone(), bad, vec![0; 70_000]].concat();
        let (opened, plaintext) = open(&mut records, &stream);
        let Next::Broken(error) = opened.next else { panic!("bit {bit}: {opened:?}") };
        assert_eq!((opened.consumed, plaintext.as_slice()), (good.len(), b"good".as_slice()));
        let expected = match bit / 8 {
            0 => RecordError::Unexpected,
            // The length's highest bit; a record that is a little longer has another tag.
            3 if bit % 8 == 7 => RecordError::TooLong,
            _ => RecordError::BadTag,
        };
        assert_eq!(error, expected, "bit {bit}");
    }
}

#[test]
fn records_out_of_order_repeated_or_left_out_do_not_open() {
    for order in [[1, 0], [0, 0], [1, 1]] {
        let (mut records, mut key) = victim();
        let both = [data(&mut key, b"one"), data(&mut key, b"two")];
        let stream = order.map(|at: usize| both[at].clone()).concat();
        let (opened, plaintext) = open(&mut records, &stream);
        assert_eq!(opened.next, Next::Broken(RecordError::BadTag), "{order:?}");
        let expected = if order[0] == 0 { b"one".as_slice() } else { b"" };
        assert_eq!(plaintext, expected);
    }
}

#[test]
fn a_record_of_our_own_does_not_open() {
    let (mut records, _) = victim();
    let reflected = sealed(&mut records, b"ours");
    let (opened, _) = open(&mut records, &reflected);
    assert_eq!(opened.next, Next::Broken(RecordError::BadTag));
}

#[test]
fn padding_of_any_length_is_removed() {
    let (mut records, mut key) = victim();
    for padding in [0, 1, 255, 256, MAX_PLAINTEXT - 4] {
        let inner = [b"data".as_slice(), &[APPLICATION_DATA], &vec![0; padding]].concat();
        assert_eq!(opened(&mut records, &forge(&mut key, &inner)), b"data", "{padding}");
    }
    // The content's own zeros stay, and a record of padding alone is empty data.
    let inner = [0, 0, 5, 0, APPLICATION_DATA, 0, 0];
    assert_eq!(opened(&mut records, &forge(&mut key, &inner)), [0, 0, 5, 0]);
    let inner = [[APPLICATION_DATA].as_slice(), &[0; MAX_PLAINTEXT]].concat();
    assert_eq!(opened(&mut records, &forge(&mut key, &inner)), b"");
}

#[test]
fn a_record_without_a_type_is_refused() {
    for length in [0, 1, 100, MAX_PLAINTEXT + 1] {
        refused(RecordError::Unexpected, |key| forge(key, &vec![0; length]));
    }
}

#[test]
fn types_that_have_no_place_inside_a_record_are_refused() {
    for kind in (1..=255).filter(|kind| ![ALERT, HANDSHAKE, APPLICATION_DATA].contains(kind)) {
        let (mut records, mut key) = victim();
        let (opened, plaintext) = open(&mut records, &forge(&mut key, &[1, kind]));
        assert_eq!((opened.next, plaintext.len()), (Next::Broken(RecordError::Unexpected), 0));
    }
}

#[test]
fn records_outside_encryption_are_refused_at_their_first_bytes() {
    // A change of cipher spec, as compatibility allows it only during the handshake; an alert; a
    // ClientHello; nothing at all.
    for header in [[20, 3, 3, 0, 1], [21, 3, 3, 0, 2], [22, 3, 1, 2, 0], [0, 0, 0, 0, 0]] {
        refused(RecordError::Unexpected, |_| header.to_vec());
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_before_it_has_come() {
    refused(RecordError::TooLong, |_| vec![APPLICATION_DATA, 3, 3, 0x41, 1]);
    refused(RecordError::TooLong, |_| vec![APPLICATION_DATA, 3, 3, 0xff, 0xff]);
    let (mut records, _) = victim();
    let longest = [APPLICATION_DATA, 3, 3, 0x41, 0];
    let (opened, _) = open(&mut records, &longest);
    assert_eq!((opened.next, opened.consumed), (Next::More, 0));
}

#[test]
fn content_that_is_too_long_is_refused_padded_or_not() {
    let (mut records, mut key) = victim();
    let longest = pattern(MAX_PLAINTEXT);
    assert!(opened(&mut records, &data(&mut key, &longest)) == longest);
    refused(RecordError::TooLong, |key| data(key, &pattern(MAX_PLAINTEXT + 1)));
    refused(RecordError::TooLong, |key| {
        forge(key, &[b"x".as_slice(), &[APPLICATION_DATA], &[0; MAX_PLAINTEXT]].concat())
    });
    refused(RecordError::TooLong, |key| {
        forge(key, &[pattern(MAX_PLAINTEXT + 239), vec![APPLICATION_DATA]].concat())
    });
}

#[test]
fn a_record_that_is_shorter_than_its_tag_is_refused() {
    for length in 0..16 {
        refused(RecordError::BadTag, |_| {
            let header = [APPLICATION_DATA, 3, 3, 0, length];
            [header.as_slice(), &vec![7; usize::from(length)]].concat()
        });
    }
}

#[test]
fn alerts_end_the_connection_whatever_their_level() {
    for level in [1, 2, 0, 255] {
        for description in [10, 20, 42, 48, 80, 100, 255] {
            let expected = RecordError::Alert(description);
            refused(expected, |key| alert_of(key, &[level, description]));
            assert_eq!(expected.alert(), None, "an alert is not answered");
        }
        let (mut records, mut key) = victim();
        let stream = [alert_of(&mut key, &[level, USER_CANCELED]), data(&mut key, b"on")].concat();
        assert_eq!(opened(&mut records, &stream), b"on");
        let stream = [alert_of(&mut key, &[level, CLOSE_NOTIFY]), data(&mut key, b"late")].concat();
        let (opened, plaintext) = open(&mut records, &stream);
        assert_eq!((opened.next, plaintext.len()), (Next::Closed, 0), "data after it is ignored");
    }
    refused(RecordError::Unexpected, |key| alert_of(key, &[]));
    refused(RecordError::Malformed, |key| alert_of(key, &[1]));
    refused(RecordError::Malformed, |key| alert_of(key, &[1, 0, 1, 0]));
}

#[test]
fn records_without_data_may_not_go_on_for_ever() {
    let ticket = [NEW_SESSION_TICKET, 0, 0, 1, 0];
    let update = |key: &mut Key, secrets: &mut Secrets| {
        let bytes = message(key, &KEY_UPDATE);
        *key = secrets.next_outgoing().expect("a key");
        bytes
    };
    for kind in ["data", "update", "ticket", "canceled", "piece"] {
        let (client, server) = both(0);
        let (mut victim, mut peer) = (client, server);
        let limit = MAX_WITHOUT_DATA as usize;
        for round in 0..3 {
            let mut many = Vec::new();
            let last = round == 2;
            for at in 0..limit + usize::from(last) {
                many.push(match kind {
                    "data" => data(&mut peer.outgoing, b""),
                    "update" => update(&mut peer.outgoing, &mut peer.secrets),
                    "ticket" => message(&mut peer.outgoing, &ticket),
                    "canceled" => alert_of(&mut peer.outgoing, &[1, USER_CANCELED]),
                    // A long ticket in pieces of one byte.
                    _ if at < 4 => message(&mut peer.outgoing, &[[4, 0, 0, 28][at]]),
                    _ => message(&mut peer.outgoing, &[0]),
                });
            }
            let (opened, plaintext) = open(&mut victim, &many.concat());
            assert_eq!(plaintext, b"");
            if last {
                assert_eq!(opened.next, Next::Broken(RecordError::Flood), "{kind}");
            } else {
                assert_eq!(opened.next, Next::More, "{kind}");
                // One byte of data sets the count back.
                assert_eq!(super::opened(&mut victim, &data(&mut peer.outgoing, b"x")), b"x");
            }
        }
    }
}

#[test]
fn an_end_after_many_empty_records_is_still_an_end() {
    let (mut records, mut key) = victim();
    let mut stream: Vec<_> = (0..MAX_WITHOUT_DATA).map(|_| data(&mut key, b"")).collect();
    stream.push(alert_of(&mut key, &[1, CLOSE_NOTIFY]));
    let (opened, _) = open(&mut records, &stream.concat());
    assert_eq!(opened.next, Next::Closed);
}

const NEW_SESSION_TICKET: u8 = 4;

#[test]
fn a_key_update_in_pieces_changes_the_key_at_its_end() {
    let (mut client, mut server) = both(0);
    let key = &mut client.outgoing;
    let stream = [message(key, &[24, 0]), message(key, &[0, 1]), message(key, &[1])].concat();
    assert_eq!(opened(&mut server, &stream), b"");
    assert!(server.update_due);
    client.outgoing = client.secrets.next_outgoing().expect("a key");
    assert_eq!(opened(&mut server, &data(&mut client.outgoing, b"new")), b"new");
    let answer = sealed(&mut server, b"answer");
    assert_eq!(opened(&mut client, &answer), b"answer");
    assert!(!client.update_due, "an answer asks for nothing");
}

#[test]
fn a_record_under_the_old_key_does_not_open_after_a_key_update() {
    refused(RecordError::BadTag, |key| [message(key, &KEY_UPDATE), data(key, b"old key")].concat());
}

#[test]
fn nothing_may_stand_behind_a_key_update_or_between_its_pieces() {
    use RecordError::{Illegal, Malformed, Unexpected};
    let twice = [KEY_UPDATE, KEY_UPDATE].concat();
    refused(Unexpected, |key| message(key, &twice));
    refused(Unexpected, |key| message(key, &[24, 0, 0, 1, 0, 0]));
    refused(Unexpected, |key| [message(key, &[24, 0, 0, 1]), data(key, b"x")].concat());
    refused(Unexpected, |key| [message(key, &[24]), alert_of(key, &[1, CLOSE_NOTIFY])].concat());
    refused(Unexpected, |key| [message(key, &[24]), message(key, &[])].concat());
    refused(Unexpected, |key| message(key, &[]));
    refused(Malformed, |key| message(key, &[24, 0, 0, 0]));
    refused(Malformed, |key| message(key, &[24, 0, 0, 2, 0, 0]));
    refused(Malformed, |key| message(key, &[24, 1, 0, 1, 0]));
    for request in 2..=255 {
        refused_once(Illegal, &[24, 0, 0, 1, request]);
    }
}

/// One handshake message alone.
#[track_caller]
fn refused_once(error: RecordError, content: &[u8]) {
    let (mut records, mut key) = victim();
    let (opened, _) = open(&mut records, &message(&mut key, content));
    assert_eq!(opened.next, Next::Broken(error), "{content:?}");
}

#[test]
fn messages_of_the_wrong_side_or_of_the_handshake_are_refused() {
    let ticket = [NEW_SESSION_TICKET, 0, 0, 1, 0];
    refused(RecordError::Unexpected, |key| message(key, &ticket));
    for kind in (0..=255).filter(|kind| ![NEW_SESSION_TICKET, 24].contains(kind)) {
        refused_once(RecordError::Unexpected, &[kind, 0, 0, 0]);
    }
    // Also to a client: HelloRequest, ClientHello, CertificateRequest, Finished.
    for kind in [0, 1, 13, 20] {
        refused_by(client_victim(), RecordError::Unexpected, |key| message(key, &[kind, 0, 0, 1]));
    }
}

#[test]
fn tickets_may_be_cut_or_joined_but_not_mixed_or_endless() {
    let (mut records, mut key) = client_victim();
    let ticket = [[NEW_SESSION_TICKET, 0, 1, 0].as_slice(), &[9; 256]].concat();
    let (head, tail) = ticket.split_at(100);
    let joined = [ticket.as_slice(), &ticket, head].concat();
    let then_update = [tail, &KEY_UPDATE].concat();
    let stream = [message(&mut key, &joined), message(&mut key, &then_update)].concat();
    assert_eq!(opened(&mut records, &stream), b"");
    assert!(records.messages.is_between());

    let mixed = |key: &mut Key| [message(key, head), data(key, b"x")].concat();
    refused_by(client_victim(), RecordError::Unexpected, mixed);
    for header in [[NEW_SESSION_TICKET, 0, 0, 0], [NEW_SESSION_TICKET, 1, 0, 0]] {
        refused_by(client_victim(), RecordError::Malformed, |key| message(key, &header));
    }
}

#[test]
fn the_last_number_is_never_used() {
    let (mut client, mut server) = both(0);
    client.limit = u64::MAX;
    (client.outgoing.number, server.incoming.number) = (u64::MAX - 1, u64::MAX - 1);
    let last = sealed(&mut client, b"last");
    assert_eq!(opened(&mut server, &last), b"last");
    let mut out = vec![0; sealed_length(4)];
    assert_eq!(client.seal(b"more", &mut out), Err(RecordError::Exhausted));
    assert_eq!(client.seal_alert(CLOSE_NOTIFY, &mut out), Err(RecordError::Exhausted));
    let (opened, _) = open(&mut server, &last);
    assert_eq!(opened.next, Next::Broken(RecordError::Exhausted));
}

#[test]
fn each_error_has_the_alert_of_the_rfc() {
    use RecordError::{Alert, BadTag, Exhausted, Flood, Illegal, Malformed, TooLong, Unexpected};
    let alerts = [
        (BadTag, Some(20)),
        (TooLong, Some(22)),
        (Malformed, Some(50)),
        (Illegal, Some(47)),
        (Unexpected, Some(10)),
        (Flood, Some(10)),
        (Exhausted, Some(80)),
        (Alert(40), None),
    ];
    for (error, alert) in alerts {
        assert_eq!(error.alert(), alert, "{error:?}");
    }
}
