//! No route ends at one of our own listeners. What configuration alone can show is refused there
//! (`tests/config`); the rest when a connection is made.

use crate::TARGET;
use crate::support::certs::TestCa;
use crate::support::client::{Client, header_for, refusal};
use crate::support::gateway::Builder;
use crate::support::namespace::{inside, run};

#[test]
fn no_address_of_this_host_leads_to_our_own_listeners() {
    if !inside("own_listener::no_address_of_this_host_leads_to_our_own_listeners") {
        return;
    }
    run("ip addr add 10.77.0.1/24 dev lo");
    // A second address of one network: the kernel connects to it from the first.
    run("ip addr add 10.77.0.2/24 dev lo");
    run("ip addr add fd77::1/128 dev lo nodad");
    // A whole network that is this host.
    run("ip route add local 10.78.0.0/16 dev lo");
    for ip in ["10.77.0.1", "10.77.0.2", "10.78.1.2", "[::ffff:10.77.0.1]", "[fd77::1]"] {
        for port in [4143, 4191] {
            let ca = TestCa::new("ca");
            let mut gateway = Builder::new(&ca)
                .configure("[gateway]\nlisten = [\"[::]:4143\"]\n[admin]\nlisten = \"[::]:4191\"")
                .configure(&format!(
                    "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{ip}:{port}\"]"
                ))
                .start();
            refusal(&Client::new(&ca), gateway.address, &header_for(TARGET, None));
            // The connection to ourselves may be logged first.
            let mut line = gateway.outcome();
            if line["outcome"] == "closed_before_first_byte" {
                line = gateway.outcome();
            }
            assert_eq!(line["outcome"], "own_listener", "{ip}:{port}: {line}");
        }
    }
}
