//! The built-in demo image: what `cutaway run` runs when no image is named.
//!
//! Separate from the store because it is a lesson: three layers that show what layers do. It is made on first use
//! from the programs this machine already has ([`host`]), so that it needs no network and no root, written as an
//! OCI image layout and loaded like any other image.
//!
//! 1. **base**: a shell and some forty programs with the libraries they load, and the few files that they expect.
//! 2. **story**: changes one file of the base and adds some, one of them a secret.
//! 3. **deleted**: deletes the secret, which stays readable in layer 2: deleting hides, it does not remove.

pub mod host;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use self::host::{Collected, Content, Taken};
use super::config::Config;
use super::reference::Name;
use super::source::Image;
use super::store::{LoadReport, Progress, Store, Unpack};
use super::write::{Entry, LayerTar, LayoutWriter};
use crate::error::{Error, Result};

/// The name of the demo image.
pub const NAME: &str = "demo";

/// The label that says which edition of the demo this is; another one is made again.
const LABEL: &str = "cutaway.demo";

/// The edition that this program makes.
const EDITION: &str = "1";

/// Every file of the demo is from this moment, so that the same machine makes the same image: 2026-01-01.
const MTIME: u64 = 1_767_225_600;

/// The same moment for the config.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// The demo image, and what was done for it.
pub struct Demo {
    /// The image in the store.
    pub image: Image,
    /// What making it took from this machine and did; nothing if it was there.
    pub made: Option<(Taken, LoadReport)>,
}

/// How many layers it has.
pub const LAYERS: usize = 3;

/// The config that the demo image will have, for explaining a run of it before it is made.
pub fn expected() -> Result<Config> {
    let value = config(&Taken::default());
    let mut value = value.as_object().cloned().unwrap_or_default();
    value.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": [] }));
    value.remove("history");
    Config::parse("the demo image's config", Value::Object(value).to_string().as_bytes())
}

/// Gives the demo image, making it if the store does not have it.
pub fn ensure(store: &Store, unpack: Unpack<'_>, progress: &dyn Progress) -> Result<Demo> {
    ensure_from(store, &host::search_path(), unpack, progress)
}

/// Whether the store has the demo image, without making anything.
#[must_use]
pub fn is_there(store: &Store) -> bool {
    current(store).is_some()
}

/// The same with the programs of these directories.
fn ensure_from(
    store: &Store,
    search: &[OsString],
    unpack: Unpack<'_>,
    progress: &dyn Progress,
) -> Result<Demo> {
    if let Some(image) = current(store) {
        store.unpack_missing(&image, unpack, progress)?;
        return Ok(Demo { image, made: None });
    }
    let still_missing = || current(store).is_none();
    let made = store.make_and_load(NAME, still_missing, |dir| build(dir, search), unpack, progress)?;
    let image = current(store).ok_or_else(|| Error::new("the demo image was removed by another process"))?;
    store.unpack_missing(&image, unpack, progress)?;
    Ok(Demo { image, made })
}

/// The demo image, if it is there and of this edition; an image of the user's own with that name counts.
fn current(store: &Store) -> Option<Image> {
    let image = store.find(&NAME.parse::<Name>().ok()?).ok()?;
    let edition = image.config.labels.iter().find(|(key, _)| key == LABEL);
    edition.is_none_or(|(_, edition)| edition == EDITION).then_some(image)
}

/// Writes the demo image as a layout into a directory that does not exist yet.
pub fn build(dir: &Path, search: &[OsString]) -> Result<Taken> {
    let collected = host::collect(search)?;
    let mut writer = LayoutWriter::create(dir)?;
    let taken = collected.taken.clone();
    writer.layer(|tar| write_all(tar, &base(collected)))?;
    writer.layer(|tar| write_all(tar, &story()))?;
    writer.layer(|tar| write_all(tar, &deleted()))?;
    writer.finish(config(&taken), NAME)?;
    Ok(taken)
}

/// The entries of a layer by name: a sorted map, so that a directory comes before what is in it.
type Entries = BTreeMap<Vec<u8>, Item>;

/// One entry.
struct Item {
    mode: u32,
    owner: (u64, u64),
    content: Content,
}

impl Item {
    fn dir(mode: u32) -> Self {
        Self { mode, owner: (0, 0), content: Content::Dir }
    }

    fn text(text: &str) -> Self {
        Self { mode: 0o644, owner: (0, 0), content: Content::Text(text.to_owned()) }
    }

    fn link(target: &str) -> Self {
        Self { mode: 0o777, owner: (0, 0), content: Content::Link(target.as_bytes().to_vec()) }
    }
}

/// The first layer: everything that makes a small system.
fn base(collected: Collected) -> Entries {
    let mut entries = Entries::new();
    let mut add = |name: &str, item| entries.insert(name.as_bytes().to_vec(), item);
    for dir in [
        "dev", "etc", "home", "mnt", "proc", "run", "srv", "sys", "usr/bin", "usr/sbin", "usr/lib",
        "var/log", "var/tmp",
    ] {
        add(dir, Item::dir(0o755));
    }
    add("root", Item::dir(0o700));
    add("tmp", Item::dir(0o1777));
    add("var/tmp", Item::dir(0o1777));
    add("home/student", Item { owner: (1000, 1000), ..Item::dir(0o755) });
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("var/run", "/run"),
        ("etc/mtab", "../proc/self/mounts"),
    ] {
        add(link, Item::link(target));
    }
    for (name, text) in ETC {
        add(name, Item::text(text));
    }
    for root in collected.lib_links {
        add(&root, Item::link(&format!("usr/{root}")));
        add(&format!("usr/{root}"), Item::dir(0o755));
    }
    for (name, content) in collected.files {
        let mode = if name.starts_with(b"usr/share") || name.windows(8).any(|part| part == b"terminfo") {
            0o644
        } else {
            0o755
        };
        entries.insert(name, Item { mode, owner: (0, 0), content });
    }
    with_parents(entries)
}

/// The second layer: one file changed, some added.
fn story() -> Entries {
    let mut entries = Entries::new();
    for (name, text) in STORY {
        entries.insert(name.as_bytes().to_vec(), Item::text(text));
    }
    with_parents(entries)
}

/// The third layer: one file deleted, which a tar can only say with a whiteout.
fn deleted() -> Entries {
    let mut entries = Entries::new();
    entries.insert(b"srv/story/.wh.secret".to_vec(), Item::text(""));
    with_parents(entries)
}

/// Adds the directories that the entries are in.
fn with_parents(mut entries: Entries) -> Entries {
    let names: Vec<Vec<u8>> = entries.keys().cloned().collect();
    for name in names {
        for (at, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            entries.entry(name[..at].to_vec()).or_insert_with(|| Item::dir(0o755));
        }
    }
    entries
}

/// Writes the entries in their order.
fn write_all(tar: &mut LayerTar<'_>, entries: &Entries) -> Result<()> {
    for (name, item) in entries {
        let entry = Entry { name, mode: item.mode, owner: item.owner, mtime: MTIME };
        match &item.content {
            Content::Dir => entry.dir(tar)?,
            Content::Link(target) => entry.symlink(tar, target)?,
            Content::Text(text) => entry.file(tar, text.len() as u64, text.as_bytes())?,
            Content::Copy(from) => {
                let bytes = fs::read(from)
                    .map_err(|cause| Error::io(format!("cannot read {}", from.display()), &cause))?;
                entry.file(tar, bytes.len() as u64, &bytes[..])?;
            }
        }
    }
    Ok(())
}

/// The config, to which the writer adds the diff IDs.
fn config(taken: &Taken) -> Value {
    let platform = super::Platform::host();
    let step = |text: String| json!({ "created": CREATED, "created_by": text });
    let base = format!(
        "copy {} programs of this machine and the {} libraries they load",
        taken.programs.len(),
        taken.libraries
    );
    json!({
        "created": CREATED,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PS1=inside:$PWD# ",
            ],
            "Cmd": ["/bin/sh", "/srv/story/tour"],
            "WorkingDir": "/root",
            "Labels": { LABEL: EDITION },
        },
        "history": [
            step(base),
            step("change /etc/motd, add /srv/story with a secret in it".to_owned()),
            step("delete /srv/story/secret".to_owned()),
            { "created": CREATED, "created_by": "set Env, Cmd and WorkingDir", "empty_layer": true },
        ],
    })
}

/// The files that programs expect in /etc.
const ETC: [(&str, &str); 8] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1000:student:/home/student:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nusers:x:100:student\nstudent:x:1000:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/os-release", "NAME=\"cutaway demo\"\nID=cutaway-demo\nPRETTY_NAME=\"cutaway demo image\"\n"),
    ("etc/shells", "/bin/sh\n"),
    ("etc/profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"),
    ("etc/motd", "This file is from layer 1, the base.\n"),
];

/// The files of the second layer.
const STORY: [(&str, &str); 5] = [
    ("srv/story/tour", TOUR),
    (
        "etc/motd",
        "This file is from layer 2. The one of layer 1 is still there, below, but nobody can see it.\n",
    ),
    (
        "srv/story/1-base",
        "Everything in /usr was copied from the machine that made this image. Look: the programs are the\n\
         same, the root directory is not.\n",
    ),
    (
        "srv/story/2-changed",
        "Layer 2 changed /etc/motd. A layer cannot change a line: it holds the whole new file, and overlayfs\n\
         shows the topmost one.\n",
    ),
    (
        "srv/story/secret",
        "The password is swordfish. Layer 3 deletes this file. You are not reading it inside, are you?\n",
    ),
];

/// What the demo image runs when no command is given: a look around, then a shell if somebody is typing.
const TOUR: &str = r#"# A look around inside. Every line of it could be typed by hand.
show() { echo "inside\$ $*"; "$@" 2>&1; echo; }
echo "This process was born on your machine a moment ago. What does it see?"
echo
show hostname
show id
show ps -ef
show cat /etc/motd
show ls /srv/story
echo "Process 1 is this script. The host's processes, names and files are out of sight."
if [ -t 0 ]; then
    echo "A shell follows; ^D or \"exit\" ends it, and the container with it."
    exec /bin/sh
fi
echo "For a shell: cutaway run -it"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{reference::PathReference, source};

    fn build_in(dir: &Path) -> (Image, Taken) {
        let taken = build(dir, &host::search_path()).unwrap();
        let reference = PathReference { path: dir.to_path_buf(), image: None, form: None };
        (source::open(&reference, &source::Options::default()).unwrap(), taken)
    }

    #[test]
    fn the_same_machine_makes_the_same_image() {
        let dir = tempfile::tempdir().unwrap();
        let (one, taken) = build_in(&dir.path().join("one"));
        let (two, _) = build_in(&dir.path().join("two"));
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.layers.len(), 3);
        assert!(taken.programs.iter().any(|name| name == "sh"));
    }

    #[test]
    fn every_entry_has_its_directory_before_it() {
        let names: Vec<Vec<u8>> = story().into_keys().collect();
        assert_eq!(names[0], b"etc");
        assert!(
            names.iter().position(|name| name == b"srv/story")
                < names.iter().position(|name| name == b"srv/story/secret")
        );
    }

    #[test]
    fn without_a_shell_there_is_no_demo() {
        let dir = tempfile::tempdir().unwrap();
        let error = build(&dir.path().join("demo"), &[dir.path().as_os_str().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("sh"), "{error}");
    }
}
