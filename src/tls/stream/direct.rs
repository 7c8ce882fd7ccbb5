//! A connection on our own record layer: one read and one write of the socket for up to 256 KiB.
//!
//! Ciphertext passes a buffer that the thread owns. A connection owns memory only for the beginning
//! of a record whose end has not come yet, for sealed records that the socket did not take, and for
//! application bytes that a small read left over.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::record::{
    MAX_CONTROL, MAX_RECORD, Next, Opened, RecordError, Records, sealed_length,
};

/// Ciphertext that is read or written at once: what takes the kernel's share of a byte down to that
/// of a plain copy (`benches/README.md`).
const SCRATCH: usize = sealed_length(MOST_SEALED);
/// Application bytes that fill it, when sealed: what the relay reads at once goes out at once.
const MOST_SEALED: usize = 256 * 1024;

thread_local! {
    /// Never holds anything that is needed after the call that borrows it.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Socket, keys, and what could not be passed on yet.
pub struct Direct {
    tcp: TcpStream,
    records: Records,
    /// The beginning of a record.
    partial: Kept,
    /// Application bytes that a reader had no room for.
    plaintext: Kept,
    /// Sealed records that the socket did not take.
    outgoing: Kept,
    incoming: Incoming,
    has_said_goodbye: bool,
}

#[derive(Clone, Copy)]
enum Incoming {
    Open,
    /// After close_notify.
    Closed,
    /// After a record that was wrong; told once what comes before it has been read.
    Broken(RecordError),
}

impl Direct {
    /// Takes over after a handshake; `incoming` came behind it.
    pub fn new(tcp: TcpStream, records: Records, incoming: &[u8]) -> Self {
        let mut stream = Self {
            tcp,
            records,
            partial: Kept::default(),
            plaintext: Kept::default(),
            outgoing: Kept::default(),
            incoming: Incoming::Open,
            has_said_goodbye: false,
        };
        let opened = stream.open_aside(incoming);
        stream.came_to(opened, incoming);
        stream
    }

    /// The socket below.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.take_kept(buffer);
            if kept > 0 || buffer.is_empty() {
                return Poll::Ready(Ok(kept));
            }
            match self.incoming {
                Incoming::Open => {}
                Incoming::Closed => return Poll::Ready(Ok(0)),
                Incoming::Broken(error) => return Poll::Ready(Err(self.refuse(cx, error))),
            }
            let written = BUFFER.with_borrow_mut(|scratch| self.poll_open(cx, scratch, buffer));
            match ready!(written)? {
                // A part of a record, a key update, close_notify, or what went into `plaintext`.
                0 => {}
                written => return Poll::Ready(Ok(written)),
            }
        }
    }

    /// One read of the socket; opens what is complete into `buffer`.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let partial = self.partial.rest();
        let begun = partial.len();
        // Opened bytes are fewer than sealed ones: what is read has room in a buffer as long, and a
        // small buffer is helped out by one of our own.
        let most = buffer.len().max(MAX_RECORD).min(scratch.len());
        let scratch = scratch.get_mut(..most).unwrap_or_default();
        if let Some(start) = scratch.get_mut(..begun) {
            start.copy_from_slice(partial);
        }
        let mut read = ReadBuf::new(scratch);
        read.set_filled(begun);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
        let incoming = read.filled();
        if incoming.len() == begun {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let (opened, written) = if buffer.len() >= incoming.len() {
            let opened = self.records.open(incoming, buffer);
            (opened, opened.written)
        } else {
            (self.open_aside(incoming), 0)
        };
        self.came_to(opened, incoming);
        Poll::Ready(Ok(written))
    }

    /// Keeps the beginning of a record, and why there is nothing more to open.
    fn came_to(&mut self, opened: Opened, incoming: &[u8]) {
        let rest = incoming.get(opened.consumed..).unwrap_or_default();
        (self.incoming, self.partial) = match opened.next {
            Next::More => (Incoming::Open, rest.to_vec().into()),
            // Whatever comes after a close_notify is ignored (RFC 8446, 6.1).
            Next::Closed => (Incoming::Closed, Kept::default()),
            Next::Broken(error) => (Incoming::Broken(error), Kept::default()),
        };
    }

    /// Opens into a buffer of our own, for readers that ask for little.
    fn open_aside(&mut self, incoming: &[u8]) -> Opened {
        let mut plaintext = vec![0; incoming.len()];
        let opened = self.records.open(incoming, &mut plaintext);
        plaintext.truncate(opened.written);
        self.plaintext = plaintext.into();
        opened
    }

    /// Gives out what an earlier read left over.
    fn take_kept(&mut self, buffer: &mut [u8]) -> usize {
        let kept = self.plaintext.rest();
        let count = kept.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), kept.get(..count)) {
            to.copy_from_slice(from);
        }
        self.plaintext.advance(count);
        count
    }

    /// Answers with an alert, as far as the socket takes it at once.
    fn refuse(&mut self, cx: &mut Context<'_>, error: RecordError) -> io::Error {
        if let Some(alert) = error.alert().filter(|_| !self.has_said_goodbye) {
            self.has_said_goodbye = true;
            self.push_alert(alert);
            let _ = self.poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn push_alert(&mut self, alert: u8) {
        let mut record = [0; MAX_CONTROL];
        // Without a key left there is nothing to be said any more.
        let length = self.records.seal_alert(alert, &mut record).unwrap_or(0);
        self.outgoing.append(record.get(..length).unwrap_or_default());
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_said_goodbye {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_flush(cx))?;
        // Sealed bytes cannot be taken back: nothing is sealed that would wait from the start.
        ready!(self.tcp.poll_write_ready(cx))?;
        BUFFER.with_borrow_mut(|scratch| {
            let bytes = bytes.get(..bytes.len().min(MOST_SEALED)).unwrap_or_default();
            let sealed = self.records.seal(bytes, scratch);
            let sealed =
                sealed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let mut rest = scratch.get(..sealed.written).unwrap_or_default();
            while !rest.is_empty() {
                match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(sent)) => rest = rest.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            self.outgoing = rest.to_vec().into();
            Poll::Ready(Ok(sealed.taken))
        })
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let rest @ [_, ..] = self.outgoing.rest() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.outgoing.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_said_goodbye {
            self.has_said_goodbye = true;
            self.push_alert(0);
            self.send_with_fin();
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Sends what waits in one packet with the FIN that follows, which tokio's own write cannot.
    /// What does not go this way goes with the next flush, which also tells why.
    fn send_with_fin(&mut self) {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let send = || Ok(send(&self.tcp, self.outgoing.rest(), flags)?);
        if let Ok(sent) = self.tcp.try_io(Interest::WRITABLE, send) {
            self.outgoing.advance(sent);
        }
    }
}

/// Bytes that wait for something. Most connections keep none most of the time, and pay for none.
#[derive(Default)]
struct Kept(Option<Box<(Vec<u8>, usize)>>);

impl Kept {
    /// Those that are not done with.
    fn rest(&self) -> &[u8] {
        self.0.as_ref().and_then(|kept| kept.0.get(kept.1..)).unwrap_or_default()
    }

    /// This many more are done with.
    fn advance(&mut self, count: usize) {
        if let Some(kept) = &mut self.0 {
            kept.1 += count;
            if kept.1 >= kept.0.len() {
                self.0 = None;
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_default().0.extend_from_slice(bytes);
    }
}

impl From<Vec<u8>> for Kept {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new((bytes, 0))))
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
