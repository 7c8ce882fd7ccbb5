//! What commands print: nothing that a peer wrote reaches the terminal unescaped, and a reader
//! that went away (`| head`) is no error.

use std::io::{self, Write};

use super::Failure;

/// Writes to standard output in one piece.
///
/// # Errors
/// When standard output cannot be written; a closed pipe is not an error.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::internal(error)),
        _ => Ok(()),
    }
}

/// `text` in printable ASCII. All else is escaped, because beside control characters Unicode has
/// characters that reverse or hide what stands next to them.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='[' | ']'..='~' => out.push(c),
            _ => out.extend(c.escape_default()),
        }
    }
    out
}

/// Like [`escape`], at most `room` bytes of input, with `...` where more was cut.
pub fn escape_bytes(bytes: &[u8], room: usize) -> String {
    let shown = bytes.get(..room).unwrap_or(bytes);
    let cut = if shown.len() < bytes.len() { "..." } else { "" };
    format!("\"{}\"{cut}", shown.escape_ascii())
}

/// Lower-case hexadecimal digits with `:` between bytes.
pub fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(escape("web.ns \\ \"x\""), "web.ns \\\\ \"x\"");
        assert_eq!(escape("\x1b[2J\r\n\u{202e}é\0"), "\\u{1b}[2J\\r\\n\\u{202e}\\u{e9}\\u{0}");
        assert_eq!(escape_bytes(b"a\x1b\xffbc", 3), "\"a\\x1b\\xff\"...");
        assert_eq!(hex(&[0, 0xab]), "00:ab");
    }
}
