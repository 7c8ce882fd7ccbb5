//! How much an answer of an API server may cost: the library reads one, or one line of a watch,
//! whole before anybody looks at it, and another cluster's server may send what it likes.
//!
//! Its bytes are the least of it: each `{}` of three bytes becomes an object of hundreds. So what it
//! will become is estimated as it arrives, and the answer ends with an error before it is too much.
//! A layer of every client; answers of our own cluster are bounded by their length alone.

use std::error::Error;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyStream, StreamBody};
use tower::{Layer, Service};

/// The layer, and what things cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    /// What one answer, or one line of a watch, may cost.
    max: usize,
    /// An object: `{`.
    object: usize,
    /// Any other value: `,`.
    value: usize,
    /// Any other byte.
    byte: usize,
}

impl Bounded {
    /// For other clusters, by about what becomes of an answer in memory: an object of the API takes
    /// hundreds of bytes at the least; bytes are read into a buffer that grows by doubling, and kept
    /// in what is made of them. A page of 250 slices with 100 endpoints each, which has 8 MB, is
    /// estimated at two thirds of what there may be.
    pub const OTHERS: Self = Self { max: 256 << 20, object: 800, value: 64, byte: 4 };
    /// For our own cluster, by length alone. A page of 250 Services has 1 to 3 MB, the slices of all
    /// pods that Kubernetes is made for (150,000) 45 MB.
    pub const OWN: Self = Self { max: 64 << 20, object: 1, value: 1, byte: 1 };
}

/// Errors of bodies as the library takes them.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// A service whose answers are bounded.
#[derive(Clone, Debug)]
pub struct BoundedService<S>(S, Bounded);

impl<S> Layer<S> for Bounded {
    type Service = BoundedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BoundedService(inner, *self)
    }
}

impl<S, Q, B> Service<Request<Q>> for BoundedService<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<StreamBody<BoundedFrames>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
        let (answer, bound) = (self.0.call(request), self.1);
        answer.map_ok(move |answer| answer.map(|body| bounded(body, bound, is_watch))).boxed()
    }
}

type BoundedFrames = futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, BodyError>>;

fn bounded<B>(body: B, bound: Bounded, is_watch: bool) -> StreamBody<BoundedFrames>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let mut cost = 0;
    let frames = BodyStream::new(body).map(move |frame| {
        let frame = frame.map_err(Into::into)?;
        let data = frame.data_ref().map_or(&[][..], Bytes::chunk);
        cost = bound.cost(cost, data, is_watch);
        match cost > bound.max {
            true => Err("the API server's answer is too large".into()),
            false => Ok(frame),
        }
    });
    StreamBody::new(frames.boxed())
}

impl Bounded {
    /// What an answer costs that has cost so much before `data`.
    fn cost(&self, before: usize, data: &[u8], is_watch: bool) -> usize {
        let of = |byte: &u8| match byte {
            b'{' => self.object,
            b',' => self.value,
            _ => self.byte,
        };
        let all = |data: &[u8]| data.iter().map(of).sum::<usize>();
        // Each line of a watch is read by itself.
        match data.iter().rposition(|byte| is_watch && *byte == b'\n') {
            Some(end) if before + all(&data[..end]) <= self.max => all(&data[end..]),
            _ => before + all(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// So many empty objects cost as much as may be.
    const ITEMS: usize = Bounded::OTHERS.max / (Bounded::OTHERS.object + Bounded::OTHERS.value);

    async fn read(text: String, is_watch: bool) -> Result<usize, BodyError> {
        let body = bounded(Full::new(Bytes::from(text)), Bounded::OTHERS, is_watch);
        Ok(BodyExt::collect(body).await?.to_bytes().len())
    }

    #[tokio::test]
    async fn small_objects_cost_what_they_become() {
        let items = ITEMS;
        let list = |items: usize| format!("{{\"items\":[{}{{}}]}}", "{},".repeat(items));
        assert!(read(list(items / 2), false).await.is_ok());
        let error = read(list(items + 10), false).await.expect_err("too large");
        assert!(error.to_string().contains("too large"), "{error}");
        // Ends of lines do not make it less.
        let lines = list(items + 10).replace(',', ",\n");
        assert!(read(lines, false).await.is_err());
    }

    #[tokio::test]
    async fn a_watch_may_go_on_for_long_but_no_line_of_it() {
        let line =
            |items: usize| format!("{{\"type\":\"ADDED\",\"object\":[{}]}}\n", "{},".repeat(items));
        let items = ITEMS;
        let mut cost = 0;
        for _ in 0..20 {
            cost = Bounded::OTHERS.cost(cost, line(items / 10).as_bytes(), true);
            assert!(cost <= Bounded::OTHERS.max / 8, "{cost}");
        }
        assert!(read(line(items + 10), true).await.is_err());
    }
}
