//! Settling: the command line, the image's config and the host are put together into what will be run.
//!
//! Everything that can be found out without changing anything is found out here, so that the plan is complete
//! before it starts and most mistakes change nothing: a program that does not exist, a user that the image
//! does not know, a limit that this host cannot keep.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::concepts::common::limits::{self, Limits};
use crate::concepts::common::overlay::{Stack, Way};
use crate::concepts::common::picture::{self, Picture};
use crate::concepts::{Context, Stage};
use crate::error::{Error, Result, exit};
use crate::image::config::Config;
use crate::image::merged::MergedView;
use crate::image::merged::command::{self, Command};
use crate::image::merged::user::{self, User};
use crate::probe::{Host, fds};
use crate::state;
use crate::sys::Text;
use crate::sys::flags::CapSet;

use super::args::{Network, RunArgs};
use super::furnish::Device;
use super::root;
use super::volumes::{Tmpfs, Volume};

mod device;
mod environment;
mod names;
mod volume;

/// What will be run, with every question answered.
pub struct Settled {
    /// For the heading.
    pub title: String,
    /// The digest of its image.
    pub uses: Option<String>,
    /// The container's name.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Which way was taken, and why.
    pub notes: Vec<String>,
    /// Whether everything happens in a user namespace.
    pub rootless: bool,
    /// The user and group that cutaway runs as.
    pub own_uid: u32,
    pub own_gid: u32,
    /// The container's directory.
    pub directory: PathBuf,
    /// The shared empty directory that the child mounts its stage on.
    pub stage: PathBuf,
    /// Directories of the state directory that do not exist yet, outermost first.
    pub missing_directories: Vec<PathBuf>,
    /// The overlay of the image's layers and the container's own.
    pub overlay: Stack,
    /// How it is told to the kernel.
    pub way: Way,
    /// Files of /etc that belong to the container, not to the image.
    pub etc_files: Vec<(&'static str, Text)>,
    pub read_only: bool,
    pub volumes: Vec<Volume>,
    pub tmpfs: Vec<Tmpfs>,
    pub devices: Vec<Device>,
    pub has_mount_setattr: bool,
    /// The descriptors that cutaway was started with, where they must be closed one by one.
    pub inherited: Option<Vec<i32>>,
    pub network: Network,
    pub limits: Limits,
    pub tty: bool,
    pub interactive: bool,
    pub init: bool,
    pub allow_setuid: bool,
    pub user: User,
    /// The capabilities that this kernel knows, and those that cutaway holds in the container's user namespace.
    pub kernel_capabilities: CapSet,
    pub own_capabilities: CapSet,
    pub workdir: Text,
    /// Missing directories of the image's own working directory.
    pub make_workdir: Vec<PathBuf>,
    pub argv: Vec<Text>,
    pub env: Vec<Text>,
    /// The paths under which the program may be.
    pub programs: Vec<Text>,
}

/// Brings the image into the store, where it is not there yet.
pub fn prepare(args: &RunArgs, context: &Context) -> Result<Stage> {
    if args.rootfs.is_some() {
        return Ok(Stage::Nothing);
    }
    picture::prepare(args.image(), context)
}

/// Where the root comes from, as far as it is known.
fn picture(args: &RunArgs, context: &Context) -> Result<Picture> {
    match &args.rootfs {
        Some(rootfs) => picture_of_directory(rootfs),
        None => picture::find(args.image(), context),
    }
}

fn picture_of_directory(rootfs: &Path) -> Result<Picture> {
    let path = rootfs.canonicalize().map_err(|cause| {
        Error::io(format!("cannot run the directory {}", rootfs.display()), &cause)
            .remedy("--rootfs wants the directory that is to be / inside")
    })?;
    if !path.is_dir() {
        return Err(Error::new(format!("cannot run {}", rootfs.display())).rule("it is not a directory"));
    }
    if path == Path::new("/") {
        return Err(Error::new("cannot run the host's own root directory")
            .rule("overlayfs cannot have as a layer the tree that also holds its upper directory")
            .remedy("name a directory that holds a root file system of its own"));
    }
    let title = rootfs.display().to_string();
    Ok(Picture { title, config: Config::default(), layers: vec![path], unknown: None, uses: None })
}

impl Settled {
    /// Settles everything. Reads only.
    pub fn from(args: &RunArgs, context: &Context) -> Result<Self> {
        let here = &context.here;
        let picture = picture(args, context)?;
        let rootless = !here.is_privileged();
        let view = MergedView::new(&picture.layers)?;
        let name = names::container(args, context)?;
        let hostname = names::host(args, &name)?;
        let user = settle_user(args, &picture, &view, rootless)?;
        let (workdir, make_workdir) = settle_workdir(args, &picture, &view)?;
        let argv = settle_argv(args, &picture)?;
        let env = environment::settle(args, &picture.config, &user, &hostname)?;
        let volumes = volume::settle(args, &view, picture.unknown.is_some())?;
        let tmpfs = volume::settle_tmpfs(args, &view, picture.unknown.is_some())?;
        let shadowed = !volumes.is_empty() || !tmpfs.is_empty();
        let programs = settle_programs(&argv, &env, &workdir, &picture, &view, shadowed)?;
        check_terminal(args)?;
        let directory = state::container(&context.state, &name);
        let overlay = root::overlay(&picture.layer_texts(), &directory, rootless);
        overlay.check()?;
        let way = Way::choose(&overlay, here);
        let mut limits = Limits::settle(&args.limits)?;
        let devices = device::settle(args, &view, rootless)?;
        limits.devices = device::rules(args, &devices, context)?;
        limits::refuse_impossible(&limits, &args.limits, context)?;
        Ok(Self {
            title: picture.title,
            uses: picture.uses,
            etc_files: names::etc_files(&hostname, args.network),
            notes: notes(rootless, here.uid, way, args.network),
            rootless,
            own_uid: here.euid,
            own_gid: here.gid,
            missing_directories: missing_directories(&context.state),
            stage: context.state.join("stage"),
            directory,
            name,
            hostname,
            overlay,
            way,
            read_only: args.read_only,
            volumes,
            tmpfs,
            devices,
            has_mount_setattr: here.kernel_at_least(5, 12),
            inherited: settle_inherited(here)?,
            network: args.network,
            limits,
            tty: args.tty,
            interactive: args.interactive,
            init: args.init,
            allow_setuid: args.allow_setuid,
            user,
            kernel_capabilities: kernel_capabilities(),
            own_capabilities: if rootless { CapSet(u64::MAX) } else { here.capabilities },
            workdir,
            make_workdir,
            argv,
            env,
            programs,
        })
    }
}

fn notes(rootless: bool, uid: u32, way: Way, network: Network) -> Vec<String> {
    let who = if rootless {
        format!("rootless: you are user {uid}; a user namespace makes you root inside, and only there")
    } else {
        "as root: no user namespace, so user 0 inside is user 0 of the host, with fewer capabilities"
            .to_owned()
    };
    let mut notes = vec![who, way.note()];
    if network == Network::Host {
        notes.push(
            "network: the host's own; its abstract UNIX sockets can be reached too, which no file mode guards".to_owned(),
        );
    }
    notes
}

fn missing_directories(state: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = Vec::new();
    for wanted in ["containers", "stage"] {
        let path = state.join(wanted);
        let above: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for ancestor in above.into_iter().rev() {
            if !missing.iter().any(|known| known == ancestor) {
                missing.push(ancestor.to_owned());
            }
        }
    }
    missing
}

fn settle_user(args: &RunArgs, picture: &Picture, view: &MergedView, rootless: bool) -> Result<User> {
    let spec = args.user.as_deref().unwrap_or(&picture.config.user);
    let user = user::resolve(spec, view)?;
    if rootless && (user.uid != 0 || user.gid != 0) {
        return Err(Error::new(format!("cannot become user {}:{} of the container", user.uid, user.gid))
            .rule("as an ordinary user you own one id, and it is mapped to 0: no other user exists inside")
            .remedy("run as root of the container with `-u 0:0`, or run cutaway as root")
            .chapter("14"));
    }
    Ok(user)
}

/// Where the command starts, and what must be made for it.
///
/// A directory that was asked for must exist. The image's own is made where it is missing, as Docker does.
fn settle_workdir(args: &RunArgs, picture: &Picture, view: &MergedView) -> Result<(Text, Vec<PathBuf>)> {
    let own = Some(picture.config.working_dir.as_str()).filter(|dir| !dir.is_empty());
    let dir = args.workdir.as_deref().or(own).unwrap_or("/");
    if !dir.starts_with('/') {
        return Err(
            Error::new(format!("working directory {dir} is refused")).rule("it must be an absolute path")
        );
    }
    let path = Path::new(dir);
    if picture.unknown.is_some() {
        return Ok((path.into(), Vec::new()));
    }
    let mounted = args
        .volumes
        .iter()
        .any(|volume| volume.as_bytes().windows(dir.len()).any(|part| part == dir.as_bytes()))
        || args.tmpfs.iter().any(|tmpfs| path.starts_with(tmpfs.split(':').next().unwrap_or_default()))
        || ["/proc", "/sys", "/dev"].iter().any(|kernel| path.starts_with(kernel));
    match view.lookup(path)? {
        Some(found) if !found.is_dir() && !mounted => {
            Err(Error::new(format!("working directory {dir} is not a directory"))
                .remedy("name another one with -w DIR"))
        }
        None if args.workdir.is_some() && !mounted => {
            Err(Error::new(format!("working directory {dir} does not exist in the container"))
                .remedy("name another one with -w DIR"))
        }
        None if !mounted => Ok((path.into(), volume::missing_parts(path, view)?)),
        _ => Ok((path.into(), Vec::new())),
    }
}

/// Entrypoint and command. `--entrypoint` also puts the image's own command aside, as with Docker.
fn settle_argv(args: &RunArgs, picture: &Picture) -> Result<Vec<Text>> {
    let own = |words: &Option<Vec<String>>| -> Vec<OsString> {
        words.iter().flatten().map(OsString::from).collect()
    };
    let given = args.words_of_command();
    let mut argv = match &args.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => own(&picture.config.entrypoint),
    };
    let default = if args.entrypoint.is_some() { Vec::new() } else { own(&picture.config.cmd) };
    argv.extend(if given.is_empty() { default } else { given });
    if argv.is_empty() && args.rootfs.is_some() {
        argv.push("/bin/sh".into());
    }
    if argv.is_empty() {
        return Err(Error::new("there is no command to run")
            .rule("the image has neither an entrypoint nor a command of its own")
            .remedy("give one behind the image: cutaway run IMAGE COMMAND"));
    }
    Ok(argv.iter().map(|word| Text::from(word.as_os_str())).collect())
}

/// Where the program is. A volume may hold it, which only the kernel will know: then every directory of PATH
/// is tried.
fn settle_programs(
    argv: &[Text],
    env: &[Text],
    workdir: &Text,
    picture: &Picture,
    view: &MergedView,
    shadowed: bool,
) -> Result<Vec<Text>> {
    let name = argv.first().and_then(Text::known).map(OsString::from_vec).unwrap_or_default();
    let cwd = workdir.known_path().unwrap_or_else(|| "/".into());
    let path = environment::value(env, "PATH").unwrap_or_default();
    if picture.unknown.is_some() {
        let shown = if name.as_bytes().contains(&b'/') {
            Text::from(name.as_os_str())
        } else {
            format!("<{} in PATH>", name.display()).into()
        };
        return Ok(vec![shown]);
    }
    match command::find(&name, OsStr::from_bytes(&path), &cwd, view)? {
        Command::Found(path) => Ok(vec![path.into()]),
        _ if shadowed && !name.as_bytes().contains(&b'/') => {
            let folders = path.split(|byte| *byte == b':').map(|folder| cwd.join(OsStr::from_bytes(folder)));
            Ok(folders.map(|folder| folder.join(&name).into()).collect())
        }
        _ if shadowed => Ok(vec![cwd.join(&name).into()]),
        Command::NotFound => {
            Err(Error::new(format!("command {} does not exist in the container", name.display()))
                .rule(if name.as_bytes().contains(&b'/') {
                    "there is no file of that path".to_owned()
                } else {
                    format!("no directory of PATH has it ({})", String::from_utf8_lossy(&path))
                })
                .remedy("the image holds its own programs; the host's are not in there")
                .exit(exit::NOT_FOUND))
        }
        Command::NotExecutable(path) => {
            Err(Error::new(format!("command {} cannot be executed", path.display()))
                .rule("it is a directory, or no execute permission is set")
                .exit(exit::CANNOT_EXECUTE))
        }
    }
}

fn check_terminal(args: &RunArgs) -> Result<()> {
    use std::io::IsTerminal;
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(Error::new("a terminal was asked for, but standard input is none")
            .rule("with -i and -t what you type is read from your terminal")
            .remedy("leave out -t, or -i"));
    }
    Ok(())
}

/// The descriptors that would survive the exec. Newer kernels close them all with one call, and need no list.
fn settle_inherited(here: &Host) -> Result<Option<Vec<i32>>> {
    if here.kernel_at_least(5, 11) {
        return Ok(None);
    }
    let open = fds::all().map_err(|why| {
        Error::new("the open descriptors cannot be listed")
            .rule(format!("before Linux 5.11 each must be closed by itself, and /proc says which: {why}"))
            .remedy("mount /proc, or use a newer kernel")
            .chapter("30")
    })?;
    Ok(Some(open.iter().filter(|one| one.fd > 2 && !one.cloexec).map(|one| one.fd).collect()))
}

fn kernel_capabilities() -> CapSet {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let last: u64 = last.and_then(|text| text.trim().parse().ok()).unwrap_or(40);
    CapSet(u64::MAX >> (63 - last.min(63)))
}
