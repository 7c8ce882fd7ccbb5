//! One request on one endpoint: over a connection of its pool, or a new one.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::body::{BodyFault, Bounds, RequestBody, Source};
use super::client1::{self, Transfer};
use super::client2::{self, Http2};
use super::context::Context;
use super::exchange::{Failed, Interim};
use super::outgoing::Request;
use super::pool::{Choice, Connection, Place};
use super::response::{Response, ResponseBody, Upgraded};
use super::wire::Wire;
use crate::model::counts::ByteCounts;
use crate::model::header::SessionProtocol;
use crate::model::http::failure::Failure;
use crate::model::http::head::Framing;
use crate::model::identity::Identity;
use crate::model::route::{Endpoint, Route};
use crate::observe::metrics::Transport;
use crate::proxy::connect::{ConnectError, Connected, OpenCount, Opening};
use crate::proxy::end::End;
use crate::proxy::preface;
use crate::proxy::relay::Side;
use crate::runtime::now_millis;

/// One request on one endpoint.
pub struct Attempt<'a> {
    /// The session.
    pub context: &'a Context,
    /// The route that was found.
    pub route: &'a Arc<Route>,
    /// The endpoint that was chosen.
    pub endpoint: &'a Arc<Endpoint>,
    /// Until when it may be connected.
    pub until: Instant,
    /// No connection has turned out to be useless.
    pub is_first: bool,
}

/// Why an attempt failed.
pub enum Fail {
    /// The request was never served: another endpoint may have it.
    Again {
        /// What it is answered with when there is no other.
        failure: Failure,
        /// The request, whole again.
        request: Box<Request>,
        /// Only the connection was at fault: the same endpoint is as good.
        same: bool,
    },
    /// It may have been: that is its end.
    Final(Failed),
}

impl From<Failure> for Fail {
    fn from(failure: Failure) -> Self {
        Self::Final(failure.into())
    }
}

impl Attempt<'_> {
    /// Sends the request and waits for the head of its response.
    ///
    /// # Errors
    /// See [`Fail`].
    pub async fn run(
        &self,
        request: Box<Request>,
        interim: &mut impl Interim,
    ) -> Result<Response, Fail> {
        let is_meshed = self.endpoint.onward.is_some();
        if request.leaves_http() || (!is_meshed && request.version != http::Version::HTTP_2) {
            self.over_http1(request, interim).await
        } else {
            self.over_http2(request, interim).await
        }
    }

    fn place(&self, is_private: bool) -> Place {
        let bounds = self.context.rules.http.pool();
        Place::new(Arc::clone(self.endpoint), bounds, is_private || self.route.proxy_protocol)
    }

    /// Connects; a request that was not sent yet may go elsewhere.
    async fn dial(&self, session: SessionProtocol) -> Result<(End, Option<Identity>), Failure> {
        let context = self.context;
        let gateway = &context.gateway;
        let credentials = gateway.state.credentials.load_full().ok_or(Failure::Unexpected)?;
        let opening = Opening {
            session: Some(session),
            proxy_header: preface::onward(self.route, &context.live, None, &context.client),
        };
        let connector = &context.rules.connector;
        let target = &self.route.target;
        let dialled = connector
            .dial(target, self.endpoint, self.until, &opening, &credentials, &gateway.metrics)
            .await;
        dialled.map_err(|error| {
            tracing::debug!(%target, %error, "cannot reach an endpoint");
            failure_of(&error)
        })
    }

    async fn over_http1(
        &self,
        mut request: Box<Request>,
        interim: &mut impl Interim,
    ) -> Result<Response, Fail> {
        let framing = request.framing()?;
        let head = request.http1_head(&self.route.target, framing)?;
        // A connection that leaves HTTP does not come back, and one over TLS is for one client.
        let place = self.place(request.leaves_http() || self.endpoint.onward.is_some());
        // Where one kept connection was closed all may be.
        let kept = if self.is_first { place.take() } else { None };
        let (connection, identity) = match kept {
            Some(connection) => (connection, None),
            None => match Box::pin(self.dial(SessionProtocol::Http1)).await {
                Ok((end, identity)) => (self.connection(end, identity.as_ref()), identity),
                Err(failure) => return Err(again(failure, request, false)),
            },
        };
        let reused = connection.reused;
        self.context.gateway.metrics.http_endpoint_request(reused);
        let body = std::mem::replace(&mut request.body, nothing());
        let method = request.method.clone();
        let expects = request.expects_continue();
        let mut transfer = Transfer::new(connection, place, method, head, body, framing, expects);
        let head = loop {
            match transfer.head().await {
                Ok(client1::Head::Interim(status, headers)) => interim.pass(status, headers),
                Ok(client1::Head::Final(head)) => break head,
                Err(error) => return Err(self.broken_http1(error, transfer, request, reused)),
            }
        };
        let leaves = request.leaves_http()
            && match head.status {
                StatusCode::SWITCHING_PROTOCOLS => request.upgrade.is_some(),
                status => request.method == http::Method::CONNECT && status.is_success(),
            };
        if head.status == StatusCode::SWITCHING_PROTOCOLS && !leaves {
            return Err(Failure::Endpoint.into());
        }
        let (upgraded, body) = if leaves {
            (transfer.into_upgraded(), ResponseBody::Empty)
        } else {
            (None, ResponseBody::Http1(transfer))
        };
        let upgraded = upgraded.map(|(connection, early)| Upgraded {
            connected: Connected {
                end: connection.into_end(),
                address: self.endpoint.dial_address(),
                identity,
                place: OpenCount::new(self.endpoint),
            },
            early,
        });
        let mut headers = head.headers;
        // What leaves HTTP has no length, whatever it says (RFC 9110, 9.3.6).
        if upgraded.is_some() || matches!(head.framing, Framing::Chunked) {
            headers.remove(http::header::CONTENT_LENGTH);
        }
        Ok(Response { status: head.status, headers, body, upgraded })
    }

    fn broken_http1(
        &self,
        error: client1::TransferError,
        transfer: Box<Transfer>,
        mut request: Box<Request>,
        reused: bool,
    ) -> Fail {
        if let client1::TransferError::Body(fault) = error {
            return body_fault(fault);
        }
        tracing::debug!(endpoint = %self.endpoint.address, %error, "no response");
        if !reused {
            self.endpoint.state.failed(now_millis());
        }
        if transfer.may_repeat() {
            request.body = transfer.into_body();
            return again(Failure::Endpoint, request, reused);
        }
        Failure::Endpoint.into()
    }

    /// What counts a new connection to the endpoint, and its bytes.
    fn counts(&self, identity: Option<&Identity>) -> (Arc<ByteCounts>, Transport) {
        let bytes = Arc::<ByteCounts>::default();
        let transport = self.context.gateway.metrics.endpoint_transport(
            &self.route.target,
            self.endpoint.dial_address(),
            identity,
            Arc::clone(&bytes),
        );
        (bytes, transport)
    }

    fn connection(&self, end: End, identity: Option<&Identity>) -> Connection {
        let (bytes, transport) = self.counts(identity);
        Connection::new(end, bytes, transport, self.context.rules.timeouts.user)
    }

    async fn over_http2(
        &self,
        mut request: Box<Request>,
        interim: &mut impl Interim,
    ) -> Result<Response, Fail> {
        let head = request.http2_head(&self.route.target)?;
        let connection = match timeout_at(self.until, self.http2()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(failure)) => return Err(again(failure, request, false)),
            Err(_elapsed) => return Err(again(Failure::EndpointTimeout, request, false)),
        };
        let body = std::mem::replace(&mut request.body, nothing());
        let sending = timeout_at(self.until, connection.send(head, body)).await;
        let mut transfer = match sending {
            Ok(Ok(transfer)) => transfer,
            Ok(Err((_, body))) => {
                request.body = body;
                return Err(again(Failure::Endpoint, request, true));
            }
            // All its streams are taken for longer than connecting may take.
            Err(_elapsed) => return Err(Failure::EndpointTimeout.into()),
        };
        let head = loop {
            match transfer.head().await {
                Ok(client2::Head::Interim(status, headers)) => interim.pass(status, headers),
                Ok(client2::Head::Final(head)) => break head,
                Err(error) => return Err(self.broken_http2(error, transfer, request)),
            }
        };
        let body = ResponseBody::Http2(transfer);
        Ok(Response { status: head.status, headers: head.headers, body, upgraded: None })
    }

    fn broken_http2(
        &self,
        error: client2::TransferError,
        transfer: Box<client2::Transfer>,
        mut request: Box<Request>,
    ) -> Fail {
        tracing::debug!(endpoint = %self.endpoint.address, %error, "no response");
        if error.is_unserved() {
            request.body = transfer.into_body();
            return again(Failure::Endpoint, request, true);
        }
        match error {
            client2::TransferError::Body(fault) => body_fault(fault),
            // A marked request is HTTP/1 for its client, which knows no resets.
            client2::TransferError::Reset(_) if request.version != http::Version::HTTP_2 => {
                Failure::Endpoint.into()
            }
            client2::TransferError::Reset(reason) => Fail::Final(Failed::Reset(reason)),
            client2::TransferError::Connection(_) => {
                self.endpoint.state.failed(now_millis());
                Failure::Endpoint.into()
            }
        }
    }

    /// A connection that takes another request.
    async fn http2(&self) -> Result<Http2, Failure> {
        let generation = {
            let credentials = self.context.gateway.state.credentials.load();
            credentials.as_ref().map_or(0, |credentials| credentials.generation)
        };
        let place = self.place(false);
        match self.route.proxy_protocol {
            true => Box::pin(self.dial_http2(generation)).await,
            false => match place.choose(generation, false) {
                Choice::Use(connection) => Ok(connection),
                Choice::Dial(lock) => Box::pin(self.dial_shared(place, generation, lock)).await,
            },
        }
    }

    /// A new connection, or that of who was faster.
    async fn dial_shared(
        &self,
        place: Place,
        generation: u64,
        lock: Arc<tokio::sync::Mutex<()>>,
    ) -> Result<Http2, Failure> {
        let _dialing = lock.lock().await;
        if let Choice::Use(connection) = place.choose(generation, true) {
            return Ok(connection);
        }
        let connection = self.dial_http2(generation).await?;
        place.share(&connection);
        Ok(connection)
    }

    async fn dial_http2(&self, generation: u64) -> Result<Http2, Failure> {
        let (end, identity) = self.dial(SessionProtocol::Http2).await?;
        let (bytes, transport) = self.counts(identity.as_ref());
        let budget = self.context.rules.http.settings.window_budget;
        let window = self.context.gateway.windows.take_shared(budget);
        let wire = Wire::new(end, Side::Endpoint, bytes, Vec::new());
        let generation = identity.is_some().then_some(generation);
        let opened = Http2::open(wire, window, transport, generation).await;
        opened.map_err(|_| Failure::Endpoint)
    }
}

fn again(failure: Failure, request: Box<Request>, same: bool) -> Fail {
    Fail::Again { failure, request, same }
}

fn body_fault(fault: BodyFault) -> Fail {
    Fail::Final(match fault {
        BodyFault::Aborted(reason) => Failed::Reset(reason),
        BodyFault::Timeout => Failed::Answer(Failure::BodyTimeout),
        BodyFault::TooLarge => Failed::Answer(Failure::BodyTooLarge),
    })
}

fn failure_of(error: &ConnectError) -> Failure {
    match error {
        ConnectError::NoEndpoints => Failure::FailFast,
        ConnectError::OwnListener(_) => Failure::Loop,
        ConnectError::TimedOut(_) => Failure::EndpointTimeout,
        ConnectError::Tcp(_, error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Failure::EndpointTimeout
        }
        ConnectError::Tls(..) | ConnectError::NoHeader(_) | ConnectError::Tcp(..) => {
            Failure::Endpoint
        }
    }
}

fn nothing() -> RequestBody {
    RequestBody::new(Source::Empty, Bounds { size: None, timeout: None })
}
