//! Text that is quoted in replies and warnings: cut to a length, without control characters, and without the credentials of URLs.
//!
//! Pure. What an operator or a server wrote passes through here before a reply or a warning quotes it.

/// The beginning of `text` on one line, for a message: at most 64 characters, control characters replaced by `?`, and of each URL in
/// it what [`shown_url`] shows.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let text = without_credentials(text);
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// A number of things: `1 profile`, `2 profiles`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Where a URL leads, without what may let somebody in: scheme, host and port. `/…` stands for path and query, which may hold
/// tokens, and `***` for what is not a URL.
pub fn shown_url(url: &str) -> String {
    const HIDDEN: &str = "***";
    let Some((scheme, rest)) = url.trim().split_once("://") else { return HIDDEN.to_owned() };
    if scheme.is_empty() || scheme.len() > 16 || !scheme.bytes().all(is_of_scheme) {
        return HIDDEN.to_owned();
    }
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        // Not the colon of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte));
    // A password may have any character: an '@' behind the host belongs to credentials, and what is not a port may be one.
    if !plain || name.is_empty() || behind.contains('@') {
        return format!("{scheme}://{HIDDEN}");
    }
    let port = match port {
        None => String::new(),
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => format!(":{port}"),
        Some(_) => format!(":{HIDDEN}"),
    };
    let behind = if matches!(behind, "" | "/") { "" } else { "/…" };
    format!("{scheme}://{name}{port}{behind}")
}

/// Whether a word, or a part of a path, may let somebody in who reads it: long, and not made of words.
pub fn looks_like_token(part: &str) -> bool {
    let count = |is: fn(&u8) -> bool| part.bytes().filter(is).count();
    let (digits, lower, upper) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    let separated = part.contains(['-', '_', '.']);
    match part.len() {
        0..12 => false,
        12..16 => digits > 0 && lower > 0 && upper > 0,
        16..24 => digits >= 2 && lower + upper > 0,
        _ => digits >= 2 || !separated,
    }
}

/// Several URLs, separated by commas, as [`shown_url`] shows them.
pub fn shown_urls(urls: &str) -> String {
    urls.split(',').map(shown_url).collect::<Vec<_>>().join(", ")
}

/// `text` with what [`shown_url`] shows in place of each URL.
fn without_credentials(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(colon) = rest.find("://") {
        let before = &rest.as_bytes()[..colon];
        let begin = colon - before.iter().rev().take_while(|byte| is_of_scheme(**byte)).count();
        let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = rest[colon..].find(ends).map_or(rest.len(), |length| colon + length);
        out += &rest[..begin];
        out += &shown_url(&rest[begin..end]);
        rest = &rest[end..];
    }
    out + rest
}

fn is_of_scheme(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown("a'b\"\\é"), "a'b\"\\é");
        assert_eq!(shown("a\r\n\u{7f}b"), "a???b");
        assert_eq!(shown(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
    }

    #[test]
    fn of_a_url_scheme_host_and_port_are_shown() {
        for (url, shown) in [
            ("wss://h.example:9443/v1/hunter2?key=hunter2#hunter2", "wss://h.example:9443/…"),
            ("https://bob:hunter2@h.example", "https://h.example"),
            ("https://hunter2@[2001:db8::1]:80/", "https://[2001:db8::1]:80"),
            ("ws://[::1]?hunter2", "ws://[::1]/…"),
            ("http://bob:hun:/?#@hunter2@h/", "http://***"),
            ("http://bob:hunter2/x@h/", "http://***"),
            ("http://bob:hunter2", "http://bob:***"),
            ("http://h:", "http://h:***"),
            ("http://h%68unter2/", "http://***"),
            ("http://", "http://***"),
            ("local_stream://moh", "local_stream://moh"),
            ("hunter2://h", "***"),
            ("bob:hunter2@h/x", "***"),
            ("h", "***"),
            ("", "***"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
        assert_eq!(shown_urls("wss://a:hunter2@b, hunter2,http://c/hunter2"), "wss://b, ***, http://c/…");
    }

    #[test]
    fn a_long_part_that_is_not_words_is_taken_for_a_token() {
        for token in [
            "3f2c1b9e-0c4d-4f6e-9a51-6d1f2b3c4d5e",
            "hunter2f00dc0ffee123abc9",
            "aB3dE5fG7hI9",
            "sk-proj-0a1b2c3d4e",
            "abcdefghijklmnopqrstuvwxyz",
        ] {
            assert!(looks_like_token(token), "{token}");
        }
        for word in ["", "v1", "8000", "customer-service-stream", "transcribe-websocket", "inbound-2026", "realtime"] {
            assert!(!looks_like_token(word), "{word}");
        }
    }

    #[test]
    fn a_url_within_a_text_loses_its_credentials() {
        for (text, expected) in [
            ("curl https://u:hunter2@h/x -o y", "curl https://h/… -o y"),
            ("{\"url\":\"wss://h/?hunter2\",\"b\":1}", "{\"url\":\"wss://h/…\",\"b\":1}"),
            ("(http_cache://http://u:hunter2@h/a.mp3)", "(http_cache://***"),
            ("a://b c://d/e", "a://b c://d/…"),
            ("no URL: here", "no URL: here"),
            ("é://h/x", "é***"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
