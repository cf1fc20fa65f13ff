//! What is fuzzed: the code that reads bytes of strangers. A target panics when a promise is broken, and otherwise says in
//! a few words what became of the input; an input with a new story is kept and changed further.
//!
//! Separate from what makes the inputs, so that another fuzzer can call the same functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cutaway::error::Error;
use cutaway::image::compression::Decoder;
use cutaway::image::listing::merge::{Merged, inode};
use cutaway::image::manifest::{Descriptor, Index, Manifest};
use cutaway::image::source::{self, Options as SourceOptions};
use cutaway::image::unpack::list::{Tree, What};
use cutaway::image::unpack::{Limits, ListOptions, Options, fetch, list, unpack};
use cutaway::image::{Config, Digest, Platform, Reference, listing};
use cutaway::sys::tree::{Tally, remove_tree};

/// A target: the story of an input.
pub type Target = fn(&[u8]) -> String;

/// Every target by its name.
pub const ALL: [(&str, Target); 5] = [
    ("archive", archive),
    ("whiteouts", whiteouts),
    ("documents", documents),
    ("compressed", compressed),
    ("image", image),
];

/// The rule of an error, without the names and numbers in it.
fn rule(error: &Error) -> String {
    let parts = error.parts();
    assert!(!parts.what.is_empty(), "an error that says nothing");
    let text = parts.rule.as_deref().unwrap_or(&parts.what);
    let mut story = String::new();
    let mut quoted = false;
    for letter in text.chars().take(200) {
        quoted ^= matches!(letter, '`' | '"');
        if !quoted && !letter.is_ascii_digit() {
            story.push(letter);
        }
    }
    story
}

/// Limits that an input of a few kilobytes can reach.
fn limits() -> Limits {
    Limits { entries: 200, bytes: 1 << 40, path: 1000, depth: 20, ratio: 1000 }
}

/// A directory for one process, with a target to unpack into and a sentinel that nothing may reach.
fn world() -> &'static Path {
    static WORLD: OnceLock<PathBuf> = OnceLock::new();
    WORLD.get_or_init(|| {
        let name = format!("cutaway-fuzz-{}", std::process::id());
        // In memory where that is possible: an input is a few files, and a disk would be most of the time.
        let all = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let made = all
            .iter()
            .map(|place| place.join(&name))
            .find(|dir| fs::create_dir_all(dir.join("sentinel")).is_ok());
        let dir = made.expect("a directory to work in");
        fs::write(dir.join("sentinel/kept"), "kept").expect("a sentinel");
        dir
    })
}

/// Removes what the targets have made.
pub fn clear() {
    let _ = remove_tree(world(), &mut Tally::default());
}

/// One layer: what is listed is what is unpacked, nothing outside is touched, and the tree keeps its own rules.
pub fn archive(data: &[u8]) -> String {
    sentinel_before();
    let options = ListOptions { limits: limits(), contents: true };
    let listed = list(&mut &data[..], &options);
    let target = world().join("target");
    fs::create_dir(&target).expect("a directory to unpack into");
    let privileged = rustix::process::geteuid().is_root();
    let own = if privileged { Options::privileged() } else { Options::unprivileged() };
    let unpacked = unpack(&mut &data[..], &target, &Options { limits: limits(), ..own });
    // An ordinary user makes no devices: names that lead to one then lead to nothing.
    let devices = data.chunks_exact(512).any(|block| matches!(block[156], b'3' | b'4'));
    let story = match (&listed, &unpacked) {
        _ if devices && !privileged => String::new(),
        (Ok(tree), Ok(unpacked)) => {
            check_tree(tree, data);
            let mut found = BTreeMap::new();
            on_disk(&target, &target, &mut found);
            assert_eq!(as_listed(tree), found, "what is listed is not what was unpacked");
            assert_eq!(tree.inodes[0].opaque, unpacked.opaque_root);
            shape(tree)
        }
        (Err(one), Err(other)) if other.parts().call.is_none() => {
            // Not always in the same words: unpacking notices some things later.
            assert!(!rule(other).is_empty());
            rule(one)
        }
        // The kernel refuses what is too large or too long for a file system.
        (_, Err(other)) if other.parts().call.is_some() => rule(other),
        (one, other) => panic!("listed: {:?}, unpacked: {:?}", one.as_ref().err(), other.as_ref().err()),
    };
    remove_tree(&target, &mut Tally::default()).expect("what was unpacked can be removed");
    assert_eq!(sentinel(), *sentinel_before(), "the sentinel was changed");
    let beside: BTreeSet<_> =
        fs::read_dir(world()).expect("the world").flatten().map(|it| it.file_name()).collect();
    assert!(beside.iter().all(|name| name == "sentinel"), "made outside: {beside:?}");
    story
}

/// Everything about the sentinel that an archive could change.
fn sentinel() -> (u32, u32, i64, u64, Vec<u8>) {
    let about = fs::metadata(world().join("sentinel")).expect("the sentinel is still there");
    let kept = fs::read(world().join("sentinel/kept")).unwrap_or_default();
    (about.mode(), about.uid(), about.mtime(), about.nlink(), kept)
}

fn sentinel_before() -> &'static (u32, u32, i64, u64, Vec<u8>) {
    static BEFORE: OnceLock<(u32, u32, i64, u64, Vec<u8>)> = OnceLock::new();
    BEFORE.get_or_init(sentinel)
}

/// What holds for the tree of every layer.
fn check_tree(tree: &Tree, data: &[u8]) {
    let mut names = vec![0_u32; tree.inodes.len()];
    names[0] = 1;
    for node in tree.walk() {
        let name = &*tree.nodes[node as usize].name;
        assert!(!matches!(name, b"" | b"." | b".."), "a name that leads elsewhere");
        assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
        assert!(!name.starts_with(b".wh."), "the name of a whiteout is in the tree");
        assert!(tree.nodes[node as usize].depth <= limits().depth);
        names[tree.nodes[node as usize].inode as usize] += 1;
        let inode = tree.inode(node);
        if inode.what == What::File && inode.size < 1 << 20 {
            let mut content = Vec::new();
            fetch(&mut &data[..], inode.offset, &mut content).expect("what is listed can be fetched");
            assert_eq!(content.len() as u64, inode.size);
            assert!(inode.digest.is_none_or(|digest| digest == Digest::of(&content)));
        }
    }
    for (inode, counted) in tree.inodes.iter().zip(names) {
        assert_eq!(inode.names, counted, "names that lead to a file are not counted right");
    }
    assert!(tree.archive_bytes <= data.len() as u64);
    let seen: u64 = tree.sums()[0];
    assert!(seen <= tree.file_bytes());
}

/// A tree in a few words: how many of which kind.
fn shape(tree: &Tree) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for node in tree.walk() {
        let inode = tree.inode(node);
        *kinds.entry(format!("{:?} {} {}", inode.what, inode.opaque, inode.names.min(3))).or_default() += 1;
    }
    format!("{kinds:?} {}", tree.left_out.count)
}

/// Every name below a directory: its kind, its size or target, how many names it has.
fn on_disk(root: &Path, dir: &Path, into: &mut BTreeMap<Vec<u8>, String>) {
    for entry in fs::read_dir(dir).expect("a directory that was unpacked").flatten() {
        let path = entry.path();
        let about = path.symlink_metadata().expect("a name that was listed");
        let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
        let what = if about.is_dir() {
            on_disk(root, &path, into);
            "directory".to_owned()
        } else if about.is_symlink() {
            format!("-> {:?} x{}", fs::read_link(&path).expect("a link"), about.nlink())
        } else if about.file_type().is_char_device() && about.rdev() == 0 {
            "whiteout".to_owned()
        } else if about.file_type().is_char_device() || about.file_type().is_block_device() {
            format!("device {} x{}", about.rdev(), about.nlink())
        } else if about.file_type().is_fifo() {
            format!("fifo x{}", about.nlink())
        } else {
            format!("{} x{}", about.len(), about.nlink())
        };
        into.insert(name, what);
    }
}

fn as_listed(tree: &Tree) -> BTreeMap<Vec<u8>, String> {
    let below_opaque = |mut node: u32| loop {
        node = tree.nodes[node as usize].parent;
        if tree.inode(node).opaque {
            break true;
        }
        if node == 0 {
            break false;
        }
    };
    let mut all = BTreeMap::new();
    for node in tree.walk() {
        let inode = tree.inode(node);
        let what = match inode.what {
            What::Directory => "directory".to_owned(),
            What::Symlink => {
                let target: &std::ffi::OsStr = OsStrExt::from_bytes(&inode.link);
                format!("-> {:?} x{}", Path::new(target), inode.names)
            }
            // In an opaque directory there is nothing to hide, and overlayfs would show the device.
            What::Whiteout if below_opaque(node) => continue,
            What::Whiteout => "whiteout".to_owned(),
            What::Char | What::Block => {
                let (major, minor) = inode.device;
                format!("device {} x{}", rustix::fs::makedev(major, minor), inode.names)
            }
            What::Fifo => format!("fifo x{}", inode.names),
            What::File => format!("{} x{}", inode.size, inode.names),
        };
        all.insert(tree.path(node), what);
    }
    all
}

/// Layers laid on each other, written as a few bytes: which names each makes and hides.
pub fn whiteouts(data: &[u8]) -> String {
    const NAMES: [&str; 8] = ["a", "b", "a/a", "a/b", "a/b/a", "b/a", "b/b", "c"];
    const HIDDEN: [&str; 8] = [
        ".wh.a",
        ".wh.b",
        "a/.wh.a",
        "a/.wh.b",
        "a/b/.wh.a",
        ".wh..wh..opq",
        "a/.wh..wh..opq",
        "b/.wh..wh..opq",
    ];
    let mut layers = Vec::new();
    for layer in data.split(|byte| *byte == 0).take(6) {
        let mut builder = tar::Builder::new(Vec::new());
        for pair in layer.chunks_exact(2).take(12) {
            let (what, which) = (pair[0] % 5, usize::from(pair[1] % 8));
            let mut header = tar::Header::new_ustar();
            let (name, kind) = match what {
                0 => (NAMES[which], tar::EntryType::Directory),
                1 => (NAMES[which], tar::EntryType::Symlink),
                2 | 3 => (NAMES[which], tar::EntryType::Regular),
                _ => (HIDDEN[which], tar::EntryType::Regular),
            };
            let content =
                if what == 2 || what == 3 { vec![b'x'; usize::from(pair[1] >> 3)] } else { Vec::new() };
            header.set_path(name).expect("a short name");
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(content.len() as u64);
            if kind == tar::EntryType::Symlink {
                header.set_link_name(NAMES[usize::from(pair[1] >> 5)]).expect("a short target");
            }
            header.set_cksum();
            builder.append(&header, content.as_slice()).expect("memory takes it");
        }
        let bytes = builder.into_inner().expect("memory takes it");
        match list(&mut bytes.as_slice(), &ListOptions { limits: limits(), contents: true }) {
            Ok(tree) => layers.push(tree),
            Err(error) => return rule(&error),
        }
    }
    check_merged(&layers)
}

/// What holds for layers laid on each other, whatever they are.
fn check_merged(layers: &[Tree]) -> String {
    let merged = Merged::of(layers);
    let (mut visible, mut story) = (0, String::new());
    let mut counted = BTreeSet::new();
    merged.walk(|path, spot| {
        let file = inode(layers, spot.at);
        assert_ne!(file.what, What::Whiteout, "a container would see a whiteout");
        assert_eq!(layers[spot.at.layer as usize].path(spot.at.node), path, "a name is from elsewhere");
        assert!(merged.change(spot.at).is_some(), "what is seen has no mark");
        // No layer above the one that it is from has a whiteout of it.
        for above in &layers[spot.at.layer as usize + 1..] {
            let hidden = above.find(path).is_some_and(|node| above.inode(node).what == What::Whiteout);
            assert!(!hidden, "what a later layer deletes is seen");
        }
        if counted.insert((spot.at.layer, layers[spot.at.layer as usize].nodes[spot.at.node as usize].inode))
        {
            visible += file.stored;
        }
        story.push(char::from(b'0' + u8::try_from(spot.at.layer).unwrap_or(9).min(9)));
        story.push_str(&format!("{:?}", file.what)[..1]);
    });
    assert_eq!(merged.stored - merged.wasted_bytes(), visible, "bytes are lost or counted twice");
    assert_eq!(merged.sums(layers)[0], visible);
    let marks = merged.changes.iter().flatten().flatten().map(|change| format!("{:?}", change.mark));
    let marks: BTreeSet<String> = marks.map(|mark| mark[..2].to_owned()).collect();
    format!("{story} {marks:?}")
}

/// The documents of an image. The first byte says as what the rest is read.
pub fn documents(data: &[u8]) -> String {
    let Some((&kind, bytes)) = data.split_first() else { return String::new() };
    match kind % 4 {
        0 => Manifest::parse("manifest", bytes, None).map_or_else(
            |error| rule(&error),
            |manifest| {
                check_descriptor(&manifest.config);
                manifest.layers.iter().for_each(check_descriptor);
                let layers = manifest.layers.len();
                format!("manifest {layers} {}", manifest.annotations.len())
            },
        ),
        1 => Index::parse("index", bytes, None).map_or_else(
            |error| rule(&error),
            |index| {
                index.manifests.iter().for_each(check_descriptor);
                let runs = index.manifests.iter().filter(|it| it.can_run()).count();
                format!("index {} {runs}", index.manifests.len())
            },
        ),
        2 => Config::parse("config", bytes).map_or_else(
            |error| rule(&error),
            |config| {
                assert_eq!(config.chain_ids().len(), config.diff_ids.len());
                let not_empty = config.history.iter().filter(|step| !step.empty_layer).count();
                assert!(config.history.is_empty() || not_empty == config.diff_ids.len());
                assert!(config.env.iter().all(|value| !value.contains('\0')), "the kernel takes no NUL");
                format!("config {} {} {}", config.diff_ids.len(), config.history.len(), config.env.len())
            },
        ),
        _ => {
            let text: &std::ffi::OsStr = OsStrExt::from_bytes(bytes);
            Reference::parse_with(text, &|_| false)
                .map_or_else(|error| rule(&error), |_| "reference".to_owned())
        }
    }
}

/// What holds for every descriptor that was read: it can be written, and read as the same again.
fn check_descriptor(descriptor: &Descriptor) {
    let hex = descriptor.digest.hex();
    assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let index = cutaway::image::write::index(std::slice::from_ref(descriptor));
    let again = Index::parse("index", &index, None).expect("what was written can be read");
    assert_eq!(again.manifests, std::slice::from_ref(descriptor));
}

/// Compressed bytes: whatever they are, reading them ends, and small pieces give what large ones give.
pub fn compressed(data: &[u8]) -> String {
    const MOST: u64 = 8 << 20;
    let mut decoder = match Decoder::sniffing(std::io::BufReader::new(data)) {
        Ok(decoder) => decoder,
        Err(error) => return format!("{:?}", error.kind()),
    };
    let kind = decoder.compression();
    let mut out = Vec::new();
    let read = Read::by_ref(&mut decoder).take(MOST).read_to_end(&mut out);
    let mut again = Decoder::sniffing(std::io::BufReader::with_capacity(7, data)).expect("the same start");
    let (mut pieces, mut piece) = (Vec::new(), [0; 333]);
    while let Ok(length @ 1..) = again.read(&mut piece) {
        pieces.extend_from_slice(&piece[..length]);
        if pieces.len() >= out.len() {
            break;
        }
    }
    let shorter = pieces.len().min(out.len());
    assert!(pieces[..shorter] == out[..shorter] && (read.is_err() || shorter == out.len()), "other bytes");
    match read {
        Err(error) => format!(
            "{kind:?} {}",
            error.to_string().chars().filter(|it| !it.is_ascii_digit()).collect::<String>()
        ),
        Ok(_) => format!("{kind:?} {}", out.len().next_power_of_two()),
    }
}

/// A whole image in one file, opened and listed as `cutaway layers` does.
pub fn image(data: &[u8]) -> String {
    let path = world().join("image.tar");
    fs::write(&path, data).expect("an image to open");
    let story = open(&path);
    fs::remove_file(&path).expect("the image is still there");
    story
}

fn open(path: &Path) -> String {
    let Ok(Reference::Path(reference)) = Reference::parse(path.as_os_str()) else {
        return "a name".to_owned();
    };
    let own = SourceOptions::default();
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    let image = match source::open(&reference, &SourceOptions { platform, ..own }) {
        Ok(image) => image,
        Err(error) => return rule(&error),
    };
    assert_eq!(Digest::of(&image.manifest.bytes), image.digest());
    assert_eq!(Digest::of(&image.config_document.bytes), image.id());
    assert_eq!(image.layers.len(), image.config.diff_ids.len());
    match listing::read(&image, &ListOptions { limits: limits(), contents: true }, &()) {
        Ok(layers) => check_merged(&layers),
        Err(error) => rule(&error),
    }
}
