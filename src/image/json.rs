//! JSON read strictly: the documents of an image come from strangers and are hashed, signed and read by several
//! programs, which must all understand the same thing.
//!
//! Separate from the documents because the rules are the same for each: a size limit before parsing, a depth
//! limit while parsing, no key twice (two readers would take different ones), `null` means absent, and an error
//! that says which document and which field.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// The largest document that is read: the limit that registries and containerd put on a manifest.
pub const MAX_BYTES: u64 = 4 << 20;

/// The deepest nesting that is read; the specification's own documents need six.
const MAX_DEPTH: usize = 32;

/// Parses a whole document that has to be an object or an array.
pub fn parse(what: &str, bytes: &[u8]) -> Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer);
    value.and_then(|value| deserializer.end().map(|()| value)).map_err(|cause| {
        Error::new(format!("{what} cannot be read"))
            .rule(format!("it has to be plain JSON, and here is where it is not: {cause}"))
    })
}

/// Builds a [`Value`] and refuses what parsers disagree about.
struct Strict {
    depth: usize,
}

impl Strict {
    /// The seed for what is inside this value.
    fn inside<E: de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.inside()?)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inside()?)?;
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// A value and where it stands, for errors: `manifest of ./dir: "layers"[2]."size"`.
#[derive(Clone)]
pub struct Field<'a> {
    value: &'a Value,
    what: String,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub fn document(what: impl Into<String>, value: &'a Value) -> Self {
        Self { value, what: what.into() }
    }

    /// Where this value stands.
    #[cfg(test)]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// An error about this value.
    pub fn refuse(&self, rule: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        Error::new(format!("{} is refused", self.what)).rule(rule)
    }

    /// The field of this object, if it is there and not null.
    ///
    /// Go programs match keys without regard to case, so a second spelling would be read there and ignored here.
    pub fn get(&self, key: &str) -> Result<Option<Self>> {
        let object = self.object()?;
        if let Some(other) = object.keys().find(|other| *other != key && other.eq_ignore_ascii_case(key)) {
            return Err(
                self.refuse(format!("it spells {key:?} as {other:?}, which programs read differently"))
            );
        }
        let value = object.get(key).filter(|value| !value.is_null());
        Ok(value.map(|value| Self { value, what: format!("{}, {key:?}", self.what) }))
    }

    /// The field of this object, which has to be there.
    pub fn need(&self, key: &str) -> Result<Self> {
        self.get(key)?.ok_or_else(|| self.refuse(format!("it needs a field {key:?}")))
    }

    /// This value as an object.
    pub fn object(&self) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.refuse("it has to be an object"))
    }

    /// This value as text.
    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.refuse("it has to be text"))
    }

    /// This value as text that the kernel can be given: without a NUL byte.
    pub fn kernel_text(&self) -> Result<String> {
        let text = self.text()?;
        if text.contains('\0') {
            return Err(self.refuse("it contains a NUL byte, at which the kernel would cut it off"));
        }
        Ok(text.to_owned())
    }

    /// This value as a truth value.
    pub fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.refuse("it has to be true or false"))
    }

    /// This value as a size in bytes: a whole number that is not negative.
    pub fn size(&self) -> Result<u64> {
        let size = self.value.as_u64().filter(|size| i64::try_from(*size).is_ok());
        size.ok_or_else(|| self.refuse("it has to be a whole number from 0 to 2^63-1"))
    }

    /// The elements of this array.
    pub fn items(&self) -> Result<Vec<Self>> {
        let array = self.value.as_array().ok_or_else(|| self.refuse("it has to be an array"))?;
        let item = |(at, value)| Self { value, what: format!("{}[{at}]", self.what) };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// The elements of this array of texts.
    pub fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(Self::kernel_text).collect()
    }

    /// The entries of this object of texts, such as annotations and labels.
    pub fn text_entries(&self) -> Result<Vec<(String, String)>> {
        let entry = |(key, value): (&String, &'a Value)| {
            let field = Self { value, what: format!("{}, {key:?}", self.what) };
            let text = if value.is_null() { String::new() } else { field.text()?.to_owned() };
            Ok((key.clone(), text))
        };
        self.object()?.iter().map(entry).collect()
    }

    /// The keys of this object used as a set, such as `Volumes` and `ExposedPorts`.
    pub fn keys(&self) -> Result<Vec<String>> {
        Ok(self.object()?.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for bad in
            ["", "{", "nope", "{} {}", r#"{"a":1,"a":1}"#, r#"[{"b":{"c":1,"c":2}}]"#, &deep, "\u{feff}{}"]
        {
            assert!(parse("the document", bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse("the document", b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_very_deep_document_is_an_error_and_no_overflow() {
        let deep = "[".repeat(1_000_000);
        assert!(parse("the document", deep.as_bytes()).is_err());
    }

    #[test]
    fn null_is_absent_and_another_case_is_refused() {
        let value = parse("it", br#"{"a":null,"Size":1}"#).unwrap();
        let field = Field::document("it", &value);
        assert!(field.get("a").unwrap().is_none());
        assert!(field.get("size").is_err());
    }

    #[test]
    fn sizes_are_whole_and_not_negative() {
        let value =
            parse("it", br#"[-1, 1.5, 1e3, "3", true, 9223372036854775808, 18446744073709551616]"#).unwrap();
        for item in Field::document("it", &value).items().unwrap() {
            assert!(item.size().is_err(), "{}", item.what());
        }
    }
}
