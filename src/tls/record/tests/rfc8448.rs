//! RFC 8448, section 3: the published keys give the published records.

use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};

use super::*;

const CLIENT: (&str, &str) = ("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9");
const SERVER: (&str, &str) = ("9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984");
const CLIENT_RECORDS: &[&str] = &[
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20\
     441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
    "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
];
const SERVER_RECORDS: &[&str] = &[
    // A ticket.
    "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758\
     db289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0\
     d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77c\
     a475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d02\
     3e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985\
     684f",
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb50\
     1a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
    "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
];

fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

fn key((key, iv): (&str, &str)) -> Key {
    let key = UnboundKey::new(&AES_128_GCM, &unhex(key)).expect("16 bytes");
    let iv = unhex(iv).try_into().expect("12 bytes");
    Key { key: LessSafeKey::new(key), iv, number: 0 }
}

/// Records of a side whose keys are the published ones.
fn records(role: Role) -> Records {
    let (client, server) = both(0);
    let (mut records, incoming, outgoing) = match role {
        Role::Client => (client, SERVER, CLIENT),
        Role::Server => (server, CLIENT, SERVER),
    };
    (records.incoming, records.outgoing) = (key(incoming), key(outgoing));
    records
}

#[test]
fn sealing_gives_the_published_records() {
    let payload: Vec<u8> = (0..50).collect();
    let mut client = records(Role::Client);
    assert_eq!(sealed(&mut client, &payload), unhex(CLIENT_RECORDS[0]));
    assert_eq!(sealed_alert(&mut client, CLOSE_NOTIFY), unhex(CLIENT_RECORDS[1]));
    let mut server = records(Role::Server);
    // The server's first record was the ticket.
    server.outgoing.number = 1;
    assert_eq!(sealed(&mut server, &payload), unhex(SERVER_RECORDS[1]));
    assert_eq!(sealed_alert(&mut server, CLOSE_NOTIFY), unhex(SERVER_RECORDS[2]));
}

#[test]
fn the_published_records_open() {
    for (role, stream) in [(Role::Client, SERVER_RECORDS), (Role::Server, CLIENT_RECORDS)] {
        let stream = unhex(&stream.concat());
        let (opened, plaintext) = open(&mut records(role), &stream);
        assert_eq!((opened.next, opened.consumed), (Next::Closed, stream.len()));
        assert_eq!(plaintext, (0..50).collect::<Vec<u8>>());
    }
}
