//! The whole way: exported in east, seen in west, reached, lost, found again, withdrawn.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::pair::{APPS, EAST, Pair, SYSTEM};
use crate::support::backend;
use crate::support::client::{Client, half_close, header_for, read_all, refusal};

const TARGET: &str = "podinfo.lgw-test-apps.svc.cluster.local";

/// Exports a Service, follows it, and takes it back.
pub fn an_exported_service_is_mirrored_reached_and_withdrawn(pair: &Pair) {
    let exported = json!({ "mirror.linkerd.io/exported": "true", "team": "a" });
    let pod = backend::echo_at(&pair.at(0).to_string());
    pair.serve("podinfo", &exported, pod);
    pair.serve("secret", &json!({}), pod);
    let mut east = pair.start_east();
    pair.join(&pair.link());
    let west = pair.start_west("");

    let (west_cluster, east_cluster) = (&pair.west, &pair.east);
    let mirror = west_cluster.wait("the mirror", |west| west.get("Service", APPS, "podinfo-east"));
    let (labels, annotations) = (&mirror["metadata"]["labels"], &mirror["metadata"]["annotations"]);
    assert_eq!(labels["mirror.linkerd.io/mirrored-service"], "true");
    assert_eq!(labels["mirror.linkerd.io/cluster-name"], EAST);
    assert_eq!(labels["team"], "a");
    assert_eq!(annotations["mirror.linkerd.io/remote-svc-fq-name"], TARGET);
    assert_eq!(ready(pair, "addresses"), [pair.gateway()]);
    west_cluster.wait("the slice", |_| (slices(pair) == [(pair.gateway(), true)]).then_some(()));
    west_cluster.wait("the Link's status", |west| {
        let link = west.get("Link", SYSTEM, EAST)?;
        let service = &link["status"]["mirrorServices"][0];
        let is_said = service["remoteRef"]["name"] == "podinfo"
            && service["conditions"][0]["reason"] == "Mirrored";
        is_said.then_some(())
    });
    assert!(west_cluster.get("Service", APPS, "secret-east").is_none());

    // What a client in west does: the address of the Endpoints, the name of the annotation.
    let client = Client::new(&pair.ca);
    let mut stream = client.open(pair.gateway(), &format!("{TARGET}:9898"));
    stream.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"hello");
    half_close(&mut stream);
    assert!(read_all(&mut stream).is_empty());
    east.expect("closed");
    let secret = header_for("secret.lgw-test-apps.svc.cluster.local:9898", None);
    refusal(&client, pair.gateway(), &secret);
    east.expect("not_exported");

    drop(east);
    assert_eq!(ready(pair, "notReadyAddresses"), [pair.gateway()]);
    west_cluster.wait("the slice says so, too", |_| {
        (slices(pair) == [(pair.gateway(), false)]).then_some(())
    });
    let mut east = pair.start_east();
    assert_eq!(ready(pair, "addresses"), [pair.gateway()]);

    let mut live = client.open(pair.gateway(), &format!("{TARGET}:9898"));
    live.write_all(b"still").expect("sent");
    live.read_exact(&mut answer).expect("an answer");
    let no_label = json!({ "metadata": { "labels": { "mirror.linkerd.io/exported": null } } });
    east_cluster.patch("Service", APPS, "podinfo", &no_label);
    west_cluster.wait("the mirror's end", |west| {
        west.get("Service", APPS, "podinfo-east").is_none().then_some(())
    });
    assert!(live.read(&mut answer).is_err(), "the connection was not cut");
    let end = east.outcome();
    let label = end["outcome"].as_str().expect("a label");
    assert!(["no_longer_exported", "no_longer_allowed"].contains(&label), "{end}");
    west_cluster.wait("nothing is left", |west| {
        let left = ["Service", "Endpoints", "EndpointSlice"]
            .map(|kind| west.list(kind, APPS, "mirror.linkerd.io/mirrored-service").len());
        (left == [0; 3]).then_some(())
    });
    drop(west);
}

/// The mirror's addresses in this list, once there are any.
fn ready(pair: &Pair, list: &str) -> Vec<SocketAddr> {
    pair.west.wait(list, |west| {
        let endpoints = west.get("Endpoints", APPS, "podinfo-east")?;
        let subset = endpoints["subsets"].get(0)?;
        let port = u16::try_from(subset["ports"][0]["port"].as_u64()?).ok()?;
        let address =
            |address: &Value| Some(SocketAddr::new(address["ip"].as_str()?.parse().ok()?, port));
        let addresses: Vec<_> = subset[list].as_array()?.iter().filter_map(address).collect();
        Some(addresses).filter(|addresses| !addresses.is_empty())
    })
}

/// The addresses of the mirror's slices, and whether each is ready.
fn slices(pair: &Pair) -> Vec<(SocketAddr, bool)> {
    let labels = "kubernetes.io/service-name=podinfo-east";
    let mut all = Vec::new();
    for slice in pair.west.list("EndpointSlice", APPS, labels) {
        let port = slice["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let ip = endpoint["addresses"][0].as_str().and_then(|ip| ip.parse().ok());
            let address = SocketAddr::new(ip.expect("an address"), port.expect("a port"));
            all.push((address, endpoint["conditions"]["ready"] == true));
        }
    }
    all
}
