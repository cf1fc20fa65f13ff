//! Names in JSON records: bytes, whatever they are.
//!
//! Where a name is UTF-8 it stands as it is; where not, with the odd bytes escaped (`\xff`), and its bytes in base64
//! beside it.

use serde_json::{Map, Value, json};

/// Adds a name under a key, with its bytes where it is not UTF-8.
pub fn name(entry: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    entry.insert(key.into(), json!(escaped(bytes)));
    if std::str::from_utf8(bytes).is_err() {
        entry.insert(format!("{key}_base64"), json!(base64(bytes)));
    }
}

/// Base64 of RFC 4648, padded.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let group = group[0] << 16 | group[1] << 8 | group[2];
        for at in 0..4_usize {
            let letter = LETTERS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// UTF-8 as it is, other bytes as `\xff`.
pub fn escaped(bytes: &[u8]) -> String {
    let piece =
        |chunk: std::str::Utf8Chunk<'_>| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii());
    bytes.utf8_chunks().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        let of = |text: &str| base64(text.as_bytes());
        assert_eq!(
            ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(of),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
        );
    }

    #[test]
    fn a_name_that_is_not_utf_8_has_its_bytes_beside_it() {
        let mut entry = Map::new();
        name(&mut entry, "path", b"a\xffb");
        assert_eq!(Value::Object(entry), json!({ "path": "a\\xffb", "path_base64": "Yf9i" }));
    }
}
