//! What servers flood with: frames as they are on the wire, to be sent again and again.

/// A frame as a server sends it; `first` is the first byte of its header.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

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
