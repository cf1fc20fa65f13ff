//! The oracle: what cutaway tells of its system calls is compared with what strace saw of them.
//!
//! A command runs under strace and writes its recording. Then, process by process: every call that was told was
//! made, in that order, with that text and that result; and every call that was made and changes anything was
//! told, or is plumbing. What is plumbing is a table below, with the file it is in and the reason. From the
//! moment a process becomes the workload, its calls are its own.
//!
//! A new concept adds its commands to [`COMMANDS`].

#![allow(clippy::unwrap_used, reason = "tests may unwrap, and so may their helpers")]
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "the names are cutaway's own")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;

use common::sleeper::{self, Sleeper};
use common::trace::{self, Line, Process, has, normalised};
use common::{BOTH, Bed, Who, need};
use cutaway::report::event::Event;
use cutaway::sys::manual;

/// What is run, by whom, and its exit code. `BED` stands for the bed's directory, `SLEEPER` for a process in namespaces of
/// its own.
struct Case {
    who: &'static [Who],
    line: &'static str,
    code: i32,
}

const ROOT: &[Who] = &[Who::Root];

const fn both(line: &'static str, code: i32) -> Case {
    Case { who: &BOTH, line, code }
}

const fn root(line: &'static str, code: i32) -> Case {
    Case { who: ROOT, line, code }
}

/// The commands, in this order, one after the other on one state directory.
const COMMANDS: &[Case] = &[
    both("run -- /bin/true", 0), // makes the demo image first
    both("run -- /bin/sh -c 'exit 7'", 7),
    both("run --name NAME --hostname box -e A=b -e HOME -w /tmp -- /bin/pwd", 0),
    both("run -v BED/shared:/mnt/rw -v BED/shared:/mnt/ro:ro -v BED/file:/mnt/file -- /bin/cat /mnt/file", 0),
    both("run --tmpfs /scratch --tmpfs /run:size=1m,exec --read-only -- /bin/ls /scratch", 0),
    root("run --memory 64m --cpus 0.5 --pids-limit 50 -u 1000:1000 -w / -- /bin/id", 0),
    both("run --init -- /bin/sh -c '(sleep 0.01 &) ; exit 3'", 3),
    root("run --memory 64m --memory-swap 64m --cpu-shares 512 --cpuset-cpus 0 -- /bin/true", 0),
    root("run --init --memory 64m -u 1000:1000 -w / -- /bin/true", 0),
    both("run --network host --pids-limit -1 --allow-setuid -- /bin/true", 0),
    both("run --rootfs BED/rootfs -- /bin/sh -c 'echo x >/new'", 0),
    both("run -i -- /bin/cat", 0),
    both("run -t -- /bin/true", 0),
    both("run --init -- /bin/sh -c 'kill -9 $$'", 137),
    both("run -- /nowhere", 127),
    both("run -- /etc/passwd", 126),
    both("run -v BED/shared:/mnt -- /mnt/nowhere", 127),
    both("run -v BED/shared:/mnt -- /mnt/not-executable", 126),
    both("run -w /nowhere -- /bin/true", 125),
    both("run -v BED/shared:/mnt -w /mnt/nowhere -- /bin/true", 125),
    both("layers BED/layout", 0),
    both("layers BED/layout --tree", 0),
    both("layers BED/layout --wasted --fail-under 100", 0),
    both("layers BED/layout --extract 1:/one", 0),
    both("layers BED/layout --extract 1:/one -o BED/extracted", 0),
    both("layers BED/layout --extract 1:/two", 1),
    both("layers BED/layout --unpack BED/unpacked", 0),
    both("layers BED/layout --unpack BED/unpacked", 1),
    both("image load BED/layout --name small", 0),
    both("image ls", 0),
    both("run small -- /nowhere", 127),
    both("image rm small", 0),
    both("image rm small", 1),
    both("cleanup", 0),
    both("chroot", 0),
    both("chroot -- sh -c 'exit 7'", 7),
    both("chroot BED/rootfs", 0),
    both("chroot BED/shared --escape double-chroot", 0),
    both("chroot --escape double-chroot", 0),
    both("chroot BED/shared --escape fd -- /bin/sh -c 'exit 7'", 7),
    both("chroot --escape proc", 0),
    both("chroot BED/shared --escape proc", 0),
    both("chroot --pivot -- sh -c 'exit 7'", 7),
    both("chroot BED/shared --pivot", 0),
    both("chroot demo --pivot -- /bin/true", 0),
    both("chroot demo --escape double-chroot", 0),
    both("chroot BED/shared -- /not-executable", 126),
    both("chroot BED/shared -- /nowhere", 127),
    both("chroot BED/nowhere", 125),
    both("ns mnt", 0),
    both("ns uts -- /bin/sh -c 'exit 7'", 7),
    both("ns ipc", 0),
    both("ns pid", 0),
    both("ns pid -- /bin/sh -c 'exit 7'", 7),
    both("ns user -- /bin/true", 0),
    both("ns net", 0),
    both("ns net -- /bin/sh -c 'exit 7'", 7),
    both("ns uts --with mnt,pid,ipc,net,time,cgroup -- /bin/true", 0),
    both("ns ipc --with user,uts -- /bin/true", 0),
    both("ns time", 0),
    both("ns cgroup -- /bin/true", 0),
    both("ns uts -- /nowhere", 127),
    both("overlay", 0),
    both("overlay demo", 0),
    both("overlay --do 'echo x >new; rm old; exit 7'", 7),
    both("overlay --do 'rm not-executable; ls' --lower BED/shared BED/rootfs", 0),
    both("overlay --do /nowhere --lower LAYERS", 127),
    both("overlay --do true --lower DEEP", 0),
    both("overlay --lower BED/shared BED/shared", 125),
    both("overlay --lower BED/nowhere", 125),
    root("overlay --keep --name NAME", 0),
    root("cleanup", 0),
    both("diff BED/shared --lower BED/rootfs", 0),
    both("diff nowhere", 1),
    both("ns ls", 0),
    both("ns tree --type net,user", 0),
    both("ns enter SLEEPER -- /bin/sh -c 'exit 7'", 7),
    root("ns pin net kept", 0),
    root("ns pin mnt kept-mounts", 0),
    root("ns pin user kept-users", 0),
    root("ns enter kept -- /bin/sh -c 'exit 7'", 7),
    root("ns enter kept-mounts -- /bin/true", 0),
    root("ns enter kept-users -- /bin/true", 0),
    root("ns pin net kept", 125),
    root("ns unpin kept", 0),
    root("ns unpin kept-mounts", 0),
    root("ns unpin kept-users", 0),
    root("cgroup rules", 0),
    root("cgroup memory --limit 16m", 0),
    root("cgroup cpu", 0),
    root("cgroup pids --limit 5", 0),
    root("cgroup freeze", 0),
    root("cgroup io", 0),
    both("cgroup pids --limit 1", 125),
    root("cgroup run --memory 64m --cpus 0.5 --pids 20 -- /bin/sh -c 'exit 7'", 7),
    root("cgroup run -- /bin/true", 0),
    both("cgroup run -- /nowhere", 127),
    both("cgroup tree", 0),
    both("cgroup stat", 0),
    both("stats", 0),
    both("doctor", 0),
    both("inspect SLEEPER", 0),
    both("inspect SLEEPER --diff SLEEPER", 0),
    both("lab start 10", 0),
    both("lab check 10", 1),
    both("lab hint", 0),
    both("lab reset", 0),
    both("lab start 31", 0),
    both("lab check 31", 1),
    both("lab reset 31", 0),
];

#[test]
fn as_root_every_call_that_changes_something_is_told_and_no_other() {
    oracle(Who::Root);
}

#[test]
fn as_an_ordinary_user_every_call_that_changes_something_is_told_and_no_other() {
    oracle(Who::User);
}

fn oracle(who: Who) {
    if !need("strace") {
        return;
    }
    let mut faults = String::new();
    for pace in ["--quiet", "--color=never"] {
        let Some(bed) = Bed::new(who) else { return };
        furnish(&bed);
        let only = std::env::var("CUTAWAY_ORACLE").unwrap_or_default();
        let Some(sleeper) = Sleeper::start(&bed, sleeper::options(who)) else { return };
        let pid = sleeper.pid().to_string();
        for case in COMMANDS.iter().filter(|case| case.who.contains(&who) && case.line.contains(&only)) {
            let line = case.line.replace("SLEEPER", &pid);
            let found = examine(&bed, &line, case.code, pace);
            if !found.is_empty() {
                writeln!(faults, "\n{who:?} {pace}: cutaway {}\n{}", case.line, found.join("\n")).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// What the commands need.
fn furnish(bed: &Bed) {
    bed.folder("shared");
    bed.file("shared/not-executable", "text", 0o644);
    bed.file("file", "content\n", 0o644);
    bed.folder("rootfs");
    let host = std::fs::read("/bin/busybox").ok();
    if let Some(busybox) = host {
        bed.file("rootfs/bin/sh", busybox, 0o755);
    }
    common::layout(&bed.path("layout"));
    LAYERS
        .iter()
        .for_each(|(word, ..)| layers(word).iter().for_each(|layer| drop(bed.file(layer, "x", 0o644))));
}

/// Words that stand for many layers: how many, and how long a part of their paths is. Together they do not fit into
/// what mount(2) takes; of the second kind, not even one fits into what fsconfig(2) takes.
const LAYERS: [(&str, usize, usize, usize); 2] = [("LAYERS", 40, 150, 1), ("DEEP", 20, 200, 2)];

/// A file in each of these layers, relative to the bed.
fn layers(word: &str) -> Vec<String> {
    let (_, count, length, depth) = *LAYERS.iter().find(|(known, ..)| *known == word).unwrap();
    let part = "l".repeat(length);
    let below = vec![part.as_str(); depth].join("/");
    (0..count).map(|number| format!("{word}-{number}/{below}/file-{number}")).collect()
}

/// Splits a line into words as a shell does, with single quotes only.
fn words(line: &str, bed: &Bed) -> Vec<String> {
    let quoted = line.split('\'').enumerate().flat_map(|(index, part)| {
        if index % 2 == 1 { vec![part] } else { part.split(' ').filter(|word| !word.is_empty()).collect() }
    });
    let dir = bed.dir().to_string_lossy().into_owned();
    let many = |word: &str| {
        let files = layers(word).into_iter().map(|file| bed.path(&file));
        files.map(|file| file.parent().unwrap().to_string_lossy().into_owned()).collect()
    };
    let one = |word: &str| match word {
        "LAYERS" | "DEEP" => many(word),
        word => vec![word.replace("BED", &dir).replace("NAME", &bed.name())],
    };
    quoted.flat_map(one).collect()
}

/// Runs one command and compares.
fn examine(bed: &Bed, line: &str, code: i32, pace: &str) -> Vec<String> {
    let words = words(line, bed);
    let command = if words[0] == "run" { bed.run(&words[1..]) } else { bed.cutaway(&words) };
    let options = ["-f", "-a1", "-s", "65536", "--decode-pids=pidns", "-e", "signal=none"];
    let done = command.global(pace).recorded().input("typed\n").traced(options).done();
    let mut faults = Vec::new();
    if done.code != code {
        faults.push(format!("exit code {} instead of {}: {}{}", done.code, code, done.text(), done.stderr));
    }
    let told = Told::from(&done.events());
    let processes = Process::all(&trace::parse(&done.trace));
    let place = Place { state: bed.state().to_string_lossy().into_owned() };
    let empty = Vec::new();
    for (index, process) in processes.iter().enumerate() {
        let told = told.0.get(index).map_or(&empty, |(_, told)| told);
        compare(process, told, &place, &mut faults);
    }
    for (actor, told) in told.0.iter().skip(processes.len()) {
        faults.push(format!("{actor} told {} calls, but strace saw no such process", told.len()));
    }
    faults
}

/// What was told: by actor, in the order in which they appeared.
struct Told(Vec<(String, Vec<Deed>)>);

enum Deed {
    Call {
        text: String,
        result: String,
        errno: Option<String>,
        /// Whether its result was concluded and not seen: an exec that closed the report socket.
        inferred: bool,
    },
    Bulk {
        what: String,
        subject: String,
        calls: BTreeMap<String, u64>,
    },
    /// The end of the plan, which the recorder writes out at once: what follows is no part of it.
    End,
}

impl Told {
    fn from(events: &[Event]) -> Self {
        let mut all: Vec<(String, Vec<Deed>)> = Vec::new();
        for event in events {
            let (actor, deed) = match event.clone() {
                Event::Call { actor, text, result, errno, inferred, .. } => {
                    (actor, Deed::Call { text, result, errno, inferred })
                }
                Event::Bulk { actor, what, subject, calls, .. } => {
                    (actor, Deed::Bulk { what, subject, calls })
                }
                Event::Done { .. } => ("parent".to_owned(), Deed::End),
                _ => continue,
            };
            match all.iter_mut().find(|(known, _)| *known == actor) {
                Some((_, deeds)) => deeds.push(deed),
                None => all.push((actor, vec![deed])),
            }
        }
        // The first process is the parent, even if it told nothing.
        if all.first().is_none_or(|(actor, _)| actor != "parent") {
            all.insert(0, ("parent".to_owned(), Vec::new()));
        }
        Self(all)
    }
}

struct Place {
    state: String,
}

impl Place {
    fn is_below(&self, subject: &str, folder: &str) -> bool {
        let below = subject.strip_prefix(&self.state).and_then(|rest| rest.strip_prefix('/'));
        below.is_some_and(|rest| rest == folder || rest.starts_with(&format!("{folder}/")))
    }
}

/// Calls that are cutaway's own plumbing: neither told nor in need of it.
struct Plumbing {
    #[allow(dead_code, reason = "for the reader")]
    file: &'static str,
    #[allow(dead_code, reason = "for the reader")]
    why: &'static str,
    is: fn(&Line, &str, &Place) -> bool,
}

/// Calls that only read, whatever their arguments are.
const READS: &str = "access capget clock_gettime close connect epoll_wait faccessat2 fgetxattr flistxattr fstat \
    fstatfs getcwd getdents64 getegid geteuid getgid getgroups getpeername getpid getppid getrandom getresgid getresuid getsockname \
    getsockopt gettid getuid getxattr lgetxattr listxattr llistxattr lseek lstat newfstatat pidfd_open poll ppoll \
    pread64 read readlink readlinkat readv sched_getaffinity stat statfs statx sysinfo uname";
/// Memory, threads waiting for each other, the end.
const OWN_MEMORY: &str = "arch_prctl brk exit exit_group futex madvise mmap mprotect mremap munmap restart_syscall \
    rseq sched_yield set_robust_list set_tid_address sigaltstack";

fn among(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

const PLUMBING: &[Plumbing] = &[
    Plumbing {
        file: "everywhere",
        why: "reading changes nothing",
        is: |line, _, _| among(READS, &line.name),
    },
    Plumbing {
        file: "everywhere",
        why: "opening changes nothing where nothing is created or emptied",
        is: |line, _, _| has(line, &["open", "openat", "openat2"]) && !manual::changes("openat", &line.text),
    },
    Plumbing {
        file: "everywhere",
        why: "the standard library asks whether a descriptor that it closes is open, and copies descriptors",
        is: |line, _, _| {
            line.name == "fcntl"
                && ["F_GETFD", "F_GETFL", "F_DUPFD_CLOEXEC"].iter().any(|what| line.text.contains(what))
        },
    },
    Plumbing {
        file: "the C library, the loader, the allocator",
        why: "a program's own memory",
        is: |line, _, _| {
            among(OWN_MEMORY, &line.name) || line.name == "prlimit64" && line.text.contains(", NULL, ")
        },
    },
    Plumbing {
        file: "src/image/listing/mod.rs",
        why: "layers are read by several threads, which a process has for itself",
        is: |line, _, _| line.name == "clone3" && line.text.contains("CLONE_THREAD"),
    },
    Plumbing {
        file: "src/main.rs, the standard library",
        why: "which signals this process catches or ignores; a plan's signals are prctl and kill",
        is: |line, _, _| line.name == "rt_sigaction",
    },
    Plumbing {
        file: "src/engine/wait.rs",
        why: "signals are read from a descriptor, the child's end is waited for",
        is: |line, _, _| has(line, &["rt_sigprocmask", "signalfd4", "waitid"]),
    },
    Plumbing {
        file: "src/engine/wait/terminal.rs",
        why: "the person's terminal is raw while the workload's is served, and both are read and written",
        is: |line, subject, _| {
            line.name == "write" && subject == "<terminal>"
                || line.name == "ioctl"
                    && ["TCGETS", "TCSETS", "TIOCGWINSZ", "TIOCSWINSZ", "FIONBIO"]
                        .iter()
                        .any(|what| line.text.contains(what))
        },
    },
    Plumbing {
        file: "src/engine/bulk.rs, src/engine/undo.rs, src/probe/check.rs",
        why: "a moment's pause before something is looked at again; a plan's own naps are whole seconds",
        is: |line, _, _| line.name == "clock_nanosleep" && line.text.contains("{tv_sec=0, tv_nsec="),
    },
    Plumbing {
        file: "src/engine/link.rs",
        why: "the report socket between parent and child",
        is: |line, subject, _| {
            line.name == "socketpair"
                || subject == "<report>" && has(line, &["sendmsg", "recvmsg", "recvfrom"])
        },
    },
    Plumbing {
        file: "src/probe/links.rs, src/sys/netlink/dump.rs",
        why: "the list of interfaces is a dump that is asked for on a netlink socket, and so is a namespace's number",
        is: |line, subject, _| {
            // Outside of its own network namespace strace does not name the type: RTM_GETNSID is 0x5a.
            let asks = ["NLM_F_DUMP", "NLM_F_REQUEST|0x300", "RTM_GETNSID", "nlmsg_type=0x5a"];
            let dumps = asks.iter().any(|flags| line.text.contains(flags));
            line.name == "socket" && line.text.contains("NETLINK_ROUTE")
                || subject == "<netlink>"
                    && (has(line, &["bind", "recvmsg", "recvfrom"]) || line.name == "sendto" && dumps)
        },
    },
    Plumbing {
        file: "src/sys/nsfs.rs",
        why: "a namespace is asked who owns it; an older strace knows no names for these requests",
        is: |line, _, _| {
            line.name == "ioctl" && ["NS_GET_", "0xb7"].iter().any(|what| line.text.contains(what))
        },
    },
    Plumbing {
        file: "src/probe, the standard library",
        why: "what this process is asked about itself (0x41555856 is PR_GET_AUXV, too new for some strace); the names of the threads that unpack",
        is: |line, _, _| {
            line.name == "prctl"
                && ["PR_GET_", "prctl(0x41555856", "PR_CAPBSET_READ", "PR_SET_NAME"]
                    .iter()
                    .any(|what| line.text.contains(what))
        },
    },
    Plumbing {
        file: "src/state/journal.rs",
        why: "what is to be undone is written down before it is done; the file goes when nothing is left of it, or to \
              the lab whose start it undoes; a state directory that was made for it alone goes with it",
        is: |line, subject, place| {
            let folder = [&place.state, ""].contains(&subject) || place.is_below(subject, "journal");
            place.is_below(subject, "journal") && has(line, &["openat", "write", "flock", "unlink", "rename"])
                || folder && has(line, &["mkdir", "rmdir"])
        },
    },
    Plumbing {
        file: "src/state/progress.rs",
        why: "how far a student is with the labs",
        is: |line, subject, place| {
            place.is_below(subject, "labs")
                && subject.contains("/progress.")
                && has(line, &["openat", "write", "rename"])
        },
    },
    Plumbing {
        file: "src/report/recorder.rs",
        why: "the recording",
        is: |line, subject, _| {
            subject.ends_with(".json") && subject.contains("/io-") && has(line, &["openat", "write"])
        },
    },
    Plumbing {
        file: "src/report/narrator.rs, src/main.rs",
        why: "the telling itself",
        is: |line, subject, _| ["<stdout>", "<stderr>"].contains(&subject) && line.name == "write",
    },
    Plumbing {
        file: "src/image/store/lock.rs",
        why: "as long as an image is being read, nobody removes it",
        is: |line, subject, place| {
            (place.is_below(subject, "pins") || place.is_below(subject, "lock"))
                && has(line, &["openat", "flock"])
        },
    },
];

/// In image work, what the store does for itself: blobs, temporary names, renaming, syncing. The bulk line has
/// its bytes and layers; its `calls` are those of the unpacked trees.
fn is_store(line: &Line, subject: &str, place: &Place) -> bool {
    let own = ["blobs", "layers", "tmp", "index.json", "oci-layout", "lock", "pins"];
    let names = [
        "openat",
        "write",
        "mkdir",
        "rename",
        "renameat",
        "unlink",
        "rmdir",
        "fsync",
        "fdatasync",
        "syncfs",
        "flock",
        "link",
        "ftruncate",
        "fallocate",
        "copy_file_range",
        "sendfile",
        "utimensat",
        "fchmod",
        "unlinkat",
        "sync_file_range",
        "fadvise64",
    ];
    let below = own.iter().any(|folder| place.is_below(subject, folder)) || subject == place.state;
    below && has(line, &names) || line.name == "clone3" && line.text.contains("CLONE_THREAD")
}

/// Whether a call is about the tree that a layer is unpacked into, or about an unpacked layer. There every call
/// is counted, but where the store makes sure that the place of a new layer is free.
fn in_tree_of_layer(line: &Line, subject: &str, removing: bool, place: &Place) -> bool {
    let layers = format!("{}/layers", place.state);
    if subject == layers && line.text.contains("O_PATH") || subject.starts_with(&format!("{layers}/.")) {
        return removing;
    }
    let unpacked = place.is_below(subject, "tmp") && subject.contains("/tmp/tree.");
    // A layer's directories take after those of the layers below it.
    unpacked || place.is_below(subject, "layers") && !subject.ends_with(".json") && subject != layers
}

/// The root of that tree is made, looked at and renamed by the store.
fn is_root_of_tree(line: &Line) -> bool {
    has(line, &["mkdir", "rename", "fsync", "syncfs"]) || line.text.starts_with("statx(AT_FDCWD")
}

impl Deed {
    /// Whether strace saw it in this line.
    fn is(&self, line: &Line) -> bool {
        match self {
            Self::Bulk { .. } => false,
            Self::End => line.name == "write" && line.text.contains(r#"{\"event\":\"done\""#),
            // Of a call that never returned, strace may not know all arguments.
            Self::Call { text, result, .. } if result == "?" => {
                let begun = line.text.split("<unfinished").next().unwrap_or_default();
                line.result == "?" && text.starts_with(begun.trim_end_matches([' ', ',']))
            }
            // A workload may be killed between that closing and the end of the exec: strace then has no result.
            Self::Call { text, inferred: true, .. } if line.result == "?" => {
                normalised(text) == normalised(&line.text)
            }
            Self::Call { text, result, errno, .. } => {
                let theirs = normalised(&line.result);
                let answered = match errno {
                    Some(errno) => theirs.starts_with(&format!("{result} {errno} ")),
                    None => theirs.split(' ').next() == Some(result),
                };
                answered && normalised(text) == normalised(&line.text)
            }
        }
    }
}

/// Compares one process with what was told of it.
fn compare(process: &Process, told: &[Deed], place: &Place, faults: &mut Vec<String>) {
    let mut next = 0;
    let mut window: Vec<&(Line, String)> = Vec::new();
    for seen in &process.lines {
        let single = (next..told.len()).find(|at| !matches!(told[*at], Deed::Bulk { .. }));
        if let Some(at) = single.filter(|at| told[*at].is(&seen.0)) {
            untold(&told[next..at], &window, place, faults);
            (next, window) = (at + 1, Vec::new());
        } else {
            window.push(seen);
        }
    }
    let bulks = told[next..].iter().take_while(|deed| matches!(deed, Deed::Bulk { .. })).count();
    untold(&told[next..next + bulks], &window, place, faults);
    if let Some(Deed::Call { text, result, errno, .. }) = told.get(next + bulks) {
        let errno = errno.as_deref().unwrap_or_default();
        let name = text.split('(').next().unwrap_or_default();
        let mut fault = format!("told, but not made like this:\n  cutaway {text} = {result} {errno}");
        for (line, _) in window.iter().filter(|(line, _)| line.name == name) {
            write!(fault, "\n  strace  {}", line.whole()).unwrap();
        }
        faults.push(fault);
    }
}

/// Between two told calls: only plumbing, or the calls of bulk work, as many as were told.
fn untold(bulks: &[Deed], window: &[&(Line, String)], place: &Place, faults: &mut Vec<String>) {
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut image, mut removing, mut removed, mut unpacked) = (false, false, Vec::new(), false);
    for bulk in bulks {
        let Deed::Bulk { what, subject, calls } = bulk else { continue };
        for (name, count) in calls {
            *wanted.entry(name).or_default() += count;
        }
        image |= what.contains("image");
        removing |= what == "remove image";
        if what == "remove tree" || what == "extract file" {
            removed.push(subject.as_str());
        }
        // `layer 1 to DIR/1`: all of DIR.
        unpacked |= what == "unpack";
        removed.extend(subject.strip_prefix("layer 1 to ").and_then(|dir| dir.strip_suffix("/1")));
    }
    let removes = |line: &Line, subject: &str| {
        // It may be the state directory, which the journal takes away.
        let is_parent = |tree: &str| tree.rsplit_once('/').is_some_and(|(parent, _)| parent == subject);
        let parent = |tree: &str| is_parent(tree) && !has(line, &["rmdir"]);
        removed
            .iter()
            .any(|tree| subject == *tree || subject.starts_with(&format!("{tree}/")) || parent(tree))
    };
    // A tree may have been looked at before: its removal begins with the directory that it is in.
    let begins = |(line, subject): &&(Line, String)| {
        let parent =
            removed.iter().any(|tree| tree.rsplit_once('/').is_some_and(|(parent, _)| parent == subject));
        parent && line.name == "openat" && line.text.contains("O_PATH") && line.text.contains("O_DIRECTORY")
    };
    let begin = window.iter().position(begins).unwrap_or(0);
    let mut made: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, (line, subject)) in window.iter().enumerate() {
        let is_plumbing = PLUMBING.iter().any(|one| (one.is)(line, subject, place));
        let of_tree = index >= begin && removes(line, subject)
            || image && in_tree_of_layer(line, subject, removing, place) && !is_root_of_tree(line);
        // Looking for the place is no part of the work.
        let of_tree =
            of_tree && !(unpacked && among(READS, &line.name) && !wanted.contains_key(line.name.as_str()));
        // What a descriptor is asked about itself is counted nowhere, and neither is how a path is resolved.
        if of_tree && !["fcntl", "readlink"].contains(&line.name.as_str()) {
            *made.entry(&line.name).or_default() += 1;
        } else if !(is_plumbing || image && is_store(line, subject, place)) {
            if wanted.contains_key(line.name.as_str()) && !image {
                *made.entry(&line.name).or_default() += 1;
            } else {
                let place = if subject.is_empty() { String::new() } else { format!("   [{subject}]") };
                faults.push(format!(
                    "made, but not told: {}{place}",
                    line.whole().chars().take(300).collect::<String>()
                ));
            }
        }
    }
    if made != wanted {
        faults.push(format!("bulk work: told {wanted:?}\n           made {made:?}"));
    }
}
