//! What a recognition and a language model may be asked, field by field. Pure; the error says what is wrong.

use serde_json::Value;

/// A form with one turn of the caller.
#[derive(Debug)]
pub struct Form {
    pub model: String,
    pub samples: Vec<i16>,
}

/// Reads the form of a transcription: its fields, and the file, which must be a WAV of 16 kHz, mono, 16 bits.
pub fn read_form(content_type: &str, body: &[u8]) -> Result<Form, String> {
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").ok_or("no form")?;
    let separator = format!("--{boundary}");
    let (mut model, mut samples) = (None, None);
    let mut rest = body.strip_prefix(separator.as_bytes()).ok_or("the form does not begin with its boundary")?;
    loop {
        if rest == b"--\r\n" {
            break;
        }
        rest = rest.strip_prefix(b"\r\n").ok_or("no line end after a boundary")?;
        let head_end = find(rest, b"\r\n\r\n").ok_or("a field without a head")?;
        let head = String::from_utf8(rest[..head_end].to_vec()).map_err(|_| "a head that is no text")?;
        let end = format!("\r\n{separator}");
        let length = find(&rest[head_end + 4..], end.as_bytes()).ok_or("a field without an end")?;
        let value = &rest[head_end + 4..head_end + 4 + length];
        rest = &rest[head_end + 4 + length + end.len()..];
        let name =
            head.split("name=\"").nth(1).and_then(|name| name.split('"').next()).ok_or("a field without a name")?;
        let text = || String::from_utf8(value.to_vec()).map_err(|_| format!("{name} is no text"));
        match name {
            "file" if !head.contains("filename=\"") => return Err("the file has no name".into()),
            "file" => samples = Some(read_wav(value)?),
            "model" => model = Some(text()?),
            "response_format" if text()? != "json" => return Err("another response_format".into()),
            "language" | "prompt" | "response_format" | "temperature" => drop(text()?),
            other => return Err(format!("there is no field {other}")),
        }
    }
    let (model, samples) = (model.ok_or("no model")?, samples.ok_or("no file")?);
    Ok(Form { model, samples })
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn read_wav(bytes: &[u8]) -> Result<Vec<i16>, String> {
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    if bytes.len() < 44 || &bytes[..4] != b"RIFF" || &bytes[8..16] != b"WAVEfmt " || &bytes[36..40] != b"data" {
        return Err("no WAV file".into());
    }
    let format = (number(20, 2), number(22, 2), number(24, 4), number(28, 4), number(32, 2), number(34, 2));
    if format != (1, 1, 16_000, 32_000, 2, 16) {
        return Err(format!("another format: {format:?}"));
    }
    if number(40, 4) != bytes.len() - 44 || number(4, 4) != bytes.len() - 8 {
        return Err("the lengths are wrong".into());
    }
    Ok(bytes[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// The fields of a request for a completion.
const FIELDS: [&str; 8] =
    ["model", "messages", "stream", "stream_options", "tools", "max_tokens", "reasoning_effort", "temperature"];

/// Whether a language model would take this.
pub fn check_completion(body: &Value) -> Result<(), String> {
    let fields = body.as_object().ok_or("no object")?;
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(format!("there is no field {unknown}"));
    }
    if body["stream"] != true || !body["model"].is_string() {
        return Err("no stream, or no model".into());
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        if tool["type"] != "function" || !function["name"].is_string() || !function["parameters"].is_object() {
            return Err(format!("no tool: {tool}"));
        }
    }
    let messages = body["messages"].as_array().filter(|list| !list.is_empty()).ok_or("no messages")?;
    let mut open: Vec<&str> = Vec::new();
    let mut last = "";
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role != "tool" && !open.is_empty() {
            return Err(format!("an assistant message with 'tool_calls' must be followed by the result of {open:?}"));
        }
        // Templates of many open models take the roles by turns only.
        if role == last && role != "tool" && message["tool_calls"].is_null() {
            return Err(format!("two messages of {role} in a row"));
        }
        match role {
            "system" if at > 0 => return Err("the system does not come first".into()),
            "system" | "user" if !message["content"].is_string() => return Err(format!("no text: {message}")),
            "system" | "user" => {}
            "assistant" if message["tool_calls"].is_null() && !message["content"].is_string() => {
                return Err(format!("an empty message: {message}"));
            }
            "assistant" => {
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let arguments = call["function"]["arguments"].as_str().ok_or("arguments are a text")?;
                    serde_json::from_str::<Value>(arguments).map_err(|_| "arguments are JSON")?;
                    open.push(call["id"].as_str().ok_or("a call without an id")?);
                }
            }
            "tool" => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                let at = open.iter().position(|call| *call == id).ok_or(format!("a result of no call: {id}"))?;
                open.remove(at);
                message["content"].as_str().ok_or("a result without a text")?;
            }
            other => return Err(format!("there is no role {other}")),
        }
        last = role;
    }
    if open.is_empty() { Ok(()) } else { Err(format!("no result of {open:?}")) }
}
