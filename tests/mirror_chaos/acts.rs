//! What users, API servers and the machine do, one random act at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kubernetes::{Fault, Matcher, Rules, Times, objects};
use crate::world::{NAMES, SPACES, STABLE, STATEFUL, SYSTEM, World};

impl World {
    /// One random act.
    pub fn act(&mut self) {
        match self.random.u8(..100) {
            0..42 => self.change_remote(),
            42..50 => self.change_stable(),
            50..56 => self.change_foreign(),
            56..59 => self.change_namespace(),
            59..64 => self.change_link(),
            64..66 => self.rotate(),
            66..70 => self.turn_gateway(),
            70..90 => self.fault(),
            90..95 => self.break_connections(),
            _ => self.change_processes(),
        }
    }

    /// Ends all faults, and leaves what can be judged: a Link, a process, and pods behind headless
    /// Services (without any, what their mirrors are depends on what they were).
    pub fn calm(&mut self) {
        self.west.clear_faults();
        self.east.clear_faults();
        // What hangs or is silent would for longer than this test lasts.
        self.west.disconnect();
        self.east.disconnect();
        match self.west.get("Link", SYSTEM, "east") {
            None => drop(self.west.create(self.link())),
            Some(mut link) if link["spec"]["gatewayPort"] == "none" => {
                link["spec"]["gatewayPort"] = "4143".into();
                self.west.apply(link);
            }
            Some(_) => {}
        }
        for service in self.east.list("Service") {
            if service["spec"]["clusterIP"] == "None" {
                let slice = self.pods(&service, &[true]);
                self.east.apply(slice);
            }
        }
        if self.mirrors.is_empty() {
            self.start();
        }
        self.tell("calm");
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.random.usize(..all.len())]
    }

    fn change_remote(&mut self) {
        let namespace = self.one_of(&SPACES);
        let is_stateful = self.random.u8(..3) == 0;
        let name = self.one_of(if is_stateful { &STATEFUL } else { &NAMES });
        let old = self.east.get("Service", namespace, name);
        let act = self.random.u8(..10);
        self.tell(format!("remote {act}: {namespace}/{name}"));
        // Now and then the watches miss it, and lists are all that tell.
        let is_unseen = self.random.u8(..5) == 0;
        let changes = match (act, old) {
            (0..3, _) | (_, None) => {
                let service = self.some_service(namespace, name, is_stateful);
                let slice = self.some_pods(&service);
                vec![(true, namespace.to_owned(), name.to_owned(), vec![service, slice])]
            }
            (3 | 4, Some(_)) => vec![(true, namespace.to_owned(), name.to_owned(), vec![])],
            (5 | 6, Some(mut old)) => {
                old["metadata"]["labels"] = json!({ "team": "x" });
                vec![(false, namespace.to_owned(), name.to_owned(), vec![old])]
            }
            (7, Some(mut old)) => {
                old["metadata"]["labels"]["team"] = format!("t{}", self.random.u8(..)).into();
                old["metadata"]["annotations"]["note"] = format!("{}", self.random.u8(..)).into();
                vec![(false, namespace.to_owned(), name.to_owned(), vec![old])]
            }
            (_, Some(old)) => {
                let slice = self.some_pods(&old);
                vec![(false, namespace.to_owned(), name.to_owned(), vec![slice])]
            }
        };
        let apply = |east: &crate::support::kubernetes::Cluster| {
            for (is_replaced, namespace, name, new) in changes {
                if is_replaced {
                    east.delete("EndpointSlice", &namespace, &format!("{name}-1"));
                    east.delete("Service", &namespace, &name);
                }
                new.into_iter().for_each(|object| drop(east.apply(object)));
            }
        };
        if is_unseen {
            self.east.unseen(apply);
            self.east.compact();
            self.east.expire_watches();
        } else {
            apply(&self.east);
        }
    }

    fn some_service(&mut self, namespace: &str, name: &str, is_stateful: bool) -> Value {
        let all = [("http", 80, 8080), ("grpc", 81, 9090), ("metrics", 9100, 9100)];
        let ports = &all[..self.random.usize(1..=all.len())];
        let mut service = objects::exported(namespace, name, ports);
        if self.random.bool() {
            service = objects::labelled(service, "team", "a");
        }
        if self.random.u8(..4) == 0 {
            service = objects::labelled(service, "mirror.linkerd.io/federated", "member");
        }
        if is_stateful && self.random.bool() {
            service = objects::headless(service);
        }
        service
    }

    fn some_pods(&mut self, service: &Value) -> Value {
        let count = self.random.usize(..4);
        let ready: Vec<_> = (0..count).map(|_| self.random.u8(..4) > 0).collect();
        self.pods(service, &ready)
    }

    /// A slice with as many pods; those of a headless Service have names.
    fn pods(&self, service: &Value, ready: &[bool]) -> Value {
        let addresses: Vec<_> = (0..ready.len()).map(|n| format!("10.1.1.{}", n + 1)).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let mut slice = objects::slice(service, "1", &addresses);
        for (index, is_ready) in ready.iter().enumerate() {
            slice["endpoints"][index]["conditions"]["ready"] = (*is_ready).into();
            if service["spec"]["clusterIP"] == "None" {
                let name = service["metadata"]["name"].as_str().expect("a name");
                slice["endpoints"][index]["hostname"] = format!("{name}-{index}").into();
            }
        }
        slice
    }

    fn change_stable(&mut self) {
        let name = self.one_of(&["one", "two", "set"]);
        self.tell(format!("stable: {name}"));
        let mut service = self.east.get("Service", STABLE, name).expect("it stays");
        service["metadata"]["labels"]["team"] = format!("t{}", self.random.u8(..)).into();
        if name != "set" {
            service["spec"]["ports"][0]["port"] = self.random.u16(80..90).into();
            let is_ready = self.random.bool();
            self.east.apply(self.pods(&service, &[is_ready]));
        }
        self.east.apply(service);
    }

    /// A Service of someone else under a mirror's name, or its end.
    fn change_foreign(&mut self) {
        let key = self.foreign.keys().next().cloned();
        if let Some(key) = key.filter(|_| self.random.bool()) {
            self.tell(format!("foreign gone: {}/{}", key.0, key.1));
            self.check_foreign();
            self.foreign.remove(&key);
            self.west.delete("Service", &key.0, &key.1);
            return;
        }
        let namespace = self.one_of(&SPACES);
        let name = match self.random.u8(..3) {
            0 => format!("{}-0-east", self.one_of(&STATEFUL)),
            _ => format!("{}-east", self.one_of(&NAMES)),
        };
        // Sometimes in the moment before the mirror would write.
        let foreign = objects::service(namespace, &name, &[("theirs", 1, 1)]);
        if let Ok(made) = self.west.try_create(foreign) {
            self.tell(format!("foreign: {namespace}/{name}"));
            self.foreign.insert((namespace.to_owned(), name), made);
        }
    }

    fn change_namespace(&mut self) {
        let name = self.one_of(&SPACES);
        self.tell(format!("namespace: {name}"));
        self.check_foreign();
        if self.west.delete("Namespace", "", name).is_some() {
            self.foreign.retain(|(namespace, _), _| namespace != name);
        }
        if self.random.u8(..4) > 0 {
            self.west.create(objects::namespace(name));
        }
    }

    fn change_link(&mut self) {
        let Some(mut link) = self.west.get("Link", SYSTEM, "east") else {
            self.tell("link: made");
            self.west.create(self.link());
            return;
        };
        let act = self.random.u8(..5);
        self.tell(format!("link {act}"));
        match act {
            0 => {
                self.west.delete("Link", SYSTEM, "east");
                if self.random.bool() {
                    self.west.create(self.link());
                }
                return;
            }
            1 => link["spec"]["excludedLabels"] = json!(["team"]),
            2 => link["spec"]["excludedLabels"] = json!([]),
            // Wrong: everything stays as it is until it is right again.
            3 => link["spec"]["gatewayPort"] = "none".into(),
            _ => link["spec"]["gatewayPort"] = self.random.u16(4143..4146).to_string().into(),
        }
        self.west.apply(link);
    }

    fn rotate(&mut self) {
        self.tell("rotation");
        let token = self.east.token("mirror", Rules::all());
        let kubeconfig = self.east.kubeconfig(&token);
        self.west.apply(objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig));
        let old = std::mem::replace(&mut self.token, token);
        self.east.revoke(&old);
    }

    fn turn_gateway(&mut self) {
        let status = if self.random.bool() { 200 } else { 503 };
        self.tell(format!("gateway: {status}"));
        self.probe_status.store(status, Ordering::Relaxed);
    }

    fn fault(&mut self) {
        let verbs = ["", "get", "list", "watch", "create", "update", "patch", "delete"];
        let verb = self.one_of(&verbs);
        let resources = ["", "services", "endpoints", "endpointslices", "links", "leases"];
        let resource = self.one_of(&resources);
        let fault = match self.random.u8(..9) {
            0 => Fault::Cut,
            1 => Fault::Delay(Duration::from_millis(self.random.u64(..800))),
            2 => Fault::Doubled,
            3 => Fault::Hang,
            4 => Fault::Silent,
            5 => Fault::TooManyRequests(1),
            6 => Fault::Truncated,
            7 => Fault::Status(500),
            _ => Fault::Status(503),
        };
        let is_west = self.random.bool();
        let times = Times::Next(self.random.usize(1..4));
        self.tell(format!("fault: west {is_west} {verb} {resource} {fault:?} {times:?}"));
        let cluster = if is_west { &self.west } else { &self.east };
        cluster.inject(Matcher::new(verb, resource), fault, times);
    }

    fn break_connections(&mut self) {
        let act = self.random.u8(..5);
        let is_west = self.random.bool();
        self.tell(format!("break {act}: west {is_west}"));
        let cluster = if is_west { &self.west } else { &self.east };
        match act {
            0 => cluster.disconnect(),
            1 => cluster.cut_watches(),
            2 => cluster.expire_watches(),
            3 => cluster.compact(),
            _ => {
                cluster.stop();
                std::thread::sleep(Duration::from_millis(self.random.u64(1..700)));
                cluster.serve();
            }
        }
    }

    fn change_processes(&mut self) {
        if self.mirrors.is_empty() || (self.mirrors.len() < 2 && self.random.bool()) {
            self.tell("a process starts");
            return self.start();
        }
        let index = self.random.usize(..self.mirrors.len());
        let mut mirror = self.mirrors.remove(index);
        let signal = if self.random.u8(..3) > 0 { "KILL" } else { "TERM" };
        self.tell(format!("a process ends: {signal}"));
        mirror.signal(signal);
        let status = mirror.wait();
        assert!(signal == "KILL" || status.success(), "{status}");
    }
}
