//! Who plays: the files and directories that the tour does something to.
//!
//! The built-in lower directory was made for it. In layers that the user names they are looked for while planning:
//! small files to change, a large one, a directory that can be emptied, a file with two names. What is not there is
//! told as a step that is left out.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::probe::overlay;

/// How many entries are looked at before the search ends.
const MOST: usize = 20_000;
/// What counts as a small file.
const SMALL: u64 = 4096;
/// A larger file would make the tour long.
const LARGEST: u64 = 256 << 20;
/// How many entries a directory may have that is emptied name by name.
const FEW: usize = 6;
/// How many bytes are read and shown.
pub const SHOWN: u64 = 64;
/// The size of the built-in large file.
pub const BIG: u64 = 1 << 20;

/// A file that plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its path in the merged tree.
    pub path: PathBuf,
    /// Where it is in the lower layers.
    pub lower: PathBuf,
    pub size: u64,
    /// What it takes up on the disk, as far as that is known to be no more than its copy will.
    pub disk: u64,
    pub mode: u32,
    /// Its first bytes.
    pub text: Vec<u8>,
}

/// A directory that plays, with the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub names: Vec<PathBuf>,
    /// Where the first of them is in the lower layers.
    pub inside: PathBuf,
}

/// All of them; a part that nobody can play is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cast {
    /// Is read, then written to.
    pub write: Option<Actor>,
    /// Gets another mode.
    pub big: Option<Actor>,
    /// Is deleted.
    pub delete: Option<Actor>,
    /// Is open while it is written to.
    pub open: Option<Actor>,
    /// Two names of one file.
    pub links: Option<(Actor, Actor)>,
    /// Is emptied, removed and made again.
    pub remove: Option<Folder>,
    /// Gets another name.
    pub rename: Option<Folder>,
}

/// The files of the built-in lower directory: name and text.
pub const FILES: [(&str, &str); 7] = [
    ("motd", "welcome\n"),
    ("old", "to be deleted\n"),
    ("open", "first line\n"),
    ("one", "two names\n"),
    ("conf/a", "a\n"),
    ("conf/b", "b\n"),
    ("dir/inner", "inner\n"),
];
/// Its directories.
pub const FOLDERS: [&str; 2] = ["conf", "dir"];
/// The file that has a second name.
pub const LINK: (&str, &str) = ("one", "two");
/// The large file.
pub const LARGE: &str = "big";

impl Cast {
    /// The cast of the built-in lower directory.
    pub fn built_in() -> Self {
        let actor = |name: &str, size: u64, text: &str| Actor {
            path: name.into(),
            lower: Path::new("lower").join(name),
            size,
            disk: if name == LARGE { size } else { 0 },
            mode: 0o644,
            text: text.into(),
        };
        let small = |name: &str| {
            let text = FILES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| *text);
            Some(actor(name, text.len() as u64, text))
        };
        let folder = |name: &str| {
            let inside = FILES.iter().filter(|(path, _)| Path::new(path).parent() == Some(Path::new(name)));
            let names: Vec<PathBuf> = inside.map(|(path, _)| path.into()).collect();
            let inside = Path::new("lower").join(names.first()?);
            Some(Folder { path: name.into(), names, inside })
        };
        let second = small(LINK.0).map(|one| {
            let two = Actor { path: LINK.1.into(), lower: Path::new("lower").join(LINK.1), ..one.clone() };
            (one, two)
        });
        Self {
            write: small("motd"),
            big: Some(actor(LARGE, BIG, "")),
            delete: small("old"),
            open: small("open"),
            links: second,
            remove: folder("conf"),
            rename: folder("dir"),
        }
    }

    /// Looks for a cast in these layers, the topmost first. With an owner, only what belongs to that user and group
    /// counts: in a user namespace nobody else's files can be copied up.
    pub fn find(layers: &[PathBuf], owner: Option<(u32, u32)>) -> Self {
        let mut search = Search { layers, owner, files: Vec::new(), folders: Vec::new() };
        search.run();
        search.choose()
    }

    /// The paths of all and the directories that they are in, to look at.
    pub fn paths(&self) -> Vec<PathBuf> {
        let files = [&self.write, &self.big, &self.delete, &self.open].into_iter().flatten();
        let links = self.links.iter().flat_map(|(one, two)| [one, two]);
        let folders = [&self.remove, &self.rename].into_iter().flatten();
        let folders = folders.flat_map(|folder| std::iter::once(&folder.path).chain(&folder.names));
        let own = files.chain(links).map(|actor| &actor.path).chain(folders);
        let all = own.flat_map(|path| path.ancestors()).filter(|path| !path.as_os_str().is_empty());
        all.map(Path::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A search through the layers, breadth first: what is near the root is easy to recognise.
struct Search<'a> {
    layers: &'a [PathBuf],
    owner: Option<(u32, u32)>,
    files: Vec<(Actor, Metadata)>,
    folders: Vec<Folder>,
}

impl Search<'_> {
    fn run(&mut self) {
        let mut todo = VecDeque::from([PathBuf::new()]);
        let mut seen = 0;
        while let Some(directory) = todo.pop_front() {
            let mut names = Vec::new();
            let mut only_files = true;
            for name in overlay::listed(self.layers, &directory) {
                seen += 1;
                let path = directory.join(name);
                let Some((_, lower)) = overlay::found(self.layers, &path) else { continue };
                let Ok(meta) = fs::symlink_metadata(&lower) else { continue };
                let ours = self.owner.is_none_or(|owner| owner == (meta.uid(), meta.gid()));
                only_files &= ours && !meta.is_dir();
                names.push(path.clone());
                if ours && meta.is_dir() {
                    todo.push_back(path);
                } else if ours && meta.is_file() {
                    self.files.push((actor(path, lower, &meta), meta));
                }
            }
            if !directory.as_os_str().is_empty() && only_files && (1..=FEW).contains(&names.len()) {
                let inside = overlay::found(self.layers, &names[0]).map(|(_, inside)| inside);
                self.folders.extend(inside.map(|inside| Folder { path: directory, names, inside }));
            }
            if seen > MOST {
                break;
            }
        }
    }

    fn choose(mut self) -> Cast {
        let mut folders = std::mem::take(&mut self.folders).into_iter();
        let (remove, rename) = (folders.next(), folders.next());
        let gone: Vec<PathBuf> = remove.iter().chain(&rename).map(|folder| folder.path.clone()).collect();
        self.files.retain(|(actor, _)| !gone.iter().any(|path| actor.path.starts_with(path)));
        let links = self.links();
        let single = self.files.iter().filter(|(_, meta)| meta.nlink() == 1).map(|(actor, _)| actor);
        let big =
            single.clone().filter(|actor| actor.size <= LARGEST).max_by_key(|actor| actor.size).cloned();
        let is_big = |actor: &Actor| big.as_ref().is_some_and(|big| big.path == actor.path);
        let small = single.filter(|actor| (1..=SMALL).contains(&actor.size) && !is_big(actor));
        let mut small = small.cloned().map(Actor::with_text);
        let (write, delete, open) = (small.next(), small.next(), small.next());
        Cast { write, big, delete, open, links, remove, rename }
    }

    /// Two names of one file.
    fn links(&self) -> Option<(Actor, Actor)> {
        let mut seen: HashMap<(u64, u64), &Actor> = HashMap::new();
        for (actor, meta) in self.files.iter().filter(|(_, meta)| meta.nlink() > 1) {
            if let Some(one) = seen.insert((meta.dev(), meta.ino()), actor) {
                return Some((one.clone(), actor.clone()));
            }
        }
        None
    }
}

fn actor(path: PathBuf, lower: PathBuf, meta: &Metadata) -> Actor {
    let disk = meta.size().min(meta.blocks() * 512);
    Actor { path, lower, size: meta.size(), disk, mode: meta.mode() & 0o7777, text: Vec::new() }
}

impl Actor {
    /// With its first bytes. What cannot be read has none.
    fn with_text(mut self) -> Self {
        let file = fs::File::open(&self.lower);
        if let Ok(file) = file {
            // A file that cannot be read whole is told as one without text.
            let _ = file.take(SHOWN).read_to_end(&mut self.text);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_is_found_in_layers_that_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = ["1", "2"].map(|name| dir.path().join(name)).into();
        for file in ["1/a", "2/b", "2/c", "2/etc/conf.d/x", "2/usr/share/y", "2/one"] {
            fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
            fs::write(dir.path().join(file), "text").unwrap();
        }
        fs::write(dir.path().join("2/large"), vec![7; 10_000]).unwrap();
        fs::hard_link(dir.path().join("2/one"), dir.path().join("2/two")).unwrap();
        let cast = Cast::find(&layers, None);
        let path = |actor: &Option<Actor>| actor.as_ref().map(|actor| actor.path.display().to_string());
        assert_eq!(path(&cast.write).as_deref(), Some("a"));
        assert_eq!(path(&cast.big).as_deref(), Some("large"));
        assert_eq!(cast.write.unwrap().text, b"text");
        assert_eq!(cast.links.map(|(one, two)| (one.path, two.path)), Some(("one".into(), "two".into())));
        assert_eq!(cast.remove.unwrap().names, [Path::new("etc/conf.d/x")]);
        assert_eq!(cast.rename.unwrap().path, Path::new("usr/share"));
        assert_eq!(Cast::find(&layers, Some((4_000_000, 4_000_000))), Cast::default(), "nobody else's files");
    }

    #[test]
    fn the_built_in_cast_is_complete() {
        let cast = Cast::built_in();
        assert!([&cast.write, &cast.big, &cast.delete, &cast.open].iter().all(|actor| actor.is_some()));
        assert_eq!(cast.remove.as_ref().unwrap().names.len(), 2);
        assert_eq!(cast.paths().len(), 4 + 2 + 2 + 2 + 1);
    }
}
