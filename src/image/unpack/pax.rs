//! PAX extended headers: `30 mtime=1700000000.123456789\n`, one record after the other.
//!
//! A record states its own length in decimal, itself included, so that a value may hold any byte, also a newline.
//! That makes a wrong length dangerous: two readers that disagree on where a record ends read different
//! archives (CVE-2025-62518, RUSTSEC-2026-0068). Whatever is not exactly as POSIX has it is therefore an error,
//! never skipped. This is separate from the archive because records know nothing of blocks and entries.

use super::header::Broken;

/// What has to be right about a record.
const MALFORMED: Broken = "a record of its PAX header is malformed";

/// The records of one extended header, in order.
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// The records in the data of an `x` or `g` entry.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    fn record(&mut self) -> Result<(&'a [u8], &'a [u8]), Broken> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = decimal(&self.0[..digits]).ok_or(MALFORMED)?;
        let length = usize::try_from(length).map_err(|_| MALFORMED)?;
        // The length counts its own digits, the blank, at least `k=`, and the newline.
        let (record, rest) = self.0.split_at_checked(length).ok_or(MALFORMED)?;
        let body = record.get(digits..).and_then(|tail| tail.strip_prefix(b" ")).ok_or(MALFORMED)?;
        let body = body.strip_suffix(b"\n").ok_or(MALFORMED)?;
        let equals = body.iter().position(|&byte| byte == b'=').ok_or(MALFORMED)?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(MALFORMED);
        }
        self.0 = rest;
        Ok((key, value))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

/// A number without sign or blanks. At most 19 digits: nothing in an archive needs more.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// A time: seconds, perhaps negative, perhaps with a fraction, of which nanoseconds are kept.
pub fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let nanoseconds = fraction(parts.next().unwrap_or_default())?;
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        // struct timespec counts its nanoseconds forward from the second before: -1.25 is -2 s + 750,000,000 ns.
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

/// Digits after the point, as nanoseconds; further digits are cut off, as a kernel would.
fn fraction(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

/// The name of an attribute in libarchive's form, which writes odd bytes as `%3D`.
pub fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|&digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}

/// The value of an attribute in libarchive's form: base64, with or without its padding.
pub fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

    fn read(data: &[u8]) -> Result<Pairs<'_>, Broken> {
        Records::new(data).collect()
    }

    #[test]
    fn records_keep_newlines_and_equals_signs_of_their_values() {
        assert_eq!(
            read(b"9 path=a\n11 k=v=\n\nw\n").unwrap(),
            [(&b"path"[..], &b"a"[..]), (&b"k"[..], &b"v=\n\nw"[..])]
        );
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"8 path=\n").unwrap(), [(&b"path"[..], &b""[..])]);
    }

    #[test]
    fn malformed_records_are_errors() {
        for data in [
            &b"9 path=a"[..],
            b"11 path=a\n",
            b"8 path=a\n",
            b"9path=aa\n",
            b" 9 path=a\n",
            b"+9 path=a\n",
            b"9  =a\n\n",
            b"5 =a\n",
            b"5 aa\n",
            b"0 \n",
            b"3 \n",
            b"99999999999999999999 path=a\n",
            b"9 path=a\n\0",
            b"\0\0\0",
        ] {
            assert!(read(data).is_err(), "{} was read", data.escape_ascii());
        }
    }

    #[test]
    fn times_count_nanoseconds_forward() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        for bad in [&b""[..], b".", b"1e3", b"1.-2", b"--1", b" 1", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn libarchive_attributes_are_decoded() {
        assert_eq!(percent_decoded(b"user.a%3Db").unwrap(), b"user.a=b");
        assert_eq!(percent_decoded(b"user.%4"), None);
        assert_eq!(base64_decoded(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64_decoded(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64_decoded(b"a-b"), None);
    }
}
