//! The image config: what to run by default and which layers it is made of.
//!
//! Separate from the manifest because it is the image's identity (its digest is the image ID) and because
//! everything here is advice to `run`: data, never a command, path or device of the host.

use super::digest::Digest;
use super::json::{self, Field};
use super::manifest::as_object;
use super::platform::Platform;
use crate::error::{Error, Result};

/// The image config ([config]).
///
/// [config]: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Config {
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// The variant of the architecture.
    pub variant: Option<String>,
    /// `User`: `user`, `uid`, `user:group`, `uid:gid`, …
    pub user: String,
    /// `Env`: `NAME=value`.
    pub env: Vec<String>,
    /// `Entrypoint`, if there is one.
    pub entrypoint: Option<Vec<String>>,
    /// `Cmd`, if there is one.
    pub cmd: Option<Vec<String>>,
    /// `WorkingDir`, empty for `/`.
    pub working_dir: String,
    /// `Hostname`, which only Docker writes.
    pub hostname: Option<String>,
    /// `Volumes`: paths.
    pub volumes: Vec<String>,
    /// `ExposedPorts`: `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// `Labels`.
    #[serde(serialize_with = "as_object")]
    pub labels: Vec<(String, String)>,
    /// `StopSignal`: `SIGTERM`, or a number.
    pub stop_signal: Option<String>,
    /// `history`, the lowest layer first.
    pub history: Vec<History>,
    /// `rootfs.diff_ids`: the digests of the layers' plain tars, the lowest first.
    pub diff_ids: Vec<Digest>,
}

/// How a layer came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct History {
    /// When.
    pub created: Option<String>,
    /// By which command.
    pub created_by: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// It changed the config only; no layer belongs to it.
    pub empty_layer: bool,
}

impl Config {
    /// Reads a config.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let value = json::parse(what, bytes)?;
        let document = Field::document(what, &value);
        let mut config = Self {
            created: text(&document, "created")?,
            author: text(&document, "author")?,
            architecture: text(&document, "architecture")?.unwrap_or_default(),
            os: text(&document, "os")?.unwrap_or_default(),
            variant: text(&document, "variant")?,
            history: read_history(&document)?,
            diff_ids: read_diff_ids(&document)?,
            ..Self::default()
        };
        if let Some(execution) = document.get("config")? {
            config.read_execution(&execution)?;
        }
        config.check_history(&document)?;
        Ok(config)
    }

    /// Where the image runs.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let Self { os, architecture, variant, .. } = self.clone();
        Platform { os, architecture, variant }
    }

    /// The chain IDs: each names a layer together with all that lie below it ([layer chain ID]).
    ///
    /// [layer chain ID]: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid
    // ANCHOR: chain
    #[must_use]
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.diff_ids.len());
        for diff_id in &self.diff_ids {
            let next =
                chain.last().map_or(*diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
            chain.push(next);
        }
        chain
    }
    // ANCHOR_END: chain

    /// Reads the object `config`, the defaults for running.
    fn read_execution(&mut self, field: &Field<'_>) -> Result<()> {
        let texts = |key| field.get(key)?.map(|value| value.texts()).transpose();
        let keys =
            |key| Ok::<_, Error>(field.get(key)?.map(|value| value.keys()).transpose()?.unwrap_or_default());
        self.user = text(field, "User")?.unwrap_or_default();
        self.env = texts("Env")?.unwrap_or_default();
        self.entrypoint = texts("Entrypoint")?;
        self.cmd = texts("Cmd")?;
        self.working_dir = text(field, "WorkingDir")?.unwrap_or_default();
        self.hostname = text(field, "Hostname")?.filter(|name| !name.is_empty());
        self.volumes = keys("Volumes")?;
        self.exposed_ports = keys("ExposedPorts")?;
        self.labels =
            field.get("Labels")?.map(|labels| labels.text_entries()).transpose()?.unwrap_or_default();
        self.stop_signal = text(field, "StopSignal")?.filter(|signal| !signal.is_empty());
        Ok(())
    }

    /// Refuses a history that tells of more layers than there are.
    fn check_history(&self, document: &Field<'_>) -> Result<()> {
        let told = self.history.iter().filter(|entry| !entry.empty_layer).count();
        if told > self.diff_ids.len() {
            let rule = format!("its history tells of {told} layers, but it has {}", self.diff_ids.len());
            return Err(document.refuse(rule));
        }
        Ok(())
    }
}

/// A text field that may be absent.
fn text(field: &Field<'_>, key: &str) -> Result<Option<String>> {
    field.get(key)?.map(|value| value.kernel_text()).transpose()
}

/// Reads `rootfs`.
fn read_diff_ids(document: &Field<'_>) -> Result<Vec<Digest>> {
    let rootfs = document.need("rootfs")?;
    let kind = rootfs.need("type")?;
    if kind.text()? != "layers" {
        return Err(kind.refuse("a root file system is made of \"layers\""));
    }
    let Some(diff_ids) = rootfs.get("diff_ids")? else { return Ok(Vec::new()) };
    let read = |item: &Field<'_>| {
        item.text()?
            .parse()
            .map_err(|_| item.refuse("it is not \"sha256:\" and 64 lower-case hexadecimal digits"))
    };
    diff_ids.items()?.iter().map(read).collect()
}

/// Reads `history`.
fn read_history(document: &Field<'_>) -> Result<Vec<History>> {
    let Some(history) = document.get("history")? else { return Ok(Vec::new()) };
    let read = |entry: &Field<'_>| {
        Ok(History {
            created: text(entry, "created")?,
            created_by: text(entry, "created_by")?,
            comment: text(entry, "comment")?,
            empty_layer: entry.get("empty_layer")?.map_or(Ok(false), |value| value.bool())?,
        })
    };
    history.items()?.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTFS: &str = r#""rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}"#;

    #[test]
    fn what_run_needs_is_read() {
        let text = format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{"Env":["A=b=c"],"Cmd":null,"Entrypoint":["/x"],
            "User":"1000:50","Volumes":{{"/data":{{}}}},"Labels":{{"k":"v"}},"Healthcheck":{{}} }},
            "history":[{{"created_by":"x"}},{{"empty_layer":true}}],{ROOTFS}}}"#
        );
        let config = Config::parse("the config", text.as_bytes()).unwrap();
        assert_eq!(config.env, ["A=b=c"]);
        assert_eq!((config.cmd.as_ref(), config.entrypoint.as_deref()), (None, Some(&["/x".to_owned()][..])));
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.platform().to_string(), "linux/arm64");
        assert_eq!(config.chain_ids(), config.diff_ids);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        for bad in [
            r#"{"os":"linux"}"#.to_owned(),
            format!(r#"{{"config":{{"Cmd":"sh"}},{ROOTFS}}}"#),
            format!(r#"{{"config":{{"Env":["A=\u0000"]}},{ROOTFS}}}"#),
            format!(r#"{{"config":{{"User":0}},{ROOTFS}}}"#),
            format!(r#"{{"history":[{{}},{{}}],{ROOTFS}}}"#),
            ROOTFS.replace("layers", "disk").replace("\"rootfs\"", "{\"rootfs\"") + "}",
        ] {
            assert!(Config::parse("the config", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
