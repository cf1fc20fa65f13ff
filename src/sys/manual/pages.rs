//! The man page and the meaning of each system call.

use super::Entry;

/// The page of the calls that change something only with certain flags.
pub const OPEN: &str = "open(2)";

const fn changes(name: &'static str, page: &'static str, meaning: &'static str) -> Entry {
    Entry { name, page, meaning, changes: true }
}

const fn only_descriptors(name: &'static str, page: &'static str, meaning: &'static str) -> Entry {
    Entry { name, page, meaning, changes: false }
}

/// One entry for each call, in the order of [`Syscall`](crate::sys::Syscall).
pub const ENTRIES: &[Entry] = &[
    changes("mount", "mount(2)", "attaches a file system to the tree, or changes one that is attached"),
    changes("umount2", "umount(2)", "detaches the file system that is mounted on a path"),
    changes(
        "pivot_root",
        "pivot_root(2)",
        "makes another mount the root of this mount namespace and puts the old root below it",
    ),
    changes("chroot", "chroot(2)", "makes a directory the place where this process's absolute paths begin"),
    only_descriptors(
        "fsopen",
        "fsopen(2)",
        "begins to configure a new file system of a type, mounted nowhere yet",
    ),
    changes(
        "fsconfig",
        "fsconfig(2)",
        "sets one parameter of a file system that is being configured, or creates it",
    ),
    changes("fsmount", "fsmount(2)", "makes a mount of a configured file system, attached nowhere yet"),
    changes("move_mount", "move_mount(2)", "attaches a mount to a place in the tree, or moves it there"),
    changes("open_tree", "open_tree(2)", "opens a mount, or makes a copy of it that is attached nowhere yet"),
    changes(
        "mount_setattr",
        "mount_setattr(2)",
        "changes the attributes of a mount, or of all mounts below it at once",
    ),
    only_descriptors("openat", OPEN, "opens a file by its path and returns a descriptor"),
    only_descriptors(
        "openat2",
        "openat2(2)",
        "opens a file by its path, under rules for the lookup of that path",
    ),
    only_descriptors("close", "close(2)", "gives a descriptor back"),
    changes("write", "write(2)", "writes bytes to what a descriptor refers to"),
    changes("mkdirat", "mkdir(2)", "makes a directory; in a cgroup file system this makes a group"),
    changes(
        "unlinkat",
        "unlink(2)",
        "removes a name; with AT_REMOVEDIR an empty directory or a group without members",
    ),
    changes("symlinkat", "symlink(2)", "makes a symbolic link"),
    changes("linkat", "link(2)", "gives a file one more name"),
    changes("renameat2", "rename(2)", "gives a file or directory another name or place"),
    only_descriptors("pread64", "pread(2)", "reads bytes at an offset from what a descriptor refers to"),
    changes("sendfile", "sendfile(2)", "copies bytes from one descriptor to another, within the kernel"),
    only_descriptors("mmap", "mmap(2)", "makes the bytes of a file part of this process's memory"),
    changes("mknodat", "mknod(2)", "makes a device node, a fifo or an empty file"),
    changes("fchmodat", "chmod(2)", "sets the permission bits of a file"),
    changes("fchownat", "chown(2)", "sets the owner and the group of a file"),
    changes("dup3", "dup(2)", "makes a descriptor of a chosen number refer to what another one refers to"),
    changes("chdir", "chdir(2)", "sets the working directory by a path"),
    changes("fchdir", "chdir(2)", "sets the working directory by a descriptor"),
    changes(
        "umask",
        "umask(2)",
        "sets which permission bits new files do not get, and returns the mask before",
    ),
    changes(
        "close_range",
        "close_range(2)",
        "closes a range of descriptors, or marks them to be closed by exec",
    ),
    changes("fcntl", "fcntl(2)", "changes an attribute of a descriptor: whether it is closed by exec"),
    changes("ioctl", "ioctl(2)", "asks a device for what is neither reading nor writing"),
    changes("clone3", "clone(2)", "makes a child process, in new namespaces if the flags say so"),
    changes("unshare", "unshare(2)", "moves this process into new namespaces"),
    changes("setns", "setns(2)", "moves this process into a namespace that exists"),
    changes("execve", "execve(2)", "replaces the program that this process runs"),
    changes("kill", "kill(2)", "sends a signal to a process"),
    only_descriptors(
        "pidfd_open",
        "pidfd_open(2)",
        "returns a descriptor of a process, which no later process of the same pid can take over",
    ),
    changes("pidfd_send_signal", "pidfd_send_signal(2)", "sends a signal to the process of a descriptor"),
    changes(
        "waitid",
        "waitid(2)",
        "waits for the end of a child and, without WNOWAIT, takes its last trace away",
    ),
    changes("rt_sigprocmask", "sigprocmask(2)", "sets which signals wait until they are let through"),
    only_descriptors("clock_nanosleep", "clock_nanosleep(2)", "sleeps for a time"),
    changes("setsid", "setsid(2)", "makes this process the leader of a new session, without a terminal"),
    changes("sethostname", "sethostname(2)", "sets the host name of this UTS namespace"),
    changes("setdomainname", "setdomainname(2)", "sets the NIS domain name of this UTS namespace"),
    changes("setgroups", "setgroups(2)", "sets the supplementary groups of this process"),
    changes("setresuid", "setresuid(2)", "sets the real, effective and saved user id"),
    changes("setresgid", "setresgid(2)", "sets the real, effective and saved group id"),
    changes("prctl", "prctl(2)", "changes an attribute of this process"),
    changes("capset", "capset(2)", "sets the capability sets of this thread"),
    changes("bpf", "bpf(2)", "loads a program into the kernel, or attaches one to what it decides about"),
    changes("msgget", "msgget(2)", "finds a System V message queue by its key, or makes it"),
    changes("shmget", "shmget(2)", "finds a System V shared memory segment by its key, or makes it"),
    changes("mq_open", "mq_open(2)", "opens a POSIX message queue by its name, or makes it"),
    only_descriptors(
        "socket",
        "socket(2)",
        "makes a socket; of the netlink family, one that talks to the kernel",
    ),
    changes("sendto", "send(2)", "sends a message; on a netlink socket, a request to the kernel"),
    only_descriptors("recvfrom", "recv(2)", "receives a message; on a netlink socket, the kernel's answer"),
    only_descriptors("setsockopt", "setsockopt(2)", "sets how a socket behaves"),
    changes("bind", "bind(2)", "gives a socket an address, so that messages for that reach it"),
];
