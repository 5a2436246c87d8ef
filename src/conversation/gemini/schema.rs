//! The parameters of a function as the service takes them: a part of OpenAPI's schema, made of the JSON schema that an operator
//! gives.
//!
//! Pure. Known words are kept, types written in capitals, a null among several types becomes `nullable`; what the service does not
//! know is left out, since it refuses a whole session for an unknown word. References cannot be expressed and are refused.

use serde_json::{Map, Value, json};

/// Words that are the same in both.
const SAME: [&str; 17] = [
    "title",
    "description",
    "format",
    "pattern",
    "default",
    "example",
    "nullable",
    "required",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "propertyOrdering",
];
/// Deepest nesting; far beyond any function.
const DEEPEST: usize = 32;

/// The schema of the parameters; `None` where there are none, which the service wants left out.
pub(super) fn parameters(schema: &Value) -> Option<Value> {
    schema["properties"].as_object().filter(|properties| !properties.is_empty())?;
    Some(convert(schema, 0))
}

/// Whether a schema can be expressed; the error is in words for the operator.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    match schema {
        Value::Object(fields) if fields.contains_key("$ref") => {
            Err("has a $ref, which Gemini does not take".to_owned())
        }
        Value::Object(fields) => fields.values().try_for_each(check),
        Value::Array(values) => values.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn convert(schema: &Value, depth: usize) -> Value {
    let Some(fields) = schema.as_object().filter(|_| depth < DEEPEST) else { return json!({}) };
    let mut made = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "type" => put_type(&mut made, value),
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties: Map<_, _> =
                    properties.map(|(name, schema)| (name.clone(), convert(schema, depth + 1))).collect();
                made.insert("properties".to_owned(), Value::Object(properties));
            }
            "items" => {
                made.insert("items".to_owned(), convert(value, depth + 1));
            }
            "anyOf" | "oneOf" => {
                let choices = value.as_array().into_iter().flatten().map(|schema| convert(schema, depth + 1)).collect();
                made.insert("anyOf".to_owned(), Value::Array(choices));
            }
            // Only texts can be enumerated.
            "enum" => {
                let words = value.as_array().into_iter().flatten().filter(|word| !word.is_null());
                let words = words.map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned));
                made.insert("enum".to_owned(), words.map(Value::String).collect());
            }
            "const" => {
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                made.insert("enum".to_owned(), json!([word]));
            }
            name if SAME.contains(&name) => {
                made.insert(name.to_owned(), value.clone());
            }
            _ => {}
        }
    }
    if made.contains_key("enum") && !made.contains_key("type") {
        made.insert("type".to_owned(), json!("STRING"));
    }
    if !made.contains_key("type") && made.contains_key("properties") {
        made.insert("type".to_owned(), json!("OBJECT"));
    }
    Value::Object(made)
}

fn put_type(made: &mut Map<String, Value>, value: &Value) {
    let names: Vec<_> = match value {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if names.len() > 1 && names.contains(&"null") {
        made.insert("nullable".to_owned(), json!(true));
    }
    let mut others = names.iter().filter(|name| names.len() == 1 || **name != "null").map(|name| name.to_uppercase());
    match (others.next(), others.next()) {
        (Some(one), None) => {
            made.insert("type".to_owned(), json!(one));
        }
        (Some(one), Some(two)) => {
            let choices: Vec<_> = [one, two].into_iter().chain(others).map(|name| json!({"type": name})).collect();
            made.insert("anyOf".to_owned(), Value::Array(choices));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_schema_becomes_what_the_service_takes() {
        let schema = json!({"$schema": "x", "type": "object", "additionalProperties": false, "required": ["order"],
            "properties": {
                "order": {"type": "integer", "minimum": 1, "description": "Its number."},
                "note": {"type": ["string", "null"], "examples": ["a"]},
                "either": {"type": ["string", "number"]},
                "kind": {"enum": ["a", 1, null]},
                "fixed": {"const": "x"},
                "list": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "boolean"}]}}}});
        let expected = json!({"type": "OBJECT", "required": ["order"], "properties": {
            "order": {"type": "INTEGER", "minimum": 1, "description": "Its number."},
            "note": {"type": "STRING", "nullable": true},
            "either": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]},
            "kind": {"type": "STRING", "enum": ["a", "1"]},
            "fixed": {"type": "STRING", "enum": ["x"]},
            "list": {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]}}}});
        assert_eq!(parameters(&schema), Some(expected));
        assert_eq!(parameters(&json!({"type": "object", "properties": {}})), None);
        assert_eq!(parameters(&json!({"type": "object"})), None);
    }

    #[test]
    fn a_reference_is_refused_wherever_it_is() {
        assert_eq!(check(&json!({"type": "object", "properties": {"a": {"type": "string"}}})), Ok(()));
        let refused = check(&json!({"properties": {"a": {"items": [{"$ref": "#/x"}]}}}));
        assert_eq!(refused, Err("has a $ref, which Gemini does not take".to_owned()));
    }

    #[test]
    fn a_schema_without_an_end_ends() {
        let mut schema = json!({"type": "string"});
        for _ in 0..100 {
            schema = json!({"type": "array", "items": schema});
        }
        let made = parameters(&json!({"type": "object", "properties": {"a": schema}})).unwrap_or_default();
        assert!(made.to_string().len() < 2_000);
    }
}
