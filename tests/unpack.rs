//! Archives, honest, odd and hostile, and exactly what becomes of them: as root and as an ordinary user, next to a
//! sentinel that no archive may reach.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "unpack/tar.rs"]
mod tar;
#[path = "unpack/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use cutaway::image::unpack::{Below, Limits, Options, unpack};
use cutaway::sys::tree::{Tally, remove_tree};
use tar::{Tar, extended, of_all_kinds, record};
use world::{Who, World, listing, mount, root, skip, with_own_mounts, xattr};

/// What becomes of an archive.
enum Expect {
    /// Exactly this tree.
    Tree(&'static [&'static str]),
    /// A refusal that says this.
    Refused(&'static str),
}
use Expect::{Refused, Tree};

/// Unpacks `archive` as root and as an ordinary user.
fn check(name: &str, archive: impl Fn(&str) -> Vec<u8>, expect: &Expect) {
    let whos: &[Who] = if root(name) { &[Who::Privileged, Who::Ordinary] } else { &[Who::Privileged] };
    for &who in whos {
        let world = World::new();
        let result = world.unpack(&archive(world.sentinel().to_str().unwrap()), who);
        match (expect, result) {
            (Tree(lines), Ok(_)) => assert_eq!(listing(&world.target()), *lines, "{name} as {who:?}"),
            (Refused(reason), Err(error)) => {
                assert!(error.to_string().contains(reason), "{name} as {who:?}: {error}");
            }
            (Tree(_), Err(error)) => panic!("{name} as {who:?} was refused: {error}"),
            (Refused(_), Ok(_)) => panic!("{name} as {who:?} gave {:?}", listing(&world.target())),
        }
        remove_tree(&world.target(), &mut Tally::default()).unwrap();
    }
}

fn t() -> Tar {
    Tar::default()
}

#[test]
fn names_stay_inside() {
    check("absolute", |_| t().file("/a", "a").file("//b/", "b").end(), &Tree(&["f644 a = a", "f644 b = b"]));
    check(
        "dotdot",
        |_| t().file("../../a", "a").file("b/../../../c", "c").end(),
        &Tree(&["f644 a = a", "f644 c = c"]),
    );
    check(
        "through a link to an absolute directory",
        |_| t().symlink("out", "/etc").file("out/a", "a").end(),
        &Tree(&["d755 etc", "f644 etc/a = a", "l out -> /etc"]),
    );
    check(
        "through a relative link that climbs out",
        |_| t().dir("d").symlink("d/out", "../../../../x").file("d/out/a", "a").end(),
        &Tree(&["d755 d", "l d/out -> ../../../../x", "d755 x", "f644 x/a = a"]),
    );
    check(
        "through a chain of links",
        |_| t().symlink("a", "b/c").symlink("b", "/d/..").file("a/x", "x").end(),
        &Tree(&["l a -> b/c", "l b -> /d/..", "d755 c", "f644 c/x = x", "d755 d"]),
    );
    check(
        "a loop of links",
        |_| t().symlink("a", "b").symlink("b", "a").file("a/x", "x").end(),
        &Refused("more than 40"),
    );
    check(
        "over a link to a file",
        |s| t().symlink("a", format!("{s}/kept")).file("a", "mine").end(),
        &Tree(&["f644 a = mine"]),
    );
    check(
        "a file on the way",
        |_| t().file("a", "").file("a/b", "").end(),
        &Refused("`a` on its way is no directory"),
    );
    check(
        "a link to a whiteout's name",
        |_| t().symlink("a", ".wh.b").file("a/c", "").end(),
        &Refused("whiteout"),
    );
}

#[test]
fn links_to_the_sentinel_reach_nothing() {
    for kind in [b'0', b'5', b'6', b'2', b'1'] {
        let archive = |s: &str| {
            t().symlink("out", s)
                .file("f", "f")
                .with(kind, "out/new", |header| header.link = b"f".to_vec())
                .with(kind, "out", |header| {
                    header.link = b"f".to_vec();
                    header.mode = 0o777;
                })
                .end()
        };
        let world = World::new();
        world.unpack(&archive(world.sentinel().to_str().unwrap()), Who::Privileged).unwrap();
        assert!(!world.target().join("out").symlink_metadata().unwrap().is_symlink() || kind == b'2');
    }
}

#[test]
fn one_name_twice() {
    check(
        "a directory over a link",
        |s| t().symlink("a", s).with(b'5', "a", |header| header.mode = 0o700).file("a/x", "x").end(),
        &Tree(&["d700 a", "f644 a/x = x"]),
    );
    check(
        "a file over a directory",
        |_| t().dir("a").file("a/b/c", "").file("a", "x").end(),
        &Tree(&["f644 a = x"]),
    );
    check(
        "a link over a directory",
        |s| t().file("a/b", "").symlink("a", s).symlink("a", "b").end(),
        &Tree(&["l a -> b"]),
    );
    check("a directory over a file", |_| t().file("a", "x").dir("a").end(), &Tree(&["d755 a"]));
    check(
        "a directory again keeps its content",
        |_| t().dir("a").file("a/b", "").with(b'5', "a/", |header| header.mode = 0o711).end(),
        &Tree(&["d711 a", "f644 a/b = "]),
    );
    check(
        "replacing one name of a file leaves the other",
        |_| t().file("a", "old").hard_link("b", "a").file("b", "new").end(),
        &Tree(&["f644 a = old", "f644 b = new"]),
    );
    check(
        "a replaced link leads nowhere any more",
        |_| t().dir("x").dir("y").symlink("l", "x").file("l/1", "").symlink("l", "y").file("l/2", "").end(),
        &Tree(&["l l -> y", "d755 x", "f644 x/1 = ", "d755 y", "f644 y/2 = "]),
    );
    check(
        "a replaced directory is forgotten",
        |_| t().file("a/b/1", "").symlink("a", "c").file("a/b/2", "").end(),
        &Tree(&["l a -> c", "d755 c", "d755 c/b", "f644 c/b/2 = "]),
    );
}

#[test]
fn hard_links_stay_inside() {
    check(
        "to a file",
        |_| t().file("d/a", "a").hard_link("b", "/d/./a").end(),
        &Tree(&["f644 b = a x2", "d755 d", "f644 d/a = a x2"]),
    );
    check(
        "to the sentinel",
        |s| t().hard_link("a", format!("{s}/kept")).end(),
        &Refused("is not in this layer"),
    );
    check(
        "through a link to it",
        |s| t().symlink("l", s).hard_link("a", "l/kept").end(),
        &Refused("is not in this layer"),
    );
}

#[test]
fn a_hard_link_to_a_link_is_that_link() {
    if !root("a_hard_link_to_a_link_is_that_link") {
        return;
    }
    let world = World::new();
    let kept = world.sentinel().join("kept");
    let archive = t().symlink("l", kept.to_str().unwrap()).with(b'1', "a", |header| {
        header.link = b"l".to_vec();
        header.mode = 0o777;
        header.uid = 5;
    });
    world.unpack(&archive.end(), Who::Privileged).unwrap();
    assert_eq!(fs::read_link(world.target().join("a")).unwrap(), kept);
    assert_eq!(fs::symlink_metadata(world.target().join("l")).unwrap().nlink(), 2);
}

#[test]
fn hard_links_that_make_no_sense() {
    check("to nothing", |_| t().hard_link("a", "b").end(), &Refused("is not in this layer"));
    check("to itself", |_| t().file("a", "").hard_link("./a", "a").end(), &Refused("to itself"));
    check("to a directory", |_| t().dir("d").hard_link("a", "d").end(), &Refused("to a directory"));
    check("to the root", |_| t().hard_link("a", "/").end(), &Refused("to a directory"));
    check(
        "to a whiteout",
        |_| t().file(".wh.b", "").hard_link("a", "b").end(),
        &Refused("is not in this layer"),
    );
    check(
        "over its target's directory",
        |_| t().file("a/b", "").hard_link("a", "a/b").end(),
        &Refused("is not in this layer"),
    );
}

#[test]
fn the_root_is_a_directory() {
    check("a link", |s| t().symlink(".", s).end(), &Refused("must be a directory"));
    check("a file", |_| t().file("/", "").end(), &Refused("must be a directory"));
    check("a file by dotdot", |_| t().file("a/..", "").end(), &Refused("must be a directory"));
    let world = World::new();
    world
        .unpack(&t().with(b'5', "./", |header| header.mode = 0o750).file("a", "").end(), Who::Privileged)
        .unwrap();
    let about = fs::metadata(world.target()).unwrap();
    assert_eq!((about.mode() & 0o7777, about.mtime()), (0o750, 1_700_000_000));
}

#[test]
fn whiteouts() {
    check("of a file", |_| t().dir("d").file("d/.wh.a", "").end(), &Tree(&["d755 d", "c0 d/a 0:0"]));
    check("in a directory not listed", |_| t().file("d/.wh.a", "").end(), &Tree(&["d755 d", "c0 d/a 0:0"]));
    check("before the real entry", |_| t().file(".wh.a", "").file("a", "x").end(), &Tree(&["f644 a = x"]));
    check("after the real entry", |_| t().file("a", "x").file(".wh.a", "").end(), &Tree(&["f644 a = x"]));
    check("twice", |_| t().file(".wh.a", "").file(".wh.a", "").end(), &Tree(&["c0 a 0:0"]));
    check(
        "through a link",
        |_| t().symlink("l", "/d").file("l/.wh.kept", "").end(),
        &Tree(&["d755 d", "c0 d/kept 0:0", "l l -> /d"]),
    );
}

#[test]
fn whiteouts_that_make_no_sense() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."] {
        check(name, |_| t().dir("d").file(name, "").end(), &Refused("cannot be hidden"));
    }
    check("of dotdot by a path", |_| t().file(".wh.../a", "").end(), &Refused("nothing can be in it"));
    check("with something in it", |_| t().file(".wh.a/b", "").end(), &Refused("nothing can be in it"));
    check(
        "of AUFS",
        |_| t().file(".wh..wh.aufs", "").dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "").end(),
        &Tree(&[]),
    );
}

#[test]
fn opaque_directories() {
    let test = "opaque_directories";
    if !root(test) {
        return;
    }
    for (who, key) in [(Who::Privileged, "trusted.overlay.opaque"), (Who::Ordinary, "user.overlay.opaque")] {
        for archive in [
            t().dir("d").file("d/.wh..wh..opq", "").file("d/a", "a"),
            t().dir("d").file("d/a", "a").file("d/.wh..wh..opq", ""),
            t().file(".wh.d", "").dir("d").file("d/a", "a"),
            t().dir("d").file("d/a", "a").file(".wh.d", ""),
            t().file("d/a", "a").file(".wh.d", ""),
            // What is hidden already need not be hidden again, and would be listed.
            t().dir("d").file("d/a", "a").file("d/.wh.b", "").file(".wh.d", ""),
        ] {
            let world = World::new();
            let unpacked = world.unpack(&archive.end(), who).unwrap();
            assert_eq!(listing(&world.target()), ["d755 d", "f644 d/a = a"]);
            assert_eq!(xattr(&world.target().join("d"), key).unwrap(), b"y", "as {who:?}");
            assert_eq!(
                (unpacked.counts.opaque, unpacked.counts.whiteouts, unpacked.opaque_root),
                (1, 0, false)
            );
        }
    }
}

#[test]
fn an_opaque_root_is_told() {
    let world = World::new();
    let archive = t().file(".wh..wh..opq", "").file("a", "").end();
    assert!(world.unpack(&archive, Who::Privileged).is_ok_and(|unpacked| unpacked.opaque_root));
}

#[test]
fn the_lowest_layer_hides_nothing() {
    let world = World::new();
    let archive = t().dir("d").file("d/.wh.a", "").file("d/.wh..wh..opq", "").file("e/.wh.a", "").end();
    let options = Options { lowest: true, ..Options::privileged() };
    let unpacked = unpack(&mut &archive[..], &world.target(), &options).unwrap();
    assert_eq!(listing(&world.target()), ["d755 d"]);
    assert_eq!(unpacked.counts.moot_whiteouts.count, 3);
}

#[test]
fn forged_metadata_of_overlayfs_does_not_act() {
    check("a whiteout", |_| t().device(b'3', "a", 0, 0).file("b", "").end(), &Tree(&["f644 b = "]));
    check(
        "a whiteout by overflow",
        |_| t().device(b'3', "a", 4096, 0).end(),
        &Refused("larger than the kernel's"),
    );
    check(
        "a whiteout by overflow of the minor",
        |_| t().device(b'3', "a", 0, 1 << 20).end(),
        &Refused("larger than"),
    );
    check(
        "a link to one",
        |_| t().device(b'3', "a", 0, 0).hard_link("b", "a").end(),
        &Refused("is not in this layer"),
    );
    let keys = [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.whiteout",
    ];
    let whos: &[Who] =
        if root("forged_metadata") { &[Who::Privileged, Who::Ordinary] } else { &[Who::Privileged] };
    for &who in whos {
        for key in keys {
            let world = World::new();
            let named = format!("SCHILY.xattr.{key}");
            let libarchive = format!("LIBARCHIVE.xattr.{key}");
            let archive =
                t().pax(&[(&named, b"y")]).dir("d").pax(&[(&libarchive, b"eQ")]).file("d/f", "").end();
            let unpacked = world.unpack(&archive, who).unwrap();
            assert_eq!(unpacked.counts.forged_xattrs.count, 2);
            for path in ["d", "d/f"] {
                assert_eq!(xattr(&world.target().join(path), key), None);
            }
        }
    }
}

#[test]
fn extended_headers() {
    let long = "n".repeat(150);
    let deep = format!("{long}/{long}");
    let world = World::new();
    let archive =
        t().pax(&[("path", deep.as_bytes()), ("mtime", b"1.5"), ("uid", b"0")]).file("short", "x").end();
    world.unpack(&archive, Who::Privileged).unwrap();
    let about = fs::metadata(world.target().join(&deep)).unwrap();
    assert_eq!((about.mtime(), about.mtime_nsec()), (1, 500_000_000));

    check(
        "size of PAX wins",
        |_| {
            let inner = t().file("smuggled", "").0;
            t().pax(&[("size", b"512")]).with(b'0', "a", |header| header.size = Some(0)).data(&inner).end()
        },
        &Tree(&["f644 a 512 bytes"]),
    );
    check(
        "size of a link is no data",
        |_| {
            t().with(b'2', "a", |header| {
                header.link = b"b".to_vec();
                header.size = Some(512);
            })
            .file("c", "")
            .end()
        },
        &Tree(&["l a -> b", "f644 c = "]),
    );
    check(
        "malformed record",
        |_| t().with(b'x', "p", |header| header.data = b"99 path=a\n".to_vec()).file("a", "").end(),
        &Refused("malformed"),
    );
    check("NUL in a name", |_| t().pax(&[("path", b"a\0b")]).file("c", "").end(), &Refused("NUL"));
    check("NUL in a target", |_| t().pax(&[("linkpath", b"a\0b")]).symlink("c", "").end(), &Refused("NUL"));
    check(
        "an extension without an entry",
        |_| t().pax(&[("path", b"a")]).end(),
        &Refused("without the entry"),
    );
    check(
        "an extension at the end of the file",
        |_| t().pax(&[("path", b"a")]).0,
        &Refused("ends in the middle"),
    );
    check(
        "an extension of 2 MiB",
        |_| t().with(b'x', "p", |header| header.data = vec![b'a'; 2 << 20]).file("a", "").end(),
        &Refused("longer than 1 MiB"),
    );
    check(
        "a global header",
        |_| {
            let comment = record("comment", b"0123456789");
            t().with(b'g', "pax_global_header", |header| header.data = comment).file("a", "").end()
        },
        &Tree(&["f644 a = "]),
    );
    for key in ["path", "linkpath", "size", "GNU.sparse.major"] {
        let data = record(key, b"1");
        check(
            "a global name",
            |_| t().with(b'g', "g", |header| header.data = data.clone()).file("a", "").end(),
            &Refused("a global header"),
        );
    }
    check(
        "GNU's long names",
        |_| {
            t().with(b'L', "././@LongLink", |header| header.data = b"long/name\0".to_vec())
                .with(b'K', "././@LongLink", |header| header.data = b"long target\0".to_vec())
                .symlink("short", "short")
                .end()
        },
        &Tree(&["d755 long", "l long/name -> long target"]),
    );
    check(
        "two long names",
        |_| {
            t().pax(&[("path", b"a")])
                .with(b'L', "l", |header| header.data = b"b\0".to_vec())
                .file("c", "")
                .end()
        },
        &Refused("different names"),
    );
    check("a volume label", |_| t().with(b'V', "label", |_| {}).file("a", "").end(), &Tree(&["f644 a = "]));
}

#[test]
fn ends_and_damage() {
    let whole = || t().file("a", "hello").0;
    let a: &[&str] = &["f644 a = hello"];
    check("no blocks of zeros", |_| whole(), &Tree(&["f644 a = hello"]));
    check("one block of zeros", |_| [whole(), vec![0; 512]].concat(), &Tree(&["f644 a = hello"]));
    check("nothing at all", |_| Vec::new(), &Tree(&[]));
    check(
        "a header after one block of zeros",
        |_| [whole(), vec![0; 512], t().file("b", "").end()].concat(),
        &Refused("single block of zeros"),
    );
    for cut in [1, 100, 511, 512, 513, 1000, 1023] {
        check("truncated", |_| whole()[..cut].to_vec(), &Refused("ends in the middle"));
    }
    check(
        "a wrong checksum",
        |_| t().with(b'0', "a", |header| header.break_checksum = true).end(),
        &Refused("checksum"),
    );
    check("noise", |_| vec![b'x'; 2048], &Refused("checksum"));
    for (field, text) in [(100, "mode"), (108, "user id"), (116, "group id"), (124, "size"), (136, "time")] {
        check(
            text,
            |_| t().with(b'0', "a", |header| header.patch = vec![(field, b"9999999".to_vec())]).end(),
            &Refused(text),
        );
    }
    check(
        "a negative size",
        |_| t().with(b'0', "a", |header| header.patch = vec![(124, vec![0xff; 12])]).end(),
        &Refused("negative"),
    );
    check(
        "the owner that means nobody",
        |_| t().pax(&[("uid", b"4294967295")]).file("a", "").end(),
        &Refused("out of range"),
    );
    check("an unknown type", |_| t().with(b'Z', "a", |_| {}).end(), &Refused("type is unknown"));
    check("a second volume", |_| t().with(b'M', "a", |_| {}).end(), &Refused("another volume"));
    check("a link to nothing", |_| t().symlink("a", "").end(), &Refused("to nothing"));
    check(
        "a long component",
        |_| t().pax(&[("path", &[b'n'; 256])]).file("a", "").end(),
        &Refused("ENAMETOOLONG"),
    );

    // Whoever digests the stream sees what follows the archive as well.
    let (world, archive) = (World::new(), [whole(), vec![0; 1024], vec![b'x'; 3 << 20]].concat());
    let mut rest = &archive[..];
    unpack(&mut rest, &world.target(), &Options::privileged()).unwrap();
    assert_eq!((rest.len(), listing(&world.target())), (0, a.iter().map(ToString::to_string).collect()));
}

#[test]
fn limits_name_themselves() {
    let archive = t().file("a/b/c", "12345").file("d", "678").end();
    let with = |change: &dyn Fn(&mut Limits)| {
        let (world, mut options) = (World::new(), Options::privileged());
        change(&mut options.limits);
        unpack(&mut &archive[..], &world.target(), &options).map_err(|error| error.to_string())
    };
    assert!(with(&|_| {}).is_ok());
    assert!(with(&|limits| limits.entries = 1).unwrap_err().contains("--max-entries"));
    assert!(with(&|limits| limits.bytes = 7).unwrap_err().contains("--max-bytes"));
    assert!(with(&|limits| limits.path = 4).unwrap_err().contains("--max-path"));
    assert!(with(&|limits| limits.depth = 1).unwrap_err().contains("--max-depth"));
}

#[test]
fn progress_is_told_and_may_end_it() {
    let archive = t().file("a", vec![7; 5 << 20]).file("b", "").end();
    let told = std::cell::RefCell::new(Vec::new());
    let progress = |bytes| {
        told.borrow_mut().push(bytes);
        if bytes > 3 << 20 { Err(cutaway::error::Error::new("enough")) } else { Ok(()) }
    };
    let world = World::new();
    let options = Options { progress: Some(&progress), ..Options::privileged() };
    let error = unpack(&mut &archive[..], &world.target(), &options).unwrap_err();
    assert_eq!(error.to_string(), "enough");
    assert!(told.borrow().len() >= 3 && told.borrow().is_sorted(), "{:?}", told.borrow());
}

/// An archive with everything that an ordinary user cannot keep.
fn everything() -> Vec<u8> {
    // struct vfs_cap_data, revision 2: cap_net_raw, permitted and effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let owned = |uid: u64, gid: u64, mode: u32| {
        move |header: &mut tar::Header| (header.uid, header.gid, header.mode) = (uid, gid, mode)
    };
    t().with(b'5', "d", owned(7, 8, 0o3555))
        .with(b'0', "d/file", owned(7, 8, 0o6644))
        .with(b'0', "setuid", owned(0, 0, 0o4755))
        .with(b'0', "open", owned(0, 0, 0o666))
        .pax(&[("SCHILY.xattr.user.note", b"hi"), ("mtime", b"5.000000007")])
        .with(b'0', "read-only", owned(0, 0, 0o400))
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .with(b'0', "ping", owned(0, 5, 0o755))
        .pax(&[("SCHILY.xattr.security.selinux", b"x")])
        .file("labelled", "")
        .device(b'3', "null", 1, 3)
        .device(b'4', "block", 7, 9)
        .with(b'6', "pipe", owned(9, 0, 0o620))
        .with(b'2', "link", |header| (header.uid, header.link) = (9, b"x".to_vec()))
        .pax(&[("SCHILY.acl.access", b"user::rwx")])
        .with(b'5', "closed", owned(0, 0, 0o000))
        .file("closed/in", "")
        .end()
}

#[test]
fn root_keeps_everything() {
    if !root("root_keeps_everything") {
        return;
    }
    let world = World::new();
    let counts = world.unpack(&everything(), Who::Privileged).unwrap().counts;
    assert_eq!(
        listing(&world.target()),
        [
            "b644 block 7:9",
            "d0 closed",
            "f644 closed/in = ",
            "d3555 d",
            "f6644 d/file = ",
            "f644 labelled = ",
            "l link -> x",
            "c644 null 1:3",
            "f666 open = ",
            "f755 ping = ",
            "p620 pipe",
            "f400 read-only = ",
            "f4755 setuid = ",
        ]
    );
    let about = |name: &str| fs::symlink_metadata(world.target().join(name)).unwrap();
    for (name, owner) in
        [("d", (7, 8)), ("d/file", (7, 8)), ("ping", (0, 5)), ("pipe", (9, 0)), ("link", (9, 0))]
    {
        assert_eq!((about(name).uid(), about(name).gid()), owner, "{name}");
    }
    for name in ["d", "d/file", "null", "pipe", "link", "closed"] {
        assert_eq!((about(name).mtime(), about(name).mtime_nsec()), (1_700_000_000, 0), "{name}");
    }
    assert_eq!((about("read-only").mtime(), about("read-only").mtime_nsec()), (5, 7));
    assert_eq!(xattr(&world.target().join("read-only"), "user.note").unwrap(), b"hi");
    assert_eq!(xattr(&world.target().join("ping"), "security.capability").unwrap().len(), 20);
    assert_eq!(counts.not_kept_xattrs.examples, ["labelled: security.selinux", "closed: ACL as text"]);
    assert_eq!((counts.not_kept_owners.count, counts.devices, counts.files), (0, 2, 7));
}

#[test]
fn what_an_ordinary_user_cannot_keep_is_counted() {
    if !root("what_an_ordinary_user_cannot_keep_is_counted") {
        return;
    }
    let world = World::new();
    let counts = world.unpack(&everything(), Who::Ordinary).unwrap().counts;
    assert_eq!(
        listing(&world.target()),
        [
            "d0 closed",
            "f644 closed/in = ",
            "d1555 d",
            "f644 d/file = ",
            "f644 labelled = ",
            "l link -> x",
            "f666 open = ",
            "f755 ping = ",
            "p620 pipe",
            "f400 read-only = ",
            "f4755 setuid = ",
        ]
    );
    assert_eq!(xattr(&world.target().join("read-only"), "user.note").unwrap(), b"hi");
    assert_eq!(counts.not_kept_devices.examples, ["null", "block"]);
    assert_eq!(counts.not_kept_setids.examples, ["d/file", "d"]);
    assert_eq!(counts.not_kept_owners.count, 5);
    assert_eq!(counts.not_kept_xattrs.count, 3);
    assert_eq!((counts.tally.fchown, counts.tally.fchownat), (0, 0));
}

#[test]
fn an_ordinary_user_gets_what_root_gets_but_for_names_of_devices() {
    let test = "an_ordinary_user_gets_what_root_gets_but_for_names_of_devices";
    if !root(test) {
        return;
    }
    let null = || t().device(b'3', "null", 1, 3);
    for (archive, not_made) in [
        (null().hard_link("zero", "null").hard_link("third", "./zero"), vec!["null", "zero", "third"]),
        (null().file("null", "x").hard_link("b", "null"), vec!["null"]),
        (t().file("null", "x").device(b'4', "null", 8, 0).hard_link("d/n", "null"), vec!["null", "d/n"]),
        (null().file("b", "x").hard_link("b", "null"), vec!["null", "b"]),
        (null().dir("b").file("b/c", "x").hard_link("b", "null"), vec!["null", "b"]),
        (
            t().symlink("l", "d").device(b'3', "d/null", 1, 3).hard_link("l/n", "l/null"),
            vec!["d/null", "l/n"],
        ),
        (null().dir("null").file("null/x", "x"), vec!["null"]),
        (null().symlink("l", "null").file("a", "x").file("l/x", ""), vec![]),
        (null().file("null/x", ""), vec![]),
        (null().hard_link("a/b", "null").file("a/b/c", ""), vec![]),
        (null().hard_link("a", "null").hard_link("a/x", "a"), vec![]),
        (t().device(b'3', "a/null", 1, 3).hard_link("a", "a/null"), vec![]),
    ] {
        let unpacked = |who| {
            let world = World::new();
            let unpacked = world.unpack(&archive.clone().end(), who);
            let mut there = listing(&world.target());
            there.retain(|line| !line.starts_with(['c', 'b']));
            let refused = unpacked.as_ref().err().map(|error| error.to_string());
            (refused.is_none().then_some(there), refused, unpacked.ok())
        };
        let (as_root, refused_root, _) = unpacked(Who::Privileged);
        let (as_user, refused_user, report) = unpacked(Who::Ordinary);
        assert_eq!((as_root, refused_root), (as_user, refused_user), "{not_made:?}");
        let noted = report.map(|report| report.counts.not_kept_devices).unwrap_or_default();
        assert_eq!((noted.count, noted.examples.len()), (not_made.len() as u64, not_made.len()));
        assert_eq!(noted.examples, not_made);
    }
}

/// Files of all kinds, as a shell makes them.
const TREE: &str = r"
    set -e; mkdir tree; cd tree; mkdir -p a/b; echo one > a/one; ln a/one a/b/two; ln -s ../one a/b/link
    long=$(printf '%0120d' 7); mkdir -p $long/$long; echo deep > $long/$long/$long; ln -s $long/$long/$long far
    touch -d '1960-01-02 03:04:05.123456789' a/b; touch -d '2040-01-02 03:04:05.5' a/one; chmod 751 a; mkfifo pipe
    for hole in 1 2 3 4 5 6 7; do
        printf data$hole | dd of=sparse bs=1 seek=${hole}000000 conv=notrunc 2>/dev/null
    done
    truncate -s 20M sparse; truncate -s 5M empty; setfattr -n user.k -v v a/one; touch a/$(printf '\377')
";

#[test]
fn archives_of_gnu_tar_give_what_gnu_tar_gives() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("bash").args(["-c", TREE]).current_dir(&dir).status();
    if !made.is_ok_and(|status| status.success()) {
        return skip("archives_of_gnu_tar_give_what_gnu_tar_gives", "bash, dd or setfattr is missing");
    }
    for options in [
        &["--format=gnu", "-S"][..],
        &["--format=oldgnu", "-S"],
        &["--format=gnu"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
        &["--format=pax", "--xattrs"],
    ] {
        let (archive, theirs) = (dir.path().join("archive"), dir.path().join("theirs"));
        let tar = |arguments: &[&str], options: &[&str]| {
            let status =
                Command::new("tar").args(arguments).args(options).arg("-f").arg(&archive).arg(".").status();
            assert!(status.unwrap().success());
        };
        tar(&["-c", "-C", dir.path().join("tree").to_str().unwrap()], options);
        fs::create_dir(&theirs).unwrap();
        tar(&["-x", "-p", "--xattrs", "-C", theirs.to_str().unwrap()], &[]);
        let world = World::new();
        world.unpack(&fs::read(&archive).unwrap(), Who::Privileged).unwrap();
        assert_same(&world.target(), &theirs, &format!("{options:?}"));
        if options.contains(&"-S") {
            assert!(fs::metadata(world.target().join("sparse")).unwrap().blocks() < 1000, "{options:?}");
        }
        fs::remove_dir_all(theirs).unwrap();
    }
}

/// Two trees hold the same, down to the times.
fn assert_same(ours: &Path, theirs: &Path, how: &str) {
    let same =
        Command::new("diff").args(["-r", "--no-dereference", "-x", "pipe"]).args([ours, theirs]).output();
    let same = same.unwrap();
    assert!(same.status.success(), "{how}: {}", String::from_utf8_lossy(&same.stdout));
    assert_eq!(listing(ours), listing(theirs), "{how}");
    for name in ["a", "a/b", "a/one", "pipe", "far", "."] {
        let (ours, theirs) = (ours.join(name), theirs.join(name));
        let time = |path: &Path| {
            fs::symlink_metadata(path).map(|about| (about.mtime(), about.mtime_nsec())).unwrap()
        };
        assert_eq!(time(&ours), time(&theirs), "{name} {how}");
        assert_eq!(xattr(&ours, "user.k"), xattr(&theirs, "user.k"), "{name} {how}");
    }
}

#[test]
fn a_sparse_claim_is_not_written_out() {
    let world = World::new();
    let claim =
        |size: &[u8]| t().pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", b"0,1")]).file("a", "x").end();
    world.unpack(&claim(b"10000000000"), Who::Privileged).unwrap();
    assert!(fs::metadata(world.target().join("a")).unwrap().blocks() < 100);
    let error = World::new().unpack(&claim(b"4611686018427387904"), Who::Privileged).unwrap_err();
    assert!(error.to_string().contains("--max-bytes"));
    let error = World::new().unpack(&claim(b"0"), Who::Privileged).unwrap_err();
    assert!(error.to_string().contains("leave the file"));
}

/// Unpacks layers, the lowest first, to directories `1`, `2` and so on, and lays them on each other. Returns how many
/// calls that took.
fn lay(dir: &Path, layers: &[Vec<u8>], own: &Options<'_>) -> u64 {
    let place = |at: usize| dir.join((at + 1).to_string());
    let all = (0..).zip(layers).map(|(at, archive)| {
        fs::create_dir(place(at)).unwrap();
        unpack(&mut &archive[..], &place(at), &Options { lowest: at == 0, ..own.clone() }).unwrap()
    });
    let all = all.collect::<Vec<_>>();
    let mut below = Below::asked_by((1..).zip(all.iter().map(|layer| &*layer.implicit)));
    let mut tally = Tally::default();
    for (at, layer) in all.iter().enumerate() {
        below.lay((at + 1, &place(at)), (&layer.implicit, layer.opaque_root), &mut tally).unwrap();
    }
    tally.rows().map(|(_, count)| count).sum()
}

/// What the user who runs the tests unpacks with.
fn own_options() -> Options<'static> {
    if rustix::process::geteuid().is_root() { Options::privileged() } else { Options::unprivileged() }
}

/// Layers as overlayfs shows them, which is what all this is for.
#[test]
fn overlayfs_shows_what_the_image_means() {
    let test = "overlayfs_shows_what_the_image_means";
    if !root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("mnt")).unwrap();
    let lower = t()
        .file("gone", "")
        .file("stays", "old")
        .file("hidden/a", "")
        .file("merged/gone", "")
        .file("merged/stays", "")
        .file("again/old", "")
        .with(b'5', "tmp", |header| (header.mode, header.uid) = (0o1777, 3))
        .end();
    let upper = t()
        .file(".wh.gone", "")
        .file("hidden/.wh..wh..opq", "")
        .file("hidden/b", "")
        .file("merged/.wh.gone", "")
        .file(".wh.again", "")
        .file("again/new", "")
        .file("again/.wh.moot", "")
        .file("tmp/x/y", "")
        .end();
    lay(dir.path(), &[lower, upper], &Options::privileged());
    with_own_mounts(|| {
        let options = format!("lowerdir={}:{}", path("2").display(), path("1").display());
        if let Err(errno) = mount("overlay", &path("mnt"), &options) {
            return skip(test, &format!("overlayfs cannot be mounted: {errno}"));
        }
        assert_eq!(
            listing(&path("mnt")),
            [
                "d755 again",
                "f644 again/new = ",
                "d755 hidden",
                "f644 hidden/b = ",
                "d755 merged",
                "f644 merged/stays = ",
                "f644 stays = old",
                "d1777 tmp",
                "d755 tmp/x",
                "f644 tmp/x/y = ",
            ]
        );
        let about = fs::metadata(path("mnt/tmp")).unwrap();
        assert_eq!((about.uid(), about.mtime()), (3, 1_700_000_000));
    });
}

/// The mode of a directory that has been laid on others.
fn mode_of(dir: &Path, name: &str) -> u32 {
    fs::metadata(dir.join(name)).unwrap().mode() & 0o7777
}

#[test]
fn a_directory_does_not_take_after_one_that_an_opaque_directory_hides() {
    let dir = tempfile::tempdir().unwrap();
    let closed = |name: &str| t().dir("d").with(b'5', name, |header| header.mode = 0o700);
    let lower = closed("d/e").with(b'5', "d/f", |header| header.mode = 0o700).end();
    let middle = closed("d").file("d/.wh..wh..opq", "").with(b'5', "d/f", |header| header.mode = 0o711).end();
    let upper = t().file("d/e/x", "").file("d/f/x", "").end();
    // An opaque directory of its own hides as much as one of a layer in between.
    let top = t().file("d/.wh..wh..opq", "").file("d/f/y", "").end();
    lay(dir.path(), &[lower, middle, upper, top], &own_options());
    let modes = ["3/d", "3/d/e", "3/d/f", "4/d", "4/d/f"].map(|name| mode_of(dir.path(), name));
    assert_eq!(modes, [0o700, 0o755, 0o711, 0o700, 0o755]);
}

#[test]
fn a_directory_takes_after_the_topmost_one_that_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let with_mode = |mode, name: &str| t().with(b'5', name, |header| header.mode = mode);
    let layers = [
        with_mode(0o1777, "a").dir("b").with(b'5', "b/c", |header| header.mode = 0o700).end(),
        with_mode(0o711, "a").file(".wh.b", "").end(),
        t().file("a/x", "").file("b/c/x", "").end(),
        // It is seen through a layer that has taken after another one itself.
        t().file("a/y", "").file("b/c/y", "").end(),
        t().file(".wh..wh..opq", "").file("a/z", "").end(),
        t().symlink("a", "elsewhere").end(),
        with_mode(0o750, "a").file("b/c/z", "").end(),
        t().file("a/w", "").end(),
    ];
    lay(dir.path(), &layers, &own_options());
    let modes = ["3/a", "3/b/c", "4/a", "4/b/c", "5/a", "7/b/c", "8/a"].map(|name| mode_of(dir.path(), name));
    assert_eq!(modes, [0o711, 0o755, 0o711, 0o755, 0o755, 0o755, 0o750]);
}

/// A user without root has to look at what is in a directory before it gets a mode that keeps him out.
#[test]
fn a_directory_takes_after_one_that_keeps_its_owner_out() {
    let test = "a_directory_takes_after_one_that_keeps_its_owner_out";
    if !root(test) {
        return;
    }
    let world = World::new();
    std::os::unix::fs::chown(world.target(), Some(65_534), Some(65_534)).unwrap();
    let layers = [
        t().with(b'5', "d", |header| header.mode = 0).end(),
        t().file("d/x", "").end(),
        t().file("d/y", "").end(),
    ];
    World::as_nobody(|| lay(&world.target(), &layers, &Options::unprivileged()));
    assert_eq!(["2/d", "3/d"].map(|name| mode_of(&world.target(), name)), [0, 0]);
}

#[test]
fn laying_many_layers_on_each_other_takes_calls_for_each_and_not_for_each_pair() {
    let calls = |count: usize| {
        let dir = tempfile::tempdir().unwrap();
        let own_directory = |at: usize| t().file(format!("srv/{at}/file"), "").file("etc/changed", "").end();
        lay(dir.path(), &(0..count).map(own_directory).collect::<Vec<_>>(), &own_options())
    };
    let (few, many) = (calls(10), calls(40));
    assert!(many <= 4 * few + 20, "{few} calls for 10 layers, {many} for 40");
}

#[test]
fn a_full_disk_is_named() {
    if !root("a_full_disk_is_named") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    with_own_mounts(|| {
        mount("tmpfs", dir.path(), "size=1m").unwrap();
        let into = dir.path().join("into");
        fs::create_dir(&into).unwrap();
        let archive = t().file("small", "x").file("d/large", vec![7; 2 << 20]).end();
        let error = unpack(&mut &archive[..], &into, &Options::privileged()).unwrap_err().to_string();
        for part in ["entry `d/large`", "= -1 ENOSPC", "is full"] {
            assert!(error.contains(part), "{error}");
        }
        remove_tree(&into, &mut Tally::default()).unwrap();
        assert!(!into.exists());
    });
}

#[test]
fn what_is_mounted_is_not_removed() {
    if !root("what_is_mounted_is_not_removed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    with_own_mounts(|| {
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&outside), &tree.join("a/b"), None::<&str>, bind, None::<&str>).unwrap();
        let error = remove_tree(&tree, &mut Tally::default()).unwrap_err().to_string();
        assert!(error.contains("something is mounted there"), "{error}");
        assert!(error.contains("tree/a/b`"), "{error}");
        assert!(outside.join("kept").exists());
    });
}

#[test]
fn an_ordinary_user_removes_what_it_unpacked() {
    if !root("an_ordinary_user_removes_what_it_unpacked") {
        return;
    }
    let world = World::new();
    world.unpack(&everything(), Who::Ordinary).unwrap();
    World::as_nobody(|| {
        for entry in fs::read_dir(world.target()).unwrap() {
            remove_tree(&entry.unwrap().path(), &mut Tally::default()).unwrap();
        }
    });
    assert!(listing(&world.target()).is_empty());
}

/// A small generator of numbers, so that a failure can be repeated from its seed.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Sets the checksum of each block right again, so that damage gets past it.
fn repair(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

#[test]
fn damaged_archives_neither_panic_nor_escape() {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
    let world = World::new();
    let sentinel = world.sentinel().to_str().unwrap().to_owned();
    let valid = of_all_kinds(&sentinel).and(&extended()).end();
    let (mut seed, mut unpacked) = (Seed(1), 0);
    for round in 0_u32.. {
        if std::time::Instant::now() > end {
            break;
        }
        let mut archive = valid.clone();
        for _ in 0..=seed.below(4) {
            let at = seed.below(archive.len() - 1024);
            archive[at] = match seed.below(4) {
                0 => b"0123456789/.lLKxgS"[seed.below(18)],
                1 => archive[seed.below(archive.len())],
                _ => u8::try_from(seed.below(256)).unwrap(),
            };
        }
        if seed.below(8) == 0 {
            archive.truncate(seed.below(valid.len()));
        }
        repair(&mut archive);
        unpacked += u32::from(world.unpack(&archive, Who::Privileged).is_ok());
        remove_tree(&world.target(), &mut Tally::default())
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        fs::create_dir(world.target()).unwrap();
    }
    assert!(unpacked > 0, "no damaged archive could be unpacked, so the damage is not subtle enough");
}

/// As many kinds of calls as one archive can cause.
fn everything_more() -> Vec<u8> {
    let mut archive = everything();
    archive.truncate(archive.len() - 1024);
    let sparse = t().pax(&[("GNU.sparse.size", b"9999"), ("GNU.sparse.map", b"5,1")]).file("sparse", "x");
    let links = t().symlink("l", "d").file("l/x", "").hard_link("l/h", "open").file("l/x", "data");
    [archive, sparse.0, links.file(".wh.w", "").dir("open").file("d/.wh..wh..opq", "").end()].concat()
}

/// Calls between the markers that are not about files: memory, the seed of hash tables, and the check of debug
/// builds that a descriptor to be closed is open.
const NOT_OURS: [&str; 8] = ["mmap", "munmap", "mremap", "brk", "madvise", "mprotect", "getrandom", "fcntl"];

/// The counts are those of strace: between two markers, the same calls as often.
#[test]
fn strace_counts_the_same() {
    let test = "strace_counts_the_same";
    if let Some(into) = std::env::var_os("UNPACK_TRACED") {
        return be_traced(Path::new(&into));
    }
    if !root(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("target")).unwrap();
    let output = dir.path().join("strace");
    let program = std::env::current_exe().unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-o"])
        .arg(&output)
        .arg(program)
        .args(["--exact", test])
        .env("UNPACK_TRACED", dir.path());
    if !strace.output().is_ok_and(|traced| traced.status.success()) {
        return skip(test, "strace is missing or may not trace");
    }
    let ours: Tally = serde_json::from_slice(&fs::read(dir.path().join("tally")).unwrap()).unwrap();
    let recording = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
    let mut lines = recording.lines().skip_while(|line| !line.contains("/begin-of-the-traced-part"));
    let thread = lines.next().unwrap().split(' ').next().unwrap();
    let mut theirs = BTreeMap::<&str, u64>::new();
    for line in lines.take_while(|line| !line.contains("/end-of-the-traced-part")) {
        let (who, call) = line.split_once(' ').unwrap();
        let call = call.trim_start().split('(').next().unwrap();
        if who == thread && !NOT_OURS.contains(&call) {
            *theirs.entry(call).or_default() += 1;
        }
    }
    assert_eq!(ours.rows().collect::<BTreeMap<_, _>>(), theirs);
}

/// The part of that test which strace looks at.
fn be_traced(dir: &Path) {
    let (archive, target) = (everything_more(), dir.join("target"));
    let _ = fs::metadata("/begin-of-the-traced-part");
    let mut tally = unpack(&mut &archive[..], &target, &Options::privileged()).unwrap().counts.tally;
    remove_tree(&target, &mut tally).unwrap();
    let _ = fs::metadata("/end-of-the-traced-part");
    fs::write(dir.join("tally"), serde_json::to_vec(&tally).unwrap()).unwrap();
}
