//! What servers flood with: frames as they are on the wire, to be sent again and again.

use super::wire::frame;

/// Texts of two bytes.
pub fn short_texts() -> Vec<u8> {
    frame(0x81, b"{}").repeat(4_096)
}

/// Empty pings.
pub fn pings() -> Vec<u8> {
    frame(0x89, b"").repeat(4_096)
}

/// A text of nothing but empty fragments.
pub fn fragments() -> Vec<u8> {
    let mut bytes = frame(0x01, b"");
    bytes.extend(frame(0x00, b"").repeat(4_096));
    bytes.extend(frame(0x80, b""));
    bytes
}

/// A text of 16 MB.
pub fn long_message() -> Vec<u8> {
    frame(0x81, &vec![b'x'; 16 << 20])
}
