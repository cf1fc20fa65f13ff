//! Platforms: which of the images under one name runs on this machine.
//!
//! Separate because Go's names for architectures are not Rust's or the kernel's, and this is the one place that
//! translates.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An operating system and a processor, in the words of the image index ([`platform`]).
///
/// [`platform`]: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, … as Go names them.
    pub architecture: String,
    /// `v7` of `arm`, `v8` of `arm64`, `v2` of `amd64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Self {
        Self { os: "linux".into(), architecture: go_arch(std::env::consts::ARCH).into(), variant: None }
    }

    /// How well an image of platform `other` suits: `None` not at all, otherwise lower is better.
    ///
    /// Same system and processor are required. A variant that was asked for has to be met; one that was not is
    /// taken, the plain one first.
    #[must_use]
    pub fn suits(&self, other: &Self) -> Option<u8> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        match (self.normal_variant(), other.normal_variant()) {
            (wanted, offered) if wanted == offered => Some(0),
            (None, Some(_)) => Some(1),
            _ => None,
        }
    }

    /// The variant, without the one that its architecture implies.
    fn normal_variant(&self) -> Option<&str> {
        let variant = self.variant.as_deref().filter(|variant| !variant.is_empty())?;
        let implied = matches!((self.architecture.as_str(), variant), ("arm64", "v8") | ("amd64", "v1"));
        (!implied).then_some(variant)
    }
}

/// Go's name of an architecture (`GOARCH`), from Rust's.
fn go_arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() {
            return Err(Error::new(format!("platform {text:?} is refused"))
                .rule("a platform is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64"));
        }
        Ok(Self { os: os.into(), architecture: architecture.into(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn an_implied_variant_is_the_same_platform() {
        assert_eq!(platform("linux/arm64").suits(&platform("linux/arm64/v8")), Some(0));
        assert_eq!(platform("linux/amd64").suits(&platform("linux/amd64/v3")), Some(1));
        assert_eq!(platform("linux/arm/v6").suits(&platform("linux/arm/v7")), None);
        assert_eq!(platform("linux/amd64").suits(&platform("windows/amd64")), None);
    }

    #[test]
    fn what_is_not_a_platform_is_refused() {
        for bad in ["", "/", "linux/", "/arm64", "a/b/c/d"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }
}
