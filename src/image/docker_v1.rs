//! What `docker save` wrote before 1.10: a folder for each layer, each naming its parent.
//!
//! Separate from [`super::docker`] because nothing in it is content-addressed: identities are made up, the layers
//! have no digests and the config is that of the topmost folder. Reading one is therefore a conversion: the layers
//! are hashed, and a config and a manifest of the OCI kind are written for them.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::compression::Decoder;
use super::digest::{Digest, Hasher};
use super::docker;
use super::files::{Blob, Files};
use super::json::{self as strict, Field};
use super::manifest::{Descriptor, media_type};
use super::reference::familiar;
use super::source::{Document, Found, Image, Parts, assemble, read_loose};
use crate::error::{Error, Result};

/// The file that gives names to the topmost layers.
const REPOSITORIES: &str = "repositories";

/// More layers than Docker ever allowed.
const MAX_LAYERS: usize = 1000;

/// The images of such an archive: a name, and the folder of the topmost layer.
pub struct Tree {
    tips: Vec<(Option<String>, String)>,
}

impl Tree {
    /// Looks for images of this form; `None` if there are none.
    pub fn find(files: &Files) -> Result<Option<Self>> {
        let tips = match files.open(REPOSITORIES)? {
            Some(_) => read_repositories(files)?,
            None => unnamed_tips(files)?,
        };
        Ok((!tips.is_empty()).then_some(Self { tips }))
    }

    /// The names of the images.
    pub fn names(self) -> Vec<String> {
        self.tips.into_iter().filter_map(|(name, _)| name).collect()
    }

    /// Opens one image.
    pub fn open(mut self, files: Arc<Files>, wanted: Option<&str>) -> Result<Image> {
        let place = files.root().display().to_string();
        let list = self.tips.iter().filter_map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = wanted {
            let is_it =
                |name: &str| familiar(name) == familiar(wanted) || name.ends_with(&format!(":{wanted}"));
            self.tips.retain(|(name, _)| name.as_deref().is_some_and(is_it));
        }
        self.tips.dedup_by(|a, b| a.1 == b.1);
        match (self.tips.pop(), self.tips.is_empty()) {
            (Some((name, tip)), true) => convert(files, name, &tip),
            (Some(_), false) => Err(Error::new(format!("{place} holds several images"))
                .rule(format!("it holds {list}"))
                .remedy("add the name to the path: FILE:NAME:TAG")),
            _ => Err(Error::new(format!("{place} holds no image {:?}", wanted.unwrap_or_default()))
                .rule(format!("it holds {list}"))),
        }
    }
}

/// Reads `repositories`: names, then tags, then folders.
fn read_repositories(files: &Files) -> Result<Vec<(Option<String>, String)>> {
    let what = format!("{REPOSITORIES} of {}", files.root().display());
    let value = strict::parse(&what, &read_loose(files, REPOSITORIES)?)?;
    let document = Field::document(what, &value);
    let mut tips = Vec::new();
    for repository in document.keys()? {
        for (tag, id) in document.need(&repository)?.text_entries()? {
            tips.push((Some(format!("{repository}:{tag}")), folder_name(&id)?));
        }
    }
    Ok(tips)
}

/// The folders that are nobody's parent, in an archive that gives no names.
fn unnamed_tips(files: &Files) -> Result<Vec<(Option<String>, String)>> {
    let mut folders = Vec::new();
    for name in files.top_level() {
        if files.open(&format!("{name}/json")).is_ok_and(|file| file.is_some()) {
            folders.push(name);
        }
    }
    let mut parents = HashSet::new();
    for folder in &folders {
        let (value, what) = read_json(files, folder)?;
        let parent =
            Field::document(what, &value).get("parent")?.map(|parent| parent.kernel_text()).transpose()?;
        parents.extend(parent);
    }
    folders.retain(|folder| !parents.contains(folder));
    Ok(folders.into_iter().map(|folder| (None, folder)).collect())
}

/// Passes what can only be one folder.
fn folder_name(id: &str) -> Result<String> {
    let fine =
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fine {
        return Ok(id.to_owned());
    }
    Err(Error::new(format!("layer {id:?} is refused"))
        .rule("the identity of a layer is made of letters and digits"))
}

/// Reads the `json` of a layer.
fn read_json(files: &Files, folder: &str) -> Result<(Value, String)> {
    let name = format!("{folder}/json");
    let what = format!("{name} of {}", files.root().display());
    Ok((strict::parse(&what, &read_loose(files, &name)?)?, what))
}

/// One layer of the chain.
struct V1 {
    folder: String,
    value: Value,
}

/// Follows the parents down, the topmost first.
fn chain(files: &Files, tip: &str) -> Result<Vec<V1>> {
    let mut chain: Vec<V1> = Vec::new();
    let mut next = Some(folder_name(tip)?);
    while let Some(folder) = next {
        if chain.len() == MAX_LAYERS || chain.iter().any(|layer| layer.folder == folder) {
            return Err(Error::new(format!("layer {folder} of {} is refused", files.root().display())).rule(
                "the parents of a layer end at one without a parent; these go in a circle or on and on",
            ));
        }
        let (value, what) = read_json(files, &folder)?;
        let parent = Field::document(what, &value).get("parent")?;
        let parent = parent.map(|parent| parent.text()).transpose()?.filter(|parent| !parent.is_empty());
        next = parent.map(folder_name).transpose()?;
        chain.push(V1 { folder, value });
    }
    Ok(chain)
}

/// Writes the config and the manifest for a chain.
fn convert(files: Arc<Files>, name: Option<String>, tip: &str) -> Result<Image> {
    let mut chain = chain(&files, tip)?;
    chain.reverse();
    let members: Vec<String> = chain.iter().map(|layer| format!("{}/layer.tar", layer.folder)).collect();
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for member in &members {
        let diff_id = plain_digest(files.need(member)?)?;
        layers.push(docker::describe(&files, member, Some(&diff_id))?);
        diff_ids.push(diff_id);
    }
    let bytes = write_config(&chain, &diff_ids);
    let config = Document { descriptor: Descriptor::of(media_type::CONFIG, &bytes), bytes };
    let manifest = docker::write_manifest(&config.descriptor, &layers);
    assemble(files, Parts { name, found: Found::DockerV1, manifest, config, members })
}

/// The digest of a layer's plain tar.
fn plain_digest(blob: Blob) -> Result<Digest> {
    let what = blob.what().to_owned();
    let failed = |cause: io::Error| Error::io(format!("cannot read {what}"), &cause);
    let mut plain = Decoder::sniffing(io::BufReader::with_capacity(256 << 10, blob)).map_err(&failed)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match plain.read(&mut buffer).map_err(&failed)? {
            0 => return Ok(hasher.finish().0),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// The config of the topmost layer, with what the OCI form adds.
fn write_config(chain: &[V1], diff_ids: &[Digest]) -> Vec<u8> {
    let empty = Map::new();
    let top = chain.last().and_then(|layer| layer.value.as_object()).unwrap_or(&empty);
    let mut config = Map::new();
    for key in ["created", "author", "architecture", "os", "variant", "config"] {
        if let Some(value) = top.get(key).filter(|value| !value.is_null()) {
            config.insert(key.to_owned(), value.clone());
        }
    }
    let host = super::Platform::host();
    config.entry("architecture").or_insert(json!(host.architecture));
    config.entry("os").or_insert(json!(host.os));
    config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
    config.insert("history".to_owned(), chain.iter().map(|layer| history_of(&layer.value)).collect());
    Value::Object(config).to_string().into_bytes()
}

/// The history entry of one layer.
fn history_of(layer: &Value) -> Value {
    let mut entry = Map::new();
    if let Some(created) = layer.get("created").and_then(Value::as_str) {
        entry.insert("created".to_owned(), json!(created));
    }
    let command =
        layer.get("container_config").and_then(|config| config.get("Cmd")).and_then(Value::as_array);
    if let Some(command) = command {
        let words: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        entry.insert("created_by".to_owned(), json!(words.join(" ")));
    }
    Value::Object(entry)
}
