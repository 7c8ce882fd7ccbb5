//! What a probe makes of whatever answers, or does not, without TLS.

use std::io::{BufReader, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use linkerd_gateway::control::mirror::probe::Prober;
use linkerd_gateway::model::mirror::probe::{Failure, Probed};

use crate::support::backend;
use crate::{OK, SHORT, TIMEOUT, answering, is_alive, plain, request, run, target};

fn failed(failure: Failure) -> Probed {
    Probed::Failed(failure)
}

#[test]
fn only_200_is_success_and_no_redirect_is_followed() {
    let (elsewhere, followed) = answering(OK);
    for (status, answer) in [
        (204, "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        (
            301,
            format!(
                "HTTP/1.1 301 Moved\r\nlocation: http://{elsewhere}/ready\r\ncontent-length: 0\r\n\r\n"
            ),
        ),
        (404, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (
            503,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\n\r\nnot ready\n".to_owned(),
        ),
    ] {
        let (address, _) = answering(answer.leak());
        assert_eq!(plain(address, TIMEOUT), failed(Failure::Status(status)));
    }
    assert_eq!(followed.load(Ordering::SeqCst), 0);
    let (address, _) = answering(OK);
    assert!(is_alive(plain(address, TIMEOUT)));
}

#[test]
fn asks_for_the_path_and_names_the_address_as_host() {
    let (sender, heads) = mpsc::sync_channel(1);
    let address = backend::serve(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        sender.send(request(&mut reader).expect("a request")).expect("waited for");
        let mut writer = stream;
        writer.write_all(OK.as_bytes()).expect("sent");
        let _ = reader.read_to_end(&mut Vec::new());
    });
    assert!(is_alive(plain(address, TIMEOUT)));
    let head = heads.recv().expect("a head");
    assert_eq!(head[0], "GET /ready HTTP/1.1");
    assert!(head.contains(&format!("host: {address}")), "{head:?}");
}

#[test]
fn says_why_nothing_answered() {
    // 192.0.2.0/24 is for documents: a namespace without a network has no route to it.
    if crate::support::namespace::inside("answers::says_why_nothing_answered") {
        let nowhere = ([192, 0, 2, 1], 4191).into();
        assert_eq!(plain(nowhere, TIMEOUT), failed(Failure::Unreachable));
    }
    assert_eq!(plain(backend::closed_port(), TIMEOUT), failed(Failure::Refused));

    let (address, _sockets) = backend::black_hole();
    assert_eq!(plain(address, SHORT), failed(Failure::ConnectTimeout));

    let (address, _silent) = backend::handed_over();
    assert_eq!(plain(address, SHORT), failed(Failure::AnswerTimeout));

    let address = backend::serve(drop);
    assert_eq!(plain(address, TIMEOUT), failed(Failure::Closed));

    let (address, _) = answering("220 mail.example.com ESMTP\r\n");
    assert_eq!(plain(address, TIMEOUT), failed(Failure::NotHttp));
}

#[test]
fn a_slow_answer_counts_if_it_comes_in_time() {
    let slow = || {
        backend::serve(|mut stream| {
            let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
            while request(&mut reader).is_some() {
                std::thread::sleep(SHORT);
                let _ = stream.write_all(OK.as_bytes());
            }
        })
    };
    let Probed::Alive(latency) = plain(slow(), TIMEOUT) else { panic!("not alive") };
    assert!(latency >= SHORT, "{latency:?}");
    assert_eq!(plain(slow(), SHORT / 2), failed(Failure::AnswerTimeout));
}

#[test]
fn a_head_in_time_is_enough_however_its_body_goes_on() {
    let (endless, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nready");
    assert!(is_alive(plain(endless, TIMEOUT)));
    assert!(is_alive(plain(endless, SHORT)), "the body is not waited for within the timeout");
}

#[test]
fn the_connection_is_kept_and_one_that_has_ended_is_no_failure() {
    let (address, connections) = answering(OK);
    run(async {
        let mut prober = Prober::new(target(address, None, TIMEOUT));
        for _ in 0..5 {
            assert!(is_alive(prober.probe(None).await));
            prober.wait(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    // Each connection serves two requests; the third one it reads, and ends instead of an answer.
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = backend::serve(move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        for _ in 0..2 {
            let Some(_) = request(&mut reader) else { return };
            stream.write_all(OK.as_bytes()).expect("sent");
        }
        request(&mut reader);
    });
    run(async {
        let mut prober = Prober::new(target(address, None, TIMEOUT));
        for _ in 0..6 {
            assert!(is_alive(prober.probe(None).await));
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[test]
fn a_new_connection_that_ends_without_an_answer_is_a_failure() {
    let served = AtomicUsize::new(0);
    let address = backend::serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        if served.fetch_add(1, Ordering::SeqCst) == 0 {
            request(&mut reader);
            stream.write_all(OK.as_bytes()).expect("sent");
        }
    });
    run(async {
        let mut prober = Prober::new(target(address, None, TIMEOUT));
        assert!(is_alive(prober.probe(None).await));
        prober.wait(Duration::from_millis(50)).await;
        assert_eq!(prober.probe(None).await, failed(Failure::Closed));
    });
}

#[test]
fn what_says_no_is_not_kept_so_that_the_next_probe_may_find_another_replica() {
    let (address, connections) =
        answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    run(async {
        let mut prober = Prober::new(target(address, None, TIMEOUT));
        for _ in 0..3 {
            assert_eq!(prober.probe(None).await, failed(Failure::Status(503)));
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}
