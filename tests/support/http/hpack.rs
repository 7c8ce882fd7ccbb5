//! As much of HPACK (RFC 7541) as a client needs that writes literals only and reads a status.

/// One header as a literal without indexing, without Huffman; any bytes.
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        integer(&mut block, text.len());
        block.extend_from_slice(text);
    }
    block
}

/// A block of headers.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect()
}

/// An integer with a prefix of 7 bits, whose first bit is 0 (RFC 7541 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else { return out.push(value as u8) };
    out.push(127);
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// The statuses of the static table, from index 8 on.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// The status that begins a block of a peer whose dynamic table is empty; `None` for trailers.
pub fn status(block: &[u8]) -> Option<u16> {
    let (first, rest) = block.split_first()?;
    match *first {
        // An update of the table's size.
        0x20..=0x3f => status(rest),
        index @ 0x88..=0x8e => STATUSES.get(usize::from(index - 0x88)).copied(),
        // Literals whose name is an entry from 8 to 14, with and without indexing.
        0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e => digits(rest),
        _ => None,
    }
}

/// A literal of digits, plain or Huffman: '0' to '2' are 5 bits, '3' to '9' are 6.
fn digits(text: &[u8]) -> Option<u16> {
    let (length, rest) = text.split_first()?;
    let bytes = rest.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    let bits: Vec<u16> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)))
        .collect();
    let take = |from: usize, count: usize| {
        let bits = bits.get(from..from + count)?;
        Some(bits.iter().fold(0, |number, bit| number << 1 | bit))
    };
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let digit = match take(at, 5)? {
            short @ 0..=2 => {
                at += 5;
                short
            }
            _ => {
                let long = take(at, 6)?;
                at += 6;
                long.checked_sub(0x19)? + 3
            }
        };
        number = number * 10 + digit;
    }
    Some(number)
}
