//! What real peers cannot show.

use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn the_future_of_a_relay_is_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let end = || async { End::Tcp(TcpStream::connect(address).await.expect("connected")) };
    let (client, endpoint) = (end().await, end().await);
    let bytes = ByteCounts::default();
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { user: second, half_closed: second, idle: None };
    let mut relay = Relay::new(client, endpoint, Vec::new(), timeouts);
    let size = size_of_val(&relay) + size_of_val(&relay.run(&bytes));
    eprintln!("{size} bytes per relay");
    assert!(size <= 448, "{size}");
}
