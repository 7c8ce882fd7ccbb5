//! Cuts live connections that what is in force now does not let go on.
//!
//! Called after a new policy or route table was put in force. The other half is in `proxy`: a
//! connection registers its target and then asks table and policy; here these are swapped and then
//! the targets are looked at. So no connection slips between the two.

use std::sync::atomic::{Ordering, fence};

use crate::model::discovery::catalog::Gone;
use crate::model::outcome::Outcome;
use crate::model::policy::{Action, Policy, RequestFacts};
use crate::model::route::RouteTable;
use crate::state::State;
use crate::state::connections::{HttpLive, Live};

/// Cuts those that the policy, or the restriction of their route, does not allow any more, and says
/// how many.
pub fn allowed(state: &State) -> usize {
    fence(Ordering::SeqCst);
    let (policy, routes) = (state.policy.load(), state.routes.load());
    let denied = |live: &Live| !still_allowed(&policy, &routes, live);
    state.connections.cancel_where(Outcome::NoLongerAllowed, denied)
}

/// Cuts those to targets that are exported no longer, and says how many. A target that
/// configuration has a route for stays reachable, and so do its connections.
pub fn exported(state: &State, gone: &Gone) -> usize {
    if gone.is_empty() {
        return 0;
    }
    fence(Ordering::SeqCst);
    let routes = state.routes.load();
    let is_gone = |live: &Live| {
        let target = live.target();
        target.is_some_and(|target| gone.has(target) && routes.governing(target).is_none())
    };
    state.connections.cancel_where(Outcome::NoLongerExported, is_gone)
}

/// Whether a live connection may go on. One that has not said yet where it goes will ask by itself.
fn still_allowed(policy: &Policy, routes: &RouteTable, live: &Live) -> bool {
    let (Some(identity), Some(target)) = (live.identity(), live.target()) else { return true };
    let source = live.source().ip();
    let http = live.http_session();
    let verdict = match (http, http.and_then(HttpLive::last_request)) {
        // What it has become is that request, for as long as it lasts.
        (Some(_), Some((method, path))) => {
            policy.decide_request(identity, source, target, RequestFacts { method, path })
        }
        // Its next request is asked about by itself; what is cut here may do nothing any more.
        (Some(_), None) => policy.decide_session(identity, source, target),
        (None, _) => policy.decide(identity, source, target),
    };
    let restriction = || routes.governing(target).and_then(|route| route.restriction.as_ref());
    verdict.action == Action::Allow
        && restriction().is_none_or(|restriction| restriction.allows(identity))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::model::discovery::restriction::Restriction;
    use crate::model::identity::Identity;
    use crate::model::route::{Route, RouteSource};
    use crate::model::service::Target;
    use crate::state::connections::Registration;

    const WEB: &str = "web.ns.svc.c:80";

    fn live(state: &State, target: &str) -> Registration {
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let live = state.connections.register(address, address, 0);
        live.identified(Identity::parse("a.b").expect("an identity"));
        live.targeted(Target::parse(target).expect("a target"));
        live
    }

    fn publish(state: &State, source: RouteSource, restriction: Option<&str>) {
        let target = Target::parse(WEB).expect("a target");
        let restriction =
            restriction.map(|text| Arc::new(Restriction::parse(text).expect("valid")));
        let route = Route { source, restriction, ..Route::new(target, Vec::new()) };
        state.routes.store(Arc::new(RouteTable::of([Arc::new(route)], None)));
    }

    #[test]
    fn a_restriction_cuts_also_those_to_hosts_that_are_gone() {
        let state = State::default();
        let all = [WEB, "web-0.web.ns.svc.c:80", "other.ns.svc.c:80"];
        let all = all.map(|target| live(&state, target));
        publish(&state, RouteSource::Kubernetes, Some("*.b"));
        assert_eq!(allowed(&state), 0);
        publish(&state, RouteSource::Kubernetes, Some("*.c"));
        assert_eq!(allowed(&state), 2);
        assert_eq!(all.map(|live| live.is_cancelled()), [true, true, false]);
    }

    #[test]
    fn nothing_is_cut_while_nothing_is_gone() {
        let state = State::default();
        let live = live(&state, WEB);
        assert_eq!(exported(&state, &Gone::default()), 0);
        assert!(!live.is_cancelled());
    }
}
