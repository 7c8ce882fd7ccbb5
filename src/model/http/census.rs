//! A census of HTTP/2 frames: tells when a peer sends far more frames that cost us work than frames
//! that carry requests.
//!
//! The HTTP/2 library bounds what it has to remember; frames that it answers and forgets (PING,
//! SETTINGS, PRIORITY) it takes without end, which costs a processor and nothing of the peer's.
//! Fed with a session's bytes as they come, cut anywhere.

/// Bytes of a frame's header: length, type, flags, stream.
const HEADER: usize = 9;
/// Bytes of the client's preface.
const PREFACE: usize = 24;
/// Frames without work that a peer may be ahead: a proxy that probes every few seconds is never.
const MOST_AHEAD: u32 = 1000;
/// Frames of a request earn so many others: window updates come in pairs with data.
const EARNED: u32 = 8;

/// Bytes sent to the peer that earn one, too: sixty times what answers a PING.
const BYTES_PER_FRAME: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;

/// What a peer has sent.
#[derive(Debug)]
pub struct Census {
    /// Bytes to pass over until the next header.
    skip: usize,
    /// The beginning of a header.
    header: [u8; HEADER],
    filled: usize,
    /// Frames without work beyond those that were earned.
    ahead: u32,
    /// Bytes sent to the peer that have earned nothing yet.
    sent: usize,
}

impl Default for Census {
    fn default() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], filled: 0, ahead: 0, sent: 0 }
    }
}

impl Census {
    /// Counts the frames that begin in `bytes`; false once there are too many without work.
    pub fn count(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let take = (HEADER - self.filled).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            if let Some(place) = self.header.get_mut(self.filled..self.filled + take) {
                place.copy_from_slice(now);
            }
            (bytes, self.filled) = (rest, self.filled + take);
            if self.filled == HEADER {
                self.frame();
            }
        }
        self.ahead <= MOST_AHEAD
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, ..] = self.header;
        self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.filled = 0;
        self.ahead = match kind {
            HEADERS => self.ahead.saturating_sub(EARNED),
            DATA if self.skip > 0 => self.ahead.saturating_sub(EARNED),
            // It follows what we send, and costs us nothing to answer.
            WINDOW_UPDATE => self.ahead,
            _ => self.ahead.saturating_add(1),
        };
    }

    /// So many bytes have gone to the peer, who may measure how they come: some send a PING for
    /// every window's worth of them.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        self.forgive(u32::try_from(self.sent / BYTES_PER_FRAME).unwrap_or(u32::MAX));
        self.sent %= BYTES_PER_FRAME;
    }

    /// Some time has passed in which so many frames are nothing to speak of.
    pub fn forgive(&mut self, frames: u32) {
        self.ahead = self.ahead.saturating_sub(frames);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![7; usize::from(length)]].concat()
    }

    fn session(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        std::iter::once(preface).chain(frames).flatten().collect()
    }

    #[test]
    fn work_earns_what_costs_nothing_and_a_flood_is_seen() {
        let calm = session((0..5000).flat_map(|_| [frame(1, 5), frame(0, 200), frame(6, 8)]));
        assert!(Census::default().count(&calm));
        for (kind, length) in [(6, 8), (4, 0), (2, 5), (0, 0), (3, 4), (200, 1)] {
            let flood = session((0..1001).map(|_| frame(kind, length)));
            assert!(!Census::default().count(&flood), "{kind}");
            let mut census = Census::default();
            assert!(census.count(&session((0..1000).map(|_| frame(kind, length)))), "{kind}");
        }
        assert!(Census::default().count(&session((0..9000).map(|_| frame(8, 4)))));
    }

    #[test]
    fn what_is_sent_earns_and_answers_alone_do_not() {
        let (mut reader, mut flooder) = (Census::default(), Census::default());
        assert!(reader.count(&session([])) && flooder.count(&session([])));
        for _ in 0..5000 {
            reader.sent(4096);
            assert!(reader.count(&frame(6, 8)));
            flooder.sent(17);
            flooder.count(&frame(6, 8));
        }
        assert!(!flooder.count(&[]));
    }

    #[test]
    fn a_slow_stream_of_pings_is_forgiven() {
        let mut census = Census::default();
        let (pings, none) = (session((0..900).map(|_| frame(6, 8))), Vec::new());
        assert!(census.count(&pings));
        census.forgive(900);
        let more: Vec<u8> = (0..900).flat_map(|_| frame(6, 8)).chain(none).collect();
        assert!(census.count(&more));
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            frames in prop::collection::vec((0..10u8, 0..20u8), 0..2000),
            step in 1..50usize,
        ) {
            let bytes = session(frames.into_iter().map(|(kind, length)| frame(kind, length)));
            let (mut whole, mut cut) = (Census::default(), Census::default());
            whole.count(&bytes);
            for part in bytes.chunks(step) {
                cut.count(part);
            }
            prop_assert_eq!((whole.ahead, whole.skip), (cut.ahead, cut.skip));
        }
    }
}
