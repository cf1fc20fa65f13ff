//! The scene: which directories are stacked, where, and in which way. Reads only.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::OverlayArgs;
use super::cast::{self, Cast};
use crate::concepts::Context;
use crate::concepts::common::names;
use crate::concepts::common::overlay::{Stack, Way};
use crate::concepts::common::picture;
use crate::error::{Error, Result};
use crate::plan::{Bulk, Call, Claim, FileClaim, Probe, Step, calls};
use crate::probe::Views;
use crate::sys::flags::{Access, AtFlags, MsFlags, OFlags};
use crate::sys::{Errno, Syscall, Text, Value};

/// Descriptors of the step that makes the large file.
const SOURCE: &str = "cutaway";
const TARGET: &str = "big file";

/// What the tour and the visit know.
pub struct Scene {
    /// For the heading.
    pub title: String,
    /// The name of the run.
    pub name: String,
    /// The state directory.
    pub state: PathBuf,
    /// Its directory: upper, work and merged are in there.
    pub base: PathBuf,
    /// Directories of the state directory that are missing, outermost first.
    missing: Vec<PathBuf>,
    /// Whether everything happens in a user namespace.
    pub rootless: bool,
    pub uid: u32,
    pub gid: u32,
    /// The digest of the image, for those who would remove it.
    pub uses: Option<String>,
    /// Whether the lower directory is made here.
    built_in: bool,
    /// The lower layers, the topmost first, as the acting process names them.
    pub lower: Vec<PathBuf>,
    /// Who plays.
    pub cast: Cast,
    /// Whether all directories are on one file system.
    pub one_file_system: bool,
    stack: Stack,
    pub way: Way,
}

/// Where the lower layers come from.
struct Lower {
    title: String,
    layers: Vec<PathBuf>,
    texts: Vec<Text>,
    uses: Option<String>,
    built_in: bool,
}

impl Scene {
    pub fn settle(args: &OverlayArgs, context: &Context) -> Result<Self> {
        let here = &context.here;
        let rootless = !here.is_privileged();
        if rootless {
            here.user_namespaces().map_err(|why| {
                Error::new("cutaway overlay cannot work here")
                    .rule(why)
                    .remedy("run it as root")
                    .chapter("14")
            })?;
        }
        let name = match &args.name {
            Some(name) => names::check(name).map(|()| name.clone())?,
            // An explanation must read the same every time.
            None if context.explain => "<name>".to_owned(),
            None => format!("overlay-{}", std::process::id()),
        };
        let base = canonical(&context.state).join("overlays").join(&name);
        let lower = lower(args, context, &base)?;
        let stack = stack(&lower.texts, &base, rootless, args.keep);
        stack.check()?;
        let owner = rootless.then_some((here.euid, here.gid));
        Ok(Self {
            title: lower.title,
            name,
            state: context.state.clone(),
            missing: missing(&canonical(&context.state).join("overlays")),
            rootless,
            uid: here.euid,
            gid: here.gid,
            uses: lower.uses,
            built_in: lower.built_in,
            cast: if lower.built_in { Cast::built_in() } else { Cast::find(&lower.layers, owner) },
            one_file_system: lower.built_in || on_one_file_system(&lower.layers, &base),
            lower: lower.layers,
            way: Way::choose(&stack, here),
            stack,
            base,
        })
    }

    pub fn notes(&self) -> Vec<String> {
        let who = if self.rootless {
            "as an ordinary user: in a user namespace, with `userxattr`, as overlayfs keeps its notes in trusted.* \
             attributes otherwise, which only root may write"
        } else {
            "as root: overlayfs keeps its notes in trusted.overlay.* attributes, which only root may read and write"
        };
        vec![who.to_owned(), self.way.note()]
    }

    /// The directories as the acting process names them; `again` is the folder of the second mount.
    pub fn views(&self, again: &str) -> Views {
        let own = |name: &str| Path::new(again).join(name);
        Views {
            lower: self.lower.clone(),
            upper: own("upper"),
            work: own("work"),
            merged: own("merged"),
            paths: self.cast.paths(),
            whole: true,
        }
    }

    /// The folder of the state directory, where it is missing.
    pub fn folders(&self) -> Option<Step> {
        let missing = self.missing.iter().map(|path| Call::from(calls::mkdir(path, 0o700)).or(Errno::EEXIST));
        (!self.missing.is_empty()).then(|| {
            Step::say("Make the folder for overlays in the state directory")
                .why("This is the first one here. The folder stays, and belongs to you alone.")
                .calls(missing)
        })
    }

    /// The directories of this overlay.
    pub fn own(&self) -> Step {
        let own = |name: &str| self.base.join(name);
        let lower = self.built_in.then(|| calls::mkdir(own("lower"), 0o755));
        Step::say("Make the directories of the overlay")
            .why(
                "`upper` takes the changes, `work` is overlayfs' scratch space on the same file system, and on \
                 `merged` everything is mounted as one tree.",
            )
            .chapter("8")
            // Modes are what they say from here on, whatever mask cutaway was started with.
            .calls([calls::mkdir(&self.base, 0o700), calls::umask(0o022)])
            .calls(["upper", "work", "merged"].map(|name| calls::mkdir(own(name), 0o755)))
            .calls(lower)
            .undo([Bulk::RemoveTree { path: self.base.clone() }])
    }

    /// What is in the built-in lower directory.
    pub fn make_lower(&self) -> Option<Step> {
        let at = |name: &str| Path::new("lower").join(name);
        let (one, two) = cast::LINK;
        let link = Syscall::Linkat {
            from: Value::CWD,
            from_path: at(one).into(),
            to: Value::CWD,
            to_path: at(two).into(),
            flags: AtFlags::empty(),
        };
        let large = OFlags::O_CREAT | OFlags::O_EXCL;
        self.built_in.then(|| {
            Step::say("Fill the lower directory")
                .why(
                    "A few small files, one of them with two names, and a large one: the first megabyte of cutaway's \
                     own program.",
                )
                .chapter("8")
                .calls(cast::FOLDERS.map(|name| calls::mkdir(at(name), 0o755)))
                .calls(cast::FILES.iter().flat_map(|(name, text)| calls::create(at(name), *text)))
                .call(link)
                .call(calls::open("/proc/self/exe", Access::O_RDONLY, OFlags::empty(), SOURCE))
                .call(calls::open(at(cast::LARGE), Access::O_WRONLY, large, TARGET))
                .call(Syscall::Sendfile {
                    to: Value::later(TARGET),
                    from: Value::later(SOURCE),
                    size: cast::BIG,
                })
                .calls([calls::close(TARGET), calls::close(SOURCE)])
                .expect([FileClaim::size(at(cast::LARGE), cast::BIG)])
        })
    }

    /// The mount.
    pub fn mount(&self) -> Step {
        let links = self.links_folder("l").map(|folder| calls::mkdir(folder, 0o755));
        let step = Step::say("Mount the overlay")
            .chapter("8")
            .calls(links)
            .calls(self.stack.calls(self.way))
            .look_at([Probe::Mounts])
            .expect([Claim::Mounted { at: self.base.join("merged"), fstype: "overlay".to_owned() }]);
        match self.way {
            Way::Paths => step.why(
                "One call: the lower layers from the topmost to the lowest, separated by colons, then upper and work.",
            ),
            Way::OneByOne => step.why(
                "All paths together are longer than the page of options that mount(2) copies. So the file system is \
                 configured layer by layer, then created, and its mount put in its place.",
            ),
            Way::Links(_) => step.why(
                "All paths together are longer than the page of options that mount(2) copies. So each layer gets a \
                 symbolic link with a short name, and the kernel is told those names.",
            ),
        }
    }

    /// The folder for short names, if there are any.
    pub fn links_folder(&self, name: &'static str) -> Option<&'static str> {
        matches!(self.way, Way::Links(_)).then_some(name)
    }

    /// The same layers below other directories, with the features that leave notes in place of copies.
    pub fn again(&self) -> Stack {
        Stack {
            upper: "again/upper".into(),
            work: "again/work".into(),
            target: "again/merged".into(),
            options: vec!["redirect_dir=on", "metacopy=on", "index=off"],
            links: "again/l/",
            ..self.stack.clone()
        }
    }
}

/// Upper and work are named from the overlay's own directory. For a mount that stays they are named from the root:
/// who looks at it later is somewhere else.
fn stack(lower: &[Text], base: &Path, rootless: bool, keep: bool) -> Stack {
    let own = |name: &str| if keep { Text::from(base.join(name)) } else { Text::from(name) };
    let lower = lower.iter().map(|layer| if *layer == "lower".into() { own("lower") } else { layer.clone() });
    // What a kernel may have on by default is off: the tour shows overlayfs without and with it.
    let root = ["redirect_dir=off", "metacopy=off", "index=off"];
    Stack {
        lower: lower.collect(),
        upper: own("upper"),
        work: own("work"),
        target: "merged".into(),
        options: if rootless { vec!["userxattr"] } else { root.into() },
        flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        links: "l/",
    }
}

fn lower(args: &OverlayArgs, context: &Context, base: &Path) -> Result<Lower> {
    if args.image.is_some() {
        let picture = picture::find(args.image.as_ref(), context)?;
        let texts = picture.layer_texts();
        return Ok(Lower {
            title: picture.title,
            layers: picture.layers,
            texts,
            uses: picture.uses,
            built_in: false,
        });
    }
    if args.lower.is_empty() {
        return Ok(Lower {
            title: String::new(),
            layers: vec!["lower".into()],
            texts: vec!["lower".into()],
            uses: None,
            built_in: true,
        });
    }
    let layers = args.lower.iter().map(|layer| directory(layer, base)).collect::<Result<Vec<_>>>()?;
    let title = match &args.lower[..] {
        [one] => one.display().to_string(),
        all => format!("{} layers", all.len()),
    };
    let texts = layers.iter().map(Text::from).collect();
    Ok(Lower { title, layers, texts, uses: None, built_in: false })
}

/// A lower directory by its whole path.
fn directory(named: &Path, base: &Path) -> Result<PathBuf> {
    let what = || format!("cannot stack {}", named.display());
    let path = named.canonicalize().map_err(|cause| {
        Error::io(what(), &cause).remedy("--lower wants directories that exist, the topmost first")
    })?;
    if !path.is_dir() {
        return Err(Error::new(what()).rule("it is not a directory, and layers are directories"));
    }
    if base.starts_with(&path) {
        return Err(Error::new(what())
            .rule("it is above the overlay's own upper directory, and overlayfs takes no layers within each other")
            .remedy("name another directory, or another place for upper with --state DIR")
            .chapter("8"));
    }
    Ok(path)
}

/// The path without symbolic links, as the mount table has it, also where its end does not exist yet.
fn canonical(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.map_or_else(
        || path.to_owned(),
        |(above, whole)| {
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            if rest.as_os_str().is_empty() { whole } else { whole.join(rest) }
        },
    )
}

/// What does not exist of a path, outermost first.
fn missing(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        path.ancestors().take_while(|above| !above.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Whether the layers and the place for upper are on one file system: then merged shows inode numbers from below.
fn on_one_file_system(layers: &[PathBuf], base: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|meta| meta.dev()).ok();
    let own = base.ancestors().find_map(device);
    own.is_some() && layers.iter().all(|layer| device(layer) == own)
}
