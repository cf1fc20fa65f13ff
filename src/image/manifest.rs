//! The documents that point: descriptors, the image index and the image manifest.
//!
//! Read separately from the files they come from, because a `docker save` archive, a layout and the store all
//! end in the same two documents.

use std::fmt;

use super::compression::Compression;
use super::digest::Digest;
use super::json::{self, Field};
use super::platform::Platform;
use crate::error::{Error, Result};

/// Media types of the specification and the Docker ones that they came from ([media types]).
///
/// [media types]: https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md
pub mod media_type {
    /// An index of manifests.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// A manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// A config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer as a plain tar.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer as a gzip-compressed tar.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer as a zstd-compressed tar.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
}

/// Annotations that matter for finding an image ([annotations]).
///
/// [annotations]: https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
pub mod annotation {
    /// The name of the image in a layout, often only a tag.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The full name, as containerd and `docker save` add it.
    pub const IMAGE_NAME: &str = "io.containerd.image.name";
    /// Marks what belongs to an image without being one (attestations).
    pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
}

/// More layers than this are refused; overlayfs takes 500.
const MAX_LAYERS: usize = 1000;

/// A pointer to a blob: what it is, how long it is, and the digest it must have ([descriptor]).
///
/// [descriptor]: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
    /// For an image in an index: where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Names and remarks.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_object")]
    pub annotations: Vec<(String, String)>,
}

/// Writes pairs as a JSON object, in their order.
pub(super) fn as_object<S: serde::Serializer>(pairs: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

impl Descriptor {
    /// A descriptor of these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes);
        let media_type = media_type.to_owned();
        Self { media_type, digest, size: bytes.len() as u64, platform: None, annotations: Vec::new() }
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    /// Whether it points at an index rather than a manifest.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::INDEX | media_type::DOCKER_INDEX)
    }

    /// Whether it can lead to something that runs: attestations and signatures do not.
    #[must_use]
    pub fn can_run(&self) -> bool {
        let unknown = self.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        !unknown && self.annotation(annotation::REFERENCE_TYPE).is_none()
    }

    /// Reads a descriptor.
    pub(super) fn read(field: &Field<'_>) -> Result<Self> {
        let digest = field.need("digest")?;
        Ok(Self {
            media_type: field.need("mediaType")?.text()?.to_owned(),
            digest: digest.text()?.parse().map_err(|_| {
                let shown = digest.text().unwrap_or_default().chars().take(100).collect::<String>();
                digest.refuse(format!("{shown:?} is not \"sha256:\" and 64 lower-case hexadecimal digits"))
            })?,
            size: field.need("size")?.size()?,
            platform: field.get("platform")?.map(|platform| read_platform(&platform)).transpose()?,
            annotations: read_annotations(field)?,
        })
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes, {})", self.digest, self.size, self.media_type)
    }
}

/// Reads `platform` of a descriptor.
fn read_platform(field: &Field<'_>) -> Result<Platform> {
    let text = |key| {
        Ok::<_, Error>(field.get(key)?.map(|value| value.kernel_text()).transpose()?.unwrap_or_default())
    };
    let variant = text("variant")?;
    let variant = (!variant.is_empty()).then_some(variant);
    Ok(Platform { os: text("os")?, architecture: text("architecture")?, variant })
}

/// Reads `annotations`, absent being none.
fn read_annotations(field: &Field<'_>) -> Result<Vec<(String, String)>> {
    field.get("annotations")?.map_or(Ok(Vec::new()), |annotations| annotations.text_entries())
}

/// An image index: several manifests under one name ([image index]).
///
/// [image index]: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it points at, in its order.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// Reads an index; `declared` is the media type by which it was found, if there was one.
    pub fn parse(what: &str, bytes: &[u8], declared: Option<&str>) -> Result<Self> {
        let value = json::parse(what, bytes)?;
        let document = Field::document(what, &value);
        check_header(&document, declared, &["layers", "config", "fsLayers"])?;
        let manifests = document.need("manifests")?;
        let manifests = manifests.items()?.iter().map(Descriptor::read).collect::<Result<_>>()?;
        Ok(Self { manifests })
    }
}

/// An image manifest: one config and the layers, the lowest first ([image manifest]).
///
/// [image manifest]: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Names and remarks.
    pub annotations: Vec<(String, String)>,
}

impl Manifest {
    /// Reads a manifest; `declared` is the media type by which it was found.
    pub fn parse(what: &str, bytes: &[u8], declared: Option<&str>) -> Result<Self> {
        let value = json::parse(what, bytes)?;
        let document = Field::document(what, &value);
        check_header(&document, declared, &["manifests", "fsLayers"])?;
        let config = Descriptor::read(&document.need("config")?)?;
        if ![media_type::CONFIG, media_type::DOCKER_CONFIG].contains(&config.media_type.as_str()) {
            let rule = format!("it holds {:?}, which is not a container image", config.media_type);
            return Err(document.refuse(rule));
        }
        let layers = document.need("layers")?;
        let layers = layers.items()?.iter().map(Descriptor::read).collect::<Result<Vec<_>>>()?;
        if layers.len() > MAX_LAYERS {
            return Err(
                document.refuse(format!("it has {} layers, and {MAX_LAYERS} are the limit", layers.len()))
            );
        }
        Ok(Self { config, layers, annotations: read_annotations(&document)? })
    }
}

/// Refuses a document that could be taken for another kind: CVE-2021-41190 is one document that is a manifest to
/// one program and an index to the next, with different contents.
fn check_header(document: &Field<'_>, declared: Option<&str>, foreign: &[&str]) -> Result<()> {
    for key in foreign {
        if document.get(key)?.is_some() {
            return Err(document.refuse(format!(
                "it has the field {key:?} of another kind of document, so it is ambiguous"
            )));
        }
    }
    let version = document.need("schemaVersion")?;
    if version.size()? != 2 {
        return Err(version.refuse("only schema version 2 is an image today"));
    }
    if let (Some(own), Some(declared)) = (document.get("mediaType")?, declared)
        && own.text()? != declared
    {
        return Err(own.refuse(format!("it says {:?}, but its descriptor says {declared:?}", own.text()?)));
    }
    Ok(())
}

/// The compression that a layer's media type declares; an error if it is no layer.
pub(super) fn layer_compression(what: &str, descriptor: &Descriptor) -> Result<Compression> {
    let kind = descriptor.media_type.as_str();
    let kind = kind.strip_prefix("application/vnd.").unwrap_or_default();
    let of_layer = ["oci.image.layer.v1.tar", "oci.image.layer.nondistributable.v1.tar"];
    let of_docker = ["docker.image.rootfs.diff.tar", "docker.image.rootfs.foreign.diff.tar"];
    let rest = of_layer.iter().chain(&of_docker).find_map(|prefix| kind.strip_prefix(prefix));
    match rest {
        Some("") => Ok(Compression::None),
        Some("+gzip" | ".gzip") => Ok(Compression::Gzip),
        Some("+zstd" | ".zstd") => Ok(Compression::Zstd),
        _ => Err(Error::new(format!("{what} has the media type {:?}", descriptor.media_type))
            .rule("a layer is a tar, plain or compressed with gzip or zstd; encrypted and other layers cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    fn refused(text: &str) -> String {
        match Manifest::parse("the manifest", text.as_bytes(), Some(media_type::MANIFEST)) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_plain_manifest_is_read() {
        let text = format!(r#"{{"schemaVersion":2,"config":{BLOB},"layers":[],"annotations":null}}"#);
        let manifest = Manifest::parse("the manifest", text.as_bytes(), Some(media_type::MANIFEST)).unwrap();
        assert_eq!(manifest.config.size, 0);
    }

    #[test]
    fn hostile_manifests_are_refused() {
        assert!(
            refused(&format!(r#"{{"schemaVersion":2,"config":{BLOB},"layers":[],"manifests":[]}}"#))
                .contains("ambiguous")
        );
        assert!(
            refused(&format!(r#"{{"schemaVersion":1,"config":{BLOB},"layers":[]}}"#))
                .contains("schema version")
        );
        assert!(refused(&format!(r#"{{"schemaVersion":2,"config":{BLOB}}}"#)).contains("layers"));
        assert!(refused(r#"{"schemaVersion":2,"layers":[]}"#).contains("config"));
        let other = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{BLOB},"layers":[]}}"#,
            media_type::INDEX
        );
        assert!(refused(&other).contains("its descriptor says"));
        let negative = BLOB.replace("\"size\":0", "\"size\":-1");
        assert!(
            refused(&format!(r#"{{"schemaVersion":2,"config":{negative},"layers":[]}}"#))
                .contains("whole number")
        );
        let escaping = BLOB.replace("sha256:e3b0", "sha256:../../e3b0");
        assert!(
            refused(&format!(r#"{{"schemaVersion":2,"config":{escaping},"layers":[]}}"#))
                .contains("hexadecimal")
        );
        let chart = BLOB.replace("oci.image.config", "cncf.helm.config");
        assert!(
            refused(&format!(r#"{{"schemaVersion":2,"config":{chart},"layers":[]}}"#))
                .contains("not a container image")
        );
    }

    #[test]
    fn layers_declare_their_compression() {
        let of = |kind: &str| layer_compression("layer 1", &Descriptor::of(kind, b""));
        assert_eq!(of(media_type::LAYER).unwrap(), Compression::None);
        assert_eq!(of(media_type::LAYER_ZSTD).unwrap(), Compression::Zstd);
        assert_eq!(of("application/vnd.docker.image.rootfs.diff.tar.gzip").unwrap(), Compression::Gzip);
        assert!(of("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").is_err());
        assert!(of("text/plain").is_err());
    }
}
