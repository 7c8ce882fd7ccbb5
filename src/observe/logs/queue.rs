//! Lines on their way to standard error: whoever logs only appends, one thread writes.
//!
//! A reader of the log that stalls must not stall a worker, and one write takes the lines of many
//! connections. `cli/run.rs` runs the thread. When the reader stays away for more than [`MOST`],
//! further lines are lost, counted, and told of as soon as it is back.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::model::sharded::lock;

/// Bytes that wait at most: some 2,500 lines.
const MOST: usize = 1024 * 1024;
/// Capacity that is kept once everything is written.
const KEPT: usize = 64 * 1024;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(5);

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that this process has lost because its log was not read.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    /// The writer waits for a line.
    is_waiting: bool,
    /// Nobody will write what comes from now on.
    is_closed: bool,
}

impl Queue {
    /// Writes to `out` until [`Queue::close`], and then what is still there.
    pub fn run(&self, mut out: impl Write) {
        let (mut batch, mut told) = (Vec::new(), lost());
        while self.take(&mut batch) {
            write(&mut out, &batch);
            batch.clear();
            batch.shrink_to(KEPT);
            let lines = lost() - told;
            if lines > 0 {
                told += lines;
                tracing::warn!(lines, "lines of this log were lost: it was not read for too long");
            }
        }
    }

    /// From now on lines are written where they come from; [`Queue::run`] ends.
    pub fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for lines and moves them into `batch`, which is empty; false at the end.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = lock(&self.state);
        while state.pending.is_empty() && !state.is_closed {
            state.is_waiting = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_waiting = false;
        let gathering = self.changed.wait_timeout_while(state, GATHER, |state| !state.is_closed);
        let (mut state, _) = gathering.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.pending, batch);
        !batch.is_empty() || !state.is_closed
    }

    fn push(&self, line: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.is_closed {
            drop(state);
            return io::stderr().write_all(line);
        }
        if state.pending.len() + line.len() > MOST {
            LOST.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        state.pending.extend_from_slice(line);
        if state.is_waiting {
            state.is_waiting = false;
            self.changed.notify_one();
        }
        Ok(())
    }
}

/// What cannot be written is nobody's to hear.
fn write(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            // Standard error may be shared with a program that made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(GATHER),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

impl Write for &Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes a write only when the test has asked for it.
    struct Slow(SyncSender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn all(writes: &Receiver<Vec<u8>>) -> Vec<u8> {
        writes.iter().flatten().collect()
    }

    #[test]
    fn who_logs_never_waits_and_what_fits_is_written_in_order() {
        let queue = Arc::new(Queue::default());
        let (out, writes) = sync_channel(0);
        let writer = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || queue.run(Slow(out)))
        };
        let line = |n: usize| format!("{n:0>1023}\n").into_bytes();
        let before = lost();
        // Nothing is read while these are logged: twice what may wait, and what the writer holds.
        for n in 0..2 * MOST / 1024 {
            queue.as_ref().write_all(&line(n)).expect("taken");
        }
        let lost = lost() - before;
        assert!(lost > 0);
        queue.close();
        let written = all(&writes);
        writer.join().expect("it ends");
        assert_eq!(written.len() / 1024 + usize::try_from(lost).expect("few"), 2 * MOST / 1024);
        let numbers: Vec<usize> = written
            .chunks(1024)
            .map(|line| str::from_utf8(line).expect("digits").trim().parse().expect("a number"))
            .collect();
        assert!(numbers.is_sorted());
        assert_eq!(numbers.first(), Some(&0));
    }

    #[test]
    fn everything_is_written_before_it_ends() {
        let queue = Arc::new(Queue::default());
        queue.as_ref().write_all(b"first\n").expect("taken");
        queue.close();
        let (out, writes) = sync_channel(2);
        queue.run(Slow(out));
        assert_eq!(all(&writes), b"first\n");
    }
}
