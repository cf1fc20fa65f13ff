/*
 * floor.c: a container start with nothing in it but the kernel calls.
 *
 * How fast can `cutaway run` be? Not faster than the kernel. This program makes the calls of a full container
 * start, in the same order, for one fixed configuration, and nothing else: it parses no image, checks nothing twice,
 * explains nothing. `tests/bench/run` measures everybody against it, cutaway first of all.
 *
 *     cc -O2 -static -o floor floor.c
 *     ./floor STATE LOWER[:LOWER…] COMMAND [ARG…]        (as root; COMMAND is a path inside the layers)
 *     FLOOR_TIMES=1 ./floor …                            prints what each phase took, to standard error
 *
 * STATE is a directory on a disk file system, for the writable layer. LOWER are unpacked image layers, the topmost
 * first, as overlayfs wants them. The exit status is the command's, 128+n after signal n, 125 when a call here fails.
 *
 * It is also meant to be read: main() is the life of a container, top to bottom, and every comment says what a call
 * is for or what was learnt by measuring it. Four of these lessons shape the order of things:
 *
 *  - Sleeping is what costs. On a machine that is busy, each call that blocks gives the processor away and gets it back
 *    a scheduling slice later. Parent and child therefore never wait for each other before the command has ended.
 *  - What lives in the mount namespace dies with it. Everything that need not reach a disk (the files of the init
 *    layer, the mount point of the root) is put on a tmpfs which only the container's mount namespace has: making it
 *    costs microseconds, and removing it costs no call, not even after kill -9.
 *  - Each directory on the disk is paid twice. Where the file system is mounted with `discard` and has no journal, the
 *    rmdir of a directory waits until the disk has discarded its block.
 *  - A new network namespace is as dear as all the mounts together.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Newer than some C libraries' headers. */
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* ------------------------------------------------------------------------------------------------ phases and errors */

/*
 * phase("x") ends the phase that was running and starts x. The table is shared memory, so that the child's phases are
 * there when the parent prints; without FLOOR_TIMES there is no table and the whole thing is one comparison.
 */
enum { MAX_PHASES = 64 };
struct phase { const char *actor, *name; uint64_t at; };
static struct { int count; struct phase phase[MAX_PHASES]; } *times;
static const char *actor = "parent";

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void phase(const char *name)
{
	if (!times)
		return;
	int n = __atomic_fetch_add(&times->count, 1, __ATOMIC_RELAXED);
	if (n < MAX_PHASES)
		times->phase[n] = (struct phase){ actor, name, now() };
}

/* A phase lasts until the same actor's next one; the child's last, the command, until the parent has seen its end. */
static void print_times(void)
{
	uint64_t start = times->phase[0].at;
	int count = times->count < MAX_PHASES ? times->count : MAX_PHASES;

	fprintf(stderr, "%-7s %9s %9s  %s\n", "actor", "at ms", "took ms", "phase");
	for (int i = 0; i < count; i++) {
		struct phase *p = &times->phase[i], *next = NULL;
		for (int j = i + 1; j < count && !next; j++)
			if (times->phase[j].actor == p->actor)
				next = &times->phase[j];
		for (int j = 0; j < count && !next; j++)
			if (times->phase[j].at > p->at)
				next = &times->phase[j];
		if (!next)
			next = p;
		fprintf(stderr, "%-7s %9.3f %9.3f  %s\n", p->actor, (double)(p->at - start) / 1e6,
			(double)(next->at - p->at) / 1e6, p->name);
	}
}

/* A floor that quietly skips a call would be no floor: whatever fails ends the run. */
#define must(call)                                                                            \
	({                                                                                    \
		long result = (long)(call);                                                   \
		if (result < 0) {                                                             \
			fprintf(stderr, "floor: %s: %s\n", #call, strerror(errno));           \
			_exit(125);                                                           \
		}                                                                             \
		result;                                                                       \
	})

/* A path made of parts, in one of a few buffers that take turns. */
static const char *path(const char *a, const char *b, const char *c)
{
	static char buffer[4][PATH_MAX];
	static int turn;
	char *p = buffer[turn++ % 4];
	snprintf(p, PATH_MAX, "%s%s%s", a, b, c);
	return p;
}

/* The three calls of "write this to that file". */
static void put(const char *file, int flags, const char *text)
{
	int fd = must(open(file, O_WRONLY | O_CLOEXEC | flags, 0644));
	must(write(fd, text, strlen(text)));
	close(fd);
}

/* ------------------------------------------------------------------------------------------------------- the cgroups */

/*
 * Version 1 has a hierarchy for each controller: a directory in each, and the child moves itself by writing "0" to
 * `tasks`. That spelling matters. Moving a process (`cgroup.procs`), or any thread but oneself, takes a global lock that
 * every fork and exit in the system holds for reading; when it was not used for a while, a whole RCU grace period
 * passes first: up to 20 ms. One's own single thread needs no such lock. Version 2 needs no move at all: clone3 makes the
 * child where it belongs.
 */
static const char *const controllers[] = { "devices", "pids" }; /* what `cutaway run` limits when nobody says more */
enum { CONTROLLERS = sizeof controllers / sizeof *controllers };
static int unified;     /* version 2? */

static const char *cgroup(int controller, const char *name)
{
	static char buffer[PATH_MAX];
	snprintf(buffer, sizeof buffer, "/sys/fs/cgroup/%s/%s", unified ? "" : controllers[controller], name);
	return buffer;
}

/*
 * Which devices may be opened. Version 1 takes one rule for each write, version 2 a program, here the shortest that the
 * kernel takes: how long it is hardly matters beside loading it.
 */
static void device_rules(const char *name)
{
	if (!unified) {
		static const char *const rules[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
			"c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };
		put(path(cgroup(0, name), "/devices.deny", ""), 0, "a");
		int fd = must(open(path(cgroup(0, name), "/devices.allow", ""), O_WRONLY | O_CLOEXEC));
		for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
			must(write(fd, rules[i], strlen(rules[i])));
		close(fd);
		return;
	}
	struct bpf_insn program[] = { { BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1 }, { BPF_JMP | BPF_EXIT, 0, 0, 0, 0 } };
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = 2,
		.insns = (uintptr_t)program, .license = (uintptr_t)"MIT" };
	int fd = must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
	int group = must(open(cgroup(0, name), O_PATH | O_DIRECTORY | O_CLOEXEC));
	union bpf_attr attach = { .target_fd = group, .attach_bpf_fd = fd,
		.attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI };
	must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
	close(fd);
	close(group);
}

/* --------------------------------------------------------------------------------------------------------- the child */

/* Docker's fourteen: what a container's root keeps. The others leave the bounding set for good. */
static const uint32_t kept =
	1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FSETID | 1u << CAP_FOWNER | 1u << CAP_MKNOD |
	1u << CAP_NET_RAW | 1u << CAP_SETGID | 1u << CAP_SETUID | 1u << CAP_SETFCAP | 1u << CAP_SETPCAP |
	1u << CAP_NET_BIND_SERVICE | 1u << CAP_SYS_CHROOT | 1u << CAP_KILL | 1u << CAP_AUDIT_WRITE;

static const unsigned long strict = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/* Not every kernel has every one of these files: a missing one needs no mask. */
static void mask_or_skip(long result)
{
	if (result < 0 && errno != ENOENT) {
		perror("floor: mask");
		_exit(125);
	}
}

static void child(const char *dir, const char *stage, const char *layers, const char *name, int parent, char **command)
{
	actor = "child";
	phase("die with the parent");
	/* Should the parent be dead already, the signal never comes; then its end of the socket is closed. No waiting. */
	must(prctl(PR_SET_PDEATHSIG, SIGKILL));
	char nothing;
	if (recv(parent, &nothing, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
		_exit(125);

	if (!unified) {
		phase("join the cgroups");
		for (int i = 0; i < CONTROLLERS; i++)
			put(path(cgroup(i, name), "/tasks", ""), 0, "0");
	}

	phase("make mounts private");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));

	/* The stage: a tmpfs which nobody outside sees. `stage` is one empty directory for all containers: each has its own
	 * mount on it, in its own namespace. On it the init layer, which gives the image the mount points and the three
	 * files that differ from container to container, and the mount point of the root. */
	phase("init layer on a tmpfs");
	must(mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"));
	must(chdir(stage));
	must(mkdir("init", 0755));
	must(mkdir("init/proc", 0555));
	must(mkdir("init/sys", 0555));
	must(mkdir("init/dev", 0755));
	must(mkdir("init/etc", 0755));
	put("init/etc/hosts", O_CREAT, "127.0.0.1 localhost\n127.0.1.1 floor\n");
	put("init/etc/hostname", O_CREAT, "floor\n");
	put("init/etc/resolv.conf", O_CREAT, "\n");
	must(mkdir("root", 0755));

	/* The only mount that touches the disk: overlayfs makes its working directory there. `volatile`: without it, the end
	 * of the mount would write back the whole file system below, other people's dirty pages included. */
	phase("overlay");
	char options[4 * PATH_MAX];
	snprintf(options, sizeof options, "lowerdir=init:%s,upperdir=%s/upper,workdir=%s/work,volatile", layers, dir, dir);
	must(mount("overlay", "root", "overlay", MS_NODEV, options));

	/* pivot_root(".", "."): the new root is stacked on the old one at the same place, so that no directory for the old
	 * root is needed inside. It stays reachable through this descriptor until it is detached below. */
	phase("pivot_root");
	int old_root = must(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
	must(chdir("root"));
	must(syscall(SYS_pivot_root, ".", "."));

	phase("proc");
	must(mount("proc", "/proc", "proc", strict, NULL));

	phase("dev");
	must(mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=65536k"));
	umask(0);
	must(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)));
	must(mknod("/dev/zero", S_IFCHR | 0666, makedev(1, 5)));
	must(mknod("/dev/full", S_IFCHR | 0666, makedev(1, 7)));
	must(mknod("/dev/random", S_IFCHR | 0666, makedev(1, 8)));
	must(mknod("/dev/urandom", S_IFCHR | 0666, makedev(1, 9)));
	must(mknod("/dev/tty", S_IFCHR | 0666, makedev(5, 0)));
	must(symlink("/proc/self/fd", "/dev/fd"));
	must(symlink("/proc/self/fd/0", "/dev/stdin"));
	must(symlink("/proc/self/fd/1", "/dev/stdout"));
	must(symlink("/proc/self/fd/2", "/dev/stderr"));
	must(symlink("pts/ptmx", "/dev/ptmx"));
	must(symlink("/proc/kcore", "/dev/core"));
	must(mkdir("/dev/pts", 0755));
	must(mkdir("/dev/shm", 01777));
	must(mkdir("/dev/mqueue", 01777));
	umask(022);
	must(mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	must(mount("shm", "/dev/shm", "tmpfs", strict, "mode=1777,size=65536k"));
	must(mount("mqueue", "/dev/mqueue", "mqueue", strict, NULL));

	phase("sys");
	must(mount("sysfs", "/sys", "sysfs", strict | MS_RDONLY, NULL));

	/* A cgroup namespace makes the cgroup that one is in the root of what one sees: join first, unshare then. */
	phase("cgroup namespace and mounts");
	must(unshare(CLONE_NEWCGROUP));
	if (unified) {
		must(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", strict | MS_RDONLY, NULL));
	} else {
		must(mount("tmpfs", "/sys/fs/cgroup", "tmpfs", strict, "mode=755"));
		for (int i = 0; i < CONTROLLERS; i++) {
			const char *at = path("/sys/fs/cgroup/", controllers[i], "");
			must(mkdir(at, 0755));
			must(mount("cgroup", at, "cgroup", strict | MS_RDONLY, controllers[i]));
		}
		must(mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | strict, NULL));
	}

	/* The only call before exec that waits for the kernel: the mounts of the whole old tree may be freed when no
	 * processor walks through them any more. That is one RCU grace period, however many mounts: so detach once. */
	phase("let go of the old root");
	must(fchdir(old_root));
	must(umount2(".", MNT_DETACH));
	must(chdir("/"));

	/* A bind mount is made read-only by a second call; both only touch the mount itself and cost microseconds. */
	phase("masked and read-only paths");
	static const char *const files[] = { "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
					     "/proc/timer_stats", "/proc/sched_debug", "/proc/interrupts" };
	static const char *const directories[] = { "/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware",
						   "/sys/devices/virtual/powercap" };
	static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		mask_or_skip(mount("/dev/null", files[i], NULL, MS_BIND, NULL));
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		mask_or_skip(mount("tmpfs", directories[i], "tmpfs", MS_RDONLY, NULL));
	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
		if (mount(readonly[i], readonly[i], NULL, MS_BIND, NULL) < 0)
			mask_or_skip(-1);
		else
			must(mount(NULL, readonly[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | strict, NULL));
	}

	/* The interface number 1 of a network namespace is its loopback. */
	phase("loopback up");
	struct { struct nlmsghdr header; struct ifinfomsg link; } request = {
		.header = { .nlmsg_len = sizeof request, .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.link = { .ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
	};
	char answer[256];
	int netlink = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	must(send(netlink, &request, sizeof request, 0));
	long got = must(recv(netlink, answer, sizeof answer, 0));
	struct nlmsghdr *header = (struct nlmsghdr *)answer;
	if (got < (long)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || ((struct nlmsgerr *)NLMSG_DATA(header))->error)
		_exit(125);
	close(netlink);

	phase("hostname");
	must(sethostname("floor", 5));

	/* From here on only what takes privilege away, in the order in which each is still allowed. */
	phase("capabilities");
	must(syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC));
	for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
		if (i > 31 || !(kept >> i & 1u))
			if (prctl(PR_CAPBSET_DROP, i) < 0 && errno != EINVAL)  /* a kernel older than the header */
				_exit(125);
	struct __user_cap_header_struct self = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2] = { { kept, kept, 0 }, { 0, 0, 0 } };
	must(syscall(SYS_capset, &self, sets));
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

	phase("the command: execve to exit");
	static char *const environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	execve(command[0], command, environment);
	fprintf(stderr, "floor: %s: %s\n", command[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* -------------------------------------------------------------------------------------------------------- the parent */

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: floor STATE LOWER[:LOWER...] COMMAND [ARG...]\n");
		return 2;
	}
	const char *state = argv[1], *layers = argv[2];
	if (getenv("FLOOR_TIMES")) {
		times = mmap(NULL, sizeof *times, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (times == MAP_FAILED)
			return 125;
	}

	struct statfs fs;
	must(statfs("/sys/fs/cgroup", &fs));
	unified = fs.f_type == CGROUP2_SUPER_MAGIC;
	int cgroups = unified ? 1 : CONTROLLERS;

	char name[32], dir[PATH_MAX], stage[PATH_MAX], journal[PATH_MAX];
	snprintf(name, sizeof name, "floor-%d", getpid());
	snprintf(dir, sizeof dir, "%s/%s", state, name);
	snprintf(stage, sizeof stage, "%s/stage", state);
	snprintf(journal, sizeof journal, "%s/%s.journal", state, name);

	/* The journal comes first: what is made later is written down before it is made. A line is one write, without fsync:
	 * it has to survive this process, not the machine. */
	phase("journal");
	int log = must(open(journal, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
	for (int i = 0; i < 8; i++) {
		const char *line = "a call that undoes one step, about as long as this line\n";
		must(write(log, line, strlen(line)));
	}

	phase("directories of the writable layer");
	if (mkdir(stage, 0755) < 0 && errno != EEXIST)
		must(-1);
	must(mkdir(dir, 0700));
	must(mkdir(path(dir, "/upper", ""), 0755));
	must(mkdir(path(dir, "/work", ""), 0700));

	phase("cgroups and limits");
	for (int i = 0; i < cgroups; i++)
		must(mkdir(cgroup(i, name), 0755));
	put(path(cgroup(cgroups - 1, name), "/pids.max", ""), 0, "2048");
	device_rules(name);

	/* One call makes the process and five of its namespaces. The cgroup namespace comes later: the child is not yet
	 * in its cgroup. The signal mask, the descriptors and the memory are the parent's, as after fork. */
	phase("clone3");
	int pair[2], pidfd = -1;
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	if (unified) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)must(open(cgroup(0, name), O_PATH | O_DIRECTORY | O_CLOEXEC));
	}
	long pid = must(syscall(SYS_clone3, &args, sizeof args));
	if (pid == 0) {
		close(pair[0]);
		child(dir, stage, layers, name, pair[1], argv + 3);
	}
	close(pair[1]);

	/* One sleep, from the start to the end of the command. What the child reports waits in the socket until then. The pidfd
	 * becomes readable when the process is a zombie: its namespaces, and with them all its mounts, are gone by then. */
	phase("wait");
	struct pollfd end = { pidfd, POLLIN, 0 };
	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		;
	siginfo_t info = { 0 };
	must(waitid(P_PID, (id_t)pid, &info, WEXITED));

	phase("remove the cgroups");
	for (int i = 0; i < cgroups; i++)
		must(rmdir(cgroup(i, name)));

	/* What overlayfs left in its working directory: `volatile` leaves a mark there, against being mounted again. The upper
	 * directory is empty as long as the command writes nothing; a real runtime walks the tree. */
	phase("remove the writable layer");
	must(unlink(path(dir, "/work/work/incompat/volatile/dirty", "")));
	must(rmdir(path(dir, "/work/work/incompat/volatile", "")));
	must(rmdir(path(dir, "/work/work/incompat", "")));
	must(rmdir(path(dir, "/work/work", "")));
	must(rmdir(path(dir, "/work", "")));
	must(rmdir(path(dir, "/upper", "")));
	must(rmdir(dir));

	phase("remove the journal");
	must(unlink(journal));
	close(log);

	phase("end");
	if (times)
		print_times();
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}
